from datetime import datetime, time, timedelta

from pytz import UTC, timezone

from odoo import api, fields, models
from odoo.fields import Domain

from ...tools.wechat_errors import DAILY_QUOTA
from ..const import DEFAULT_TZ

# Hour at which sending begins after a day with a used-up daily limit, without quiet hours.
MORNING = 8


class WechatAccount(models.Model):
    """The sending of an account: quiet hours, limits, pauses, and the suspension until a manager resumes it."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    quiet_from = fields.Float(help="Start of the quiet hours, in which only tests and welcome messages are sent.")
    quiet_to = fields.Float(help="End of the quiet hours: the waiting messages are sent.")
    daily_limit = fields.Integer(
        help="Messages that a merchant is sent a day at most. The others wait until the next day. 0: no limit."
    )
    send_paused_until = fields.Datetime("Sending Paused until", readonly=True, copy=False)
    send_pause_reason = fields.Text("Sending Paused because", readonly=True, copy=False)
    send_pause_errcode = fields.Integer(readonly=True, copy=False, help="WeChat's code that asked for the pause.")
    send_stop_reason = fields.Text(
        "Sending Stopped because",
        readonly=True,
        copy=False,
        help="WeChat refuses the account: its messages wait until a manager resumes it.",
    )
    is_send_paused = fields.Boolean(compute="_compute_is_send_paused")

    outbox_count = fields.Integer("Messages Waiting", compute="_compute_outbox")
    outbox_ends_at = fields.Datetime(
        "Expected to Be Sent by", compute="_compute_outbox", help="At the send rate, without regard to quiet hours."
    )
    is_outbox_over_quota = fields.Boolean(compute="_compute_outbox")

    # === CONSTRAINTS AND INDEXES === #

    _quiet_hours_range = models.Constraint(
        "CHECK(quiet_from >= 0 AND quiet_from < 24 AND quiet_to >= 0 AND quiet_to < 24)",
        "Quiet hours are times between 00:00 and 23:59.",
    )
    _daily_limit_positive = models.Constraint("CHECK(daily_limit >= 0)", "The daily limit can't be negative.")

    # === COMPUTE METHODS === #

    @api.depends("send_paused_until")
    def _compute_is_send_paused(self):
        now = fields.Datetime.now()
        for account in self:
            account.is_send_paused = bool(account.send_paused_until and account.send_paused_until > now)

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

    # === ACTION METHODS === #

    def action_resume_sending(self):
        """Resume the sending of stopped and paused accounts.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self.send_stop_reason = False
        self._end_pause()
        self._close_manager_activities()
        return True

    # === BUSINESS METHODS - SENDING === #

    def _get_send_tz(self):
        """Return the time zone of the quiet hours and of the daily limit."""
        return timezone(self.company_id.partner_id.tz or DEFAULT_TZ)

    def _get_quiet_until(self, now):
        """Return the end of the current quiet hours, or None outside of them.

        :param datetime now: in UTC.
        :rtype: datetime | None
        """
        if self.quiet_from == self.quiet_to:
            return None
        tz = self._get_send_tz()
        local = UTC.localize(now).astimezone(tz)
        hour = local.hour + local.minute / 60
        if self.quiet_from < self.quiet_to:
            is_quiet = self.quiet_from <= hour < self.quiet_to
        else:
            is_quiet = hour >= self.quiet_from or hour < self.quiet_to
        if not is_quiet:
            return None
        day = local.date() + timedelta(days=hour >= self.quiet_to)
        hours, minutes = divmod(round(self.quiet_to * 60), 60)
        end = tz.localize(datetime.combine(day, time(hours, minutes)))
        return end.astimezone(UTC).replace(tzinfo=None)

    def _get_day_start(self, now):
        """Return the start, in UTC, of the day for which the daily limit counts messages.

        :param datetime now: in UTC.
        :rtype: datetime
        """
        tz = self._get_send_tz()
        local = UTC.localize(now).astimezone(tz)
        return tz.localize(datetime.combine(local.date(), time.min)).astimezone(UTC).replace(tzinfo=None)

    def _get_morning(self, day_start):
        """Return the time from which messages are sent that the daily limit has held back until a day.

        :param datetime day_start: see _get_day_start.
        :return: the end of the night's quiet hours, else 8:00, in UTC.
        :rtype: datetime
        """
        return day_start + timedelta(hours=self.quiet_to if self.quiet_from > self.quiet_to else MORNING)

    def _pause_sending(self, seconds, reason, errcode=None):
        """Pause the sending of the account. A longer pause stays.

        :param float seconds: the length of the pause.
        :param str reason: why, in words.
        :param int errcode: WeChat's code that asks for the pause.
        """
        until = fields.Datetime.now() + timedelta(seconds=seconds)
        if not self.send_paused_until or self.send_paused_until < until:
            self.write({"send_paused_until": until, "send_pause_reason": reason, "send_pause_errcode": errcode})

    def _end_pause(self):
        """End a pause, and send the messages that met it."""
        self.write({"send_paused_until": False, "send_pause_reason": False, "send_pause_errcode": False})
        self.env["wechat.message"]._retry_now([("account_id", "in", self.ids)])

    def _suspend(self, reason):
        """Suspend the sending of the account until a manager resumes it, and schedule an activity for that.

        :param str reason: why, in words.
        """
        if self.send_stop_reason:
            return
        self.send_stop_reason = reason
        self._schedule_manager_activity(self.env._("WeChat refuses the account: its messages wait"), reason)

    # === BUSINESS METHODS - QUOTA === #

    def _get_quota_domain(self):
        return Domain("send_pause_errcode", "=", DAILY_QUOTA) | super()._get_quota_domain()

    def _check_quota(self):
        quota = super()._check_quota()
        if quota and quota["remain"] > 0 and self.send_pause_errcode == DAILY_QUOTA:
            # WeChat does not say when the day of the quota ends.
            self._end_pause()
        return quota

    # === BUSINESS METHODS - IDENTITY === #

    def _confirm_database(self):
        result = super()._confirm_database()
        self.env["wechat.message"]._trigger_sender()
        return result
