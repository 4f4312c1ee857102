import logging
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL

from ..tools.wechat_errors import DAILY_QUOTA, WechatError

_logger = logging.getLogger(__name__)

# With the slash: WeChat answers 76003 without it.
SEND_PATH = "/cgi-bin/message/template/send"
WARN_PERCENT = 80
# An account that the quota has stopped is asked about at each run of the cron, the others once an hour.
CHECK_EVERY = timedelta(minutes=55)
ACTIVITY = "mail.mail_activity_data_todo"


class WechatAccount(models.Model):
    """How many messages an account may still send today, and how many wait."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    quota_limit = fields.Integer("Messages a Day", readonly=True, copy=False, help="What WeChat allows, by its answer.")
    quota_used = fields.Integer("Used Today", readonly=True, copy=False)
    quota_checked_at = fields.Datetime("Quota as of", readonly=True, copy=False)
    quota_percent = fields.Float("Quota Used", compute="_compute_quota_percent", digits=(5, 1))
    is_quota_short = fields.Boolean(compute="_compute_quota_percent")
    outbox_count = fields.Integer("Messages Waiting", compute="_compute_outbox")
    outbox_ends_at = fields.Datetime(
        "Expected to Be Sent by", compute="_compute_outbox", help="At the send rate, without regard to quiet hours."
    )
    is_outbox_over_quota = fields.Boolean(compute="_compute_outbox")

    # === COMPUTE METHODS === #

    @api.depends("quota_limit", "quota_used")
    def _compute_quota_percent(self):
        for account in self:
            account.quota_percent = 100 * account.quota_used / account.quota_limit if account.quota_limit else 0
            account.is_quota_short = 0 < WARN_PERCENT * account.quota_limit <= 100 * account.quota_used

    @api.depends("send_rate", "send_paused_until", "quota_limit", "quota_used")
    def _compute_outbox(self):
        now = fields.Datetime.now()
        counts = dict(
            self.env["wechat.message"]._read_group(
                [("account_id", "in", self.ids), ("state", "in", ("outgoing", "sending"))], ["account_id"], ["__count"]
            )
        )
        for account in self:
            count = counts.get(account._origin, 0)
            begins_at = max(now, account.send_paused_until or now)
            account.outbox_count = count
            account.outbox_ends_at = count and begins_at + timedelta(seconds=count / max(account.send_rate, 1))
            account.is_outbox_over_quota = bool(
                account.quota_limit and count > account.quota_limit - account.quota_used
            )

    # === BUSINESS METHODS === #

    @api.model
    def _cron_check_quota(self):
        """Ask WeChat how much of today's quota is used, and let an account go on that the quota does not stop any
        longer."""
        now = fields.Datetime.now()
        accounts = self.search(
            ["|", "|", ("quota_checked_at", "=", False), ("quota_checked_at", "<", now - CHECK_EVERY),
             ("send_pause_errcode", "=", DAILY_QUOTA)]
        )  # fmt: skip
        for account in accounts:
            account._check_quota()
            if not self.env["ir.cron"]._commit_progress(1):
                break

    def _check_quota(self):
        """Ask WeChat about the quota of one account. What it does not tell stays as it was."""
        self.ensure_one()
        try:
            quota = self._call_api("get_quota", SEND_PATH)
        except (WechatError, UserError) as error:
            _logger.info("wechat.quota: not known account=%s error=%s", self.id, error)
            return
        # Not by the ORM, which would record it as a change of settings.
        self.env.cr.execute(
            SQL(
                "UPDATE wechat_account SET quota_limit = %s, quota_used = %s, quota_checked_at = %s WHERE id = %s",
                quota["daily_limit"],
                quota["used"],
                fields.Datetime.now(),
                self.id,
            )
        )
        self.invalidate_recordset(["quota_limit", "quota_used", "quota_checked_at"], flush=False)
        _logger.info("wechat.quota: known account=%s used=%s limit=%s", self.id, quota["used"], quota["daily_limit"])
        if quota["remain"] > 0 and self.send_pause_errcode == DAILY_QUOTA:
            self._end_quota_pause()
        self._warn_of_quota()

    def _end_quota_pause(self):
        """Let an account send again before the pause after 45009 is over: WeChat does not say when its day ends."""
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_account
                   SET send_paused_until = date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC'),
                       send_pause_errcode = NULL
                 WHERE id = %s AND send_pause_errcode = %s
                """,
                self.id,
                DAILY_QUOTA,
            )
        )
        self.invalidate_recordset(["send_paused_until", "send_pause_errcode"], flush=False)
        self.env["wechat.message"]._wake_refused(self)

    def _warn_of_quota(self):
        """Tell a manager once that the quota is almost used up, until that is over."""
        if not self.is_quota_short:
            # sudo: mail.activity - it is a cron that warns
            self.sudo().activity_unlink([ACTIVITY])
            return
        account = self._with_manager_lang()
        account._schedule_stop_activity(
            account.env._("The WeChat quota of today is almost used up"),
            account.env._(
                "%(used)s of %(limit)s messages of today are used. What exceeds the quota waits until WeChat "
                "allows more, and is not sent any more once its time is over.",
                used=self.quota_used,
                limit=self.quota_limit,
            ),
            ACTIVITY,
        )
