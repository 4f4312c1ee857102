from datetime import datetime, time, timedelta

from pytz import UTC, timezone

from odoo import api, fields, models
from odoo.tools import SQL

# Where nobody has set one: all of China has this time.
DEFAULT_TZ = "Asia/Shanghai"


class WechatAccount(models.Model):
    """When an account sends: its quiet hours and limits, its pauses, and what stops it until a manager resumes it."""

    _name = "wechat.account"
    _inherit = ["wechat.account", "wechat.stop.mixin"]

    # === FIELDS === #

    quiet_from = fields.Float(help="From then on nothing is sent but tests and welcomes.")
    quiet_to = fields.Float(help="Then the messages that have waited are sent.")
    daily_limit = fields.Integer(
        help="Messages that a merchant is sent a day at most. The others wait until the next day. 0: no limit."
    )
    send_paused_until = fields.Datetime("Sending Paused until", readonly=True, copy=False)
    send_pause_reason = fields.Text("Sending Paused because", readonly=True, copy=False)
    send_pause_errcode = fields.Integer(readonly=True, copy=False, help="With which WeChat has asked for the pause.")
    send_stop_reason = fields.Text(
        "Sending Stopped because",
        readonly=True,
        copy=False,
        help="WeChat refuses the account: its messages wait until a manager resumes it.",
    )
    is_send_paused = fields.Boolean(compute="_compute_is_send_paused")
    is_outbox_unconfirmed = fields.Boolean(compute="_compute_is_outbox_unconfirmed")

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

    def _compute_is_outbox_unconfirmed(self):
        self.is_outbox_unconfirmed = not self.env["wechat.message"]._is_outbox_confirmed()

    # === ACTION METHODS === #

    def action_resume_sending(self):
        """Let accounts send again that were stopped or paused.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self.write(
            {
                "send_stop_reason": False,
                "send_paused_until": False,
                "send_pause_reason": False,
                "send_pause_errcode": False,
            }
        )
        self._close_stop_activities()
        self.env["wechat.message"]._wake_refused(self)
        return True

    def action_confirm_outbox(self):
        """Confirm that it is this database that sends.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self.env["wechat.message"]._confirm_outbox()
        self.env["wechat.message"]._trigger_lanes()
        # sudo: wechat.account - the outbox is one for all companies, and so is what reminds of it
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        self.sudo().search([])._close_stop_activities()
        return True

    # === BUSINESS METHODS === #

    def _with_manager_lang(self):
        """Return the account in the language of the manager who looks after it."""
        return self.with_context(lang=self._get_lang(self._get_stop_manager().lang))

    def _get_send_tz(self):
        """Return the time zone of the quiet hours and of the daily limit.

        :rtype: tzinfo
        """
        return timezone(self.company_id.partner_id.tz or DEFAULT_TZ)

    def _get_quiet_until(self, now):
        """Return the end of the quiet hours that a moment is in, or None.

        :param datetime now: the moment, in UTC.
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

    def _get_budget(self, now):
        """Return what the outbox has to know of an account to choose its messages.

        :param datetime now: in UTC.
        :return: ``account_id``, ``is_quiet``, ``daily_limit``, and in UTC ``day_start`` and ``day_end`` of the day for
            which this limit is.
        :rtype: dict
        """
        self.ensure_one()
        day_start = self._get_day_start(now)
        return {
            "account_id": self.id,
            "is_quiet": bool(self._get_quiet_until(now)),
            "daily_limit": self.daily_limit,
            "day_start": day_start,
            "day_end": day_start + timedelta(days=1),
        }

    def _get_day_start(self, now):
        """Return when the day began, in UTC, whose messages the daily limit counts.

        :param datetime now: in UTC.
        :rtype: datetime
        """
        tz = self._get_send_tz()
        local = UTC.localize(now).astimezone(tz)
        return tz.localize(datetime.combine(local.date(), time.min)).astimezone(UTC).replace(tzinfo=None)

    def _pause_sending(self, seconds, reason, errcode=None):
        """Leave WeChat alone for a while. A longer pause that is on already stays.

        :param float seconds: for how long.
        :param str reason: why, in words.
        :param int errcode: WeChat's answer that asks for it.
        """
        # Not by the ORM, which would record it as a change of settings.
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_account
                   SET send_paused_until = clock_timestamp() AT TIME ZONE 'UTC' + %(seconds)s * interval '1 second',
                       send_pause_reason = %(reason)s,
                       send_pause_errcode = %(errcode)s
                 WHERE id = %(id)s
                   AND (send_paused_until IS NULL
                        OR send_paused_until < clock_timestamp() AT TIME ZONE 'UTC' + %(seconds)s * interval '1 second')
                """,
                seconds=seconds,
                reason=reason,
                errcode=errcode,
                id=self.id,
            )
        )
        self.invalidate_recordset(["send_paused_until", "send_pause_reason", "send_pause_errcode"], flush=False)

    def _end_pause(self):
        """Forget a pause that is over, because WeChat has answered again, and try what has met it."""
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_account
                   SET send_paused_until = NULL, send_pause_reason = NULL, send_pause_errcode = NULL
                 WHERE id = %s AND send_paused_until <= clock_timestamp() AT TIME ZONE 'UTC'
                """,
                self.id,
            )
        )
        self.invalidate_recordset(["send_paused_until", "send_pause_reason", "send_pause_errcode"], flush=False)
        self.env["wechat.message"]._wake_refused(self)

    def _stop_sending(self, reason):
        """Send nothing by this account until a manager resumes it, and ask one for that.

        :param str reason: why, in words.
        """
        if self.send_stop_reason:
            return
        self.send_stop_reason = reason
        self._schedule_stop_activity(self.env._("WeChat refuses the account: its messages wait"), reason)
