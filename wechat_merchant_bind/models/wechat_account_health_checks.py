from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import SQL, format_datetime

from ..tools.wechat_errors import WechatAmbiguous, WechatRetry
from .wechat_account_health import Finding

# Thresholds: each is a system parameter of this name below PARAMETER, see docs/monitoring.md.
PARAMETER = "wechat_merchant_bind.health_"
DEFAULTS = {
    # Minutes after which a message whose receipt is missing shows that nothing comes from WeChat. It sends receipts
    # within seconds, and what it reviews is decided within 30 minutes.
    "receipt_minutes": 60,
    # Days without any push that are strange for an account that is used daily.
    "silence_days": 7,
    # Minutes that a message may be due for without any being sent.
    "outbox_minutes": 30,
    # Minutes that a scheduled action may be late, an event unhandled, or WeChat out of reach.
    "patience_minutes": 15,
    # Days after which a refused push or a failed event is no news any more.
    "history_days": 3,
}
# The days before a silence among which most must have had a push.
USUAL_DAYS = 28
SCHEDULED = ("wechat_merchant_bind.ir_cron_apply_receipts", "wechat_merchant_bind.ir_cron_retry_events")


class WechatAccountHealth(models.Model):
    """What each check asks. All take accounts and return what they have found by account; one left out is in order."""

    _inherit = "wechat.account.health"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS - CHECKS === #

    @api.model
    def _get_threshold(self, name):
        """Return a threshold.

        :param str name: a key of ``DEFAULTS``.
        :rtype: timedelta
        """
        # sudo: ir.config_parameter - a number that only administrators set
        value = self.env["ir.config_parameter"].sudo().get_param(f"{PARAMETER}{name}")
        number = int(value) if (value or "").isdecimal() else DEFAULTS[name]
        return timedelta(**{name.rpartition("_")[2]: number})

    @api.model
    def _execute_by_account(self, query):
        """Return the rows of a query by account.

        :param SQL query: asks for ``account_id`` and anything else.
        :rtype: dict[wechat.account, dict]
        """
        self.env["wechat.event"].flush_model()
        self.env["wechat.message"].flush_model()
        self.env.cr.execute(query)
        return {self.env["wechat.account"].browse(row["account_id"]): row for row in self.env.cr.dictfetchall()}

    @api.model
    def _check_webhook(self, accounts):
        query = SQL(
            """
            SELECT account.id AS account_id, last.create_date AS last_at, waiting.count,
                   last.create_date < %(now)s - %(silence)s AND %(usual)s < 2 * (
                       SELECT count(*)
                         FROM generate_series(1, %(usual)s) AS day (number)
                        WHERE EXISTS (
                                  SELECT FROM wechat_event
                                   WHERE account_id = account.id
                                     AND create_date <= last.create_date - (day.number - 1) * interval '1 day'
                                     AND create_date > last.create_date - day.number * interval '1 day'
                              )
                   ) AS is_silent,
                   EXISTS (SELECT FROM wechat_binding WHERE account_id = account.id AND source = 'scan') AS was_scanned
              FROM wechat_account AS account
         LEFT JOIN LATERAL (
                       SELECT create_date
                         FROM wechat_event
                        WHERE account_id = account.id AND (event IS NOT NULL OR msg_type IS NOT NULL)
                     ORDER BY create_date DESC
                        LIMIT 1
                   ) AS last ON TRUE
        CROSS JOIN LATERAL (
                       SELECT count(*)
                         FROM wechat_message
                        WHERE account_id = account.id
                          AND state = 'sent'
                          AND sent_at > COALESCE(last.create_date, '-infinity')
                          AND sent_at < %(now)s - %(receipt)s
                   ) AS waiting
             WHERE account.id = ANY(%(account_ids)s)
            """,
            account_ids=accounts.ids,
            now=fields.Datetime.now(),
            silence=self._get_threshold("silence_days"),
            receipt=self._get_threshold("receipt_minutes"),
            usual=USUAL_DAYS,
        )
        findings = {}
        for account, row in self._execute_by_account(query).items():
            if row["last_at"]:
                last = self.env._("The last one came on %s.", format_datetime(self.env, row["last_at"]))
            elif row["was_scanned"]:
                last = self.env._("Nothing has come for as long as received events are kept.")
            else:
                last = self.env._("WeChat has never reached this account's webhook.")
            remedy = self.env._(
                "Scans bind nobody and nobody knows which messages have arrived. Compare the webhook address, Token "
                "and EncodingAESKey with WeChat's console, see whether the server configuration is still enabled "
                "there, and whether the address can be reached from outside."
            )
            if row["count"]:
                summary = self.env._("WeChat sends no receipts: %s messages wait for theirs.", row["count"])
                findings[account] = Finding("problem", summary, f"{last} {remedy}")
            elif row["is_silent"]:
                days = (fields.Datetime.now() - row["last_at"]).days
                summary = self.env._("Nothing has come from WeChat for %s days.", days)
                findings[account] = Finding("problem", summary, f"{last} {remedy}")
            elif row["last_at"] or row["was_scanned"]:
                findings[account] = Finding("ok", message=last)
            else:
                steps = self.env._(
                    "Enter the webhook address, Token and EncodingAESKey in WeChat's console, enable the server "
                    "configuration, then follow the account with your phone."
                )
                findings[account] = Finding("unconnected", last, steps)
        return findings

    @api.model
    def _check_refusals(self, accounts):
        query = SQL(
            """
            SELECT account.id AS account_id, last.*
              FROM wechat_account AS account
        CROSS JOIN LATERAL (
                       SELECT create_date, refusal, skew
                         FROM wechat_event
                        WHERE account_id = account.id
                          AND create_date >= %(now)s - %(history)s
                          AND (payload IS NOT NULL OR refusal IS NOT NULL)
                     ORDER BY create_date DESC, id DESC
                        LIMIT 1
                   ) AS last
             WHERE account.id = ANY(%(account_ids)s) AND last.refusal IS NOT NULL
            """,
            account_ids=accounts.ids,
            now=fields.Datetime.now(),
            history=self._get_threshold("history_days"),
        )
        labels = dict(self.env["wechat.event"]._fields["refusal"]._description_selection(self.env))
        findings = {}
        for account, row in self._execute_by_account(query).items():
            lines = [
                self.env._("The last one was refused on %s:", format_datetime(self.env, row["create_date"])),
                labels[row["refusal"]],
            ]
            if row["refusal"] == "clock_skew":
                lines.append(
                    self.env._(
                        "The signed time was %s seconds behind this server's clock. Set the server's clock by NTP.",
                        row["skew"],
                    )
                    if row["skew"] > 0
                    else self.env._(
                        "The signed time was %s seconds ahead of this server's clock. Set the server's clock by NTP.",
                        -row["skew"],
                    )
                )
            else:
                lines.append(
                    self.env._(
                        "Compare the Token, the EncodingAESKey and the encryption mode here with WeChat's console. "
                        "WeChat repeats a push for some seconds only: what is refused now is lost."
                    )
                )
            findings[account] = Finding("problem", self.env._("Pushes from WeChat are refused."), "\n".join(lines))
        return findings

    @api.model
    def _check_token(self, accounts):
        unreachable_before = fields.Datetime.now() - self._get_threshold("patience_minutes")
        findings = {}
        for token in self.env["wechat.access.token"].search([("account_id", "in", accounts.ids)]):
            if not token.failed_since:
                if not token.token:
                    summary = self.env._("WeChat was not called yet. Press “Test Connection”.")
                    findings[token.account_id] = Finding("unconnected", summary)
                continue
            error = token._get_error()
            is_passing = isinstance(error, (WechatAmbiguous, WechatRetry))
            since = self.env._("Since %s:", format_datetime(self.env, token.failed_since))
            summary = (
                self.env._("WeChat can't be reached.")
                if is_passing
                else self.env._("WeChat gives no access token: nothing can be sent and no code be made.")
            )
            findings[token.account_id] = Finding(
                "warning" if is_passing and token.failed_since > unreachable_before else "problem",
                summary,
                f"{since} {token.account_id._get_error_message(error)}",
            )
        return findings

    @api.model
    def _check_connection(self, accounts):
        """Tell what the last connection check found, until a message that was sent since shows that it is over."""
        findings = {}
        failed = accounts.filtered("last_check_error")
        query = SQL(
            """
            SELECT id AS account_id
              FROM wechat_account AS account
             WHERE id = ANY(%s)
               AND EXISTS (SELECT FROM wechat_message WHERE account_id = account.id AND sent_at > last_check_at)
            """,
            failed.ids,
        )
        sending = self._execute_by_account(query) if failed else {}
        for account in accounts:
            if not account.last_check_at:
                findings[account] = Finding("ok", message=self.env._("No connection check was made yet."))
                continue
            date = format_datetime(self.env, account.last_check_at)
            last = self.env._("The last check was on %s.", date)
            if account in failed and account not in sending:
                summary = self.env._("WeChat did not accept the account at the last connection check.")
                findings[account] = Finding("problem", summary, f"{last}\n{account.last_check_error}", date)
            else:
                findings[account] = Finding("ok", message=last)
        return findings

    @api.model
    def _check_sending(self, accounts):
        findings = {}
        for account in accounts:
            if account.is_outbox_unconfirmed:
                findings[account] = Finding(
                    "problem",
                    self.env._("All messages wait until a manager confirms that this database sends them."),
                    self.env._(
                        "The number of this database has changed, as it does in a copy. If this is the one that should "
                        "send, press “Confirm Sending” on the Official Account."
                    ),
                )
            elif account.send_stop_reason:
                summary = self.env._("WeChat refuses the account: its messages wait.")
                findings[account] = Finding("problem", summary, account.send_stop_reason)
            elif account.is_send_paused:
                findings[account] = Finding(
                    "warning",
                    self.env._("Nothing is sent for a while, as WeChat has asked."),
                    "\n".join(
                        [
                            self.env._("Until %s.", format_datetime(self.env, account.send_paused_until)),
                            account.send_pause_reason or "",
                        ]
                    ),
                )
        return findings

    @api.model
    def _check_outbox(self, accounts):
        now, patience = fields.Datetime.now(), self._get_threshold("outbox_minutes")
        query = SQL(
            """
            SELECT message.account_id, count(*), max(message.valid_until) AS valid_until,
                   min(message.next_attempt_at)
                       FILTER (WHERE message.is_parked IS NOT TRUE AND template.stop_reason IS NULL) AS due_since,
                   EXISTS (SELECT FROM wechat_message AS flying
                            WHERE flying.account_id = message.account_id
                              AND flying.state = 'sending'
                              AND flying.lease_until > %(now)s) AS is_sending
              FROM wechat_message AS message
         LEFT JOIN wechat_template AS template ON template.id = message.template_id
             WHERE message.state = 'outgoing' AND message.account_id = ANY(%(account_ids)s)
          GROUP BY message.account_id
            """,
            account_ids=accounts.ids,
            now=now,
        )
        findings = {}
        for account, row in self._execute_by_account(query).items():
            if account.send_stop_reason or account.is_send_paused or account.is_outbox_unconfirmed:
                continue
            ends_at = now + timedelta(seconds=row["count"] / account.send_rate)
            was_quiet = account._get_quiet_until(now) or account._get_quiet_until(now - patience)
            if row["due_since"] and row["due_since"] < now - patience and not row["is_sending"] and not was_quiet:
                findings[account] = Finding(
                    "problem",
                    self.env._("Messages are due and are not sent."),
                    self.env._(
                        "%(count)s messages wait, the first since %(date)s. See whether the scheduled actions that "
                        "send messages are active and what the server's log says of them.",
                        count=row["count"],
                        date=format_datetime(self.env, row["due_since"]),
                    ),
                )
            elif row["valid_until"] and ends_at > row["valid_until"]:
                findings[account] = Finding(
                    "problem",
                    self.env._("More messages wait than can be sent before their time is over."),
                    self.env._(
                        "%(count)s messages wait. At %(rate)s a second the last is sent on %(date)s, but they are "
                        "valid until %(valid)s; what is late is canceled. Raise the send rate, or cancel what is not "
                        "needed.",
                        count=row["count"],
                        rate=account.send_rate,
                        date=format_datetime(self.env, ends_at),
                        valid=format_datetime(self.env, row["valid_until"]),
                    ),
                )
            else:
                findings[account] = Finding("ok", message=self.env._("%s messages wait.", row["count"]))
        return findings

    @api.model
    def _check_templates(self, accounts):
        templates = self.env["wechat.template"].search(
            [("account_id", "in", accounts.ids), ("stop_reason", "!=", False)]
        )
        return {
            account: Finding(
                "problem",
                self.env._("WeChat refuses a template: its messages wait."),
                "\n".join(f"{template.name}: {template.stop_reason}" for template in stopped),
            )
            for account, stopped in templates.grouped("account_id").items()
        }

    @api.model
    def _check_quota(self, accounts):
        return {
            account: Finding(
                "warning" if account.is_quota_short else "ok",
                self.env._("The quota of today is almost used up.") if account.is_quota_short else "",
                self.env._(
                    "%(used)s of %(limit)s messages of today are used.",
                    used=account.quota_used,
                    limit=account.quota_limit,
                ),
            )
            for account in accounts.filtered("quota_limit")
        }

    @api.model
    def _check_inbox(self, accounts):
        query = SQL(
            """
            SELECT failed.*, event.error
              FROM (
                       SELECT account_id, count(*), max(id) AS last_id
                         FROM wechat_event
                        WHERE state = 'failed'
                          AND create_date BETWEEN %(now)s - %(history)s AND %(now)s - %(patience)s
                          AND account_id = ANY(%(account_ids)s)
                     GROUP BY account_id
                   ) AS failed
              JOIN wechat_event AS event ON event.id = failed.last_id
            """,
            account_ids=accounts.ids,
            now=fields.Datetime.now(),
            history=self._get_threshold("history_days"),
            patience=self._get_threshold("patience_minutes"),
        )
        return {
            account: Finding(
                "problem",
                self.env._("Events from WeChat could not be handled: %s.", row["count"]),
                self.env._(
                    "Scans or messages of merchants had no effect. Mend the reason, which may be an automation of "
                    "another addon, and handle them again in the inbox. The last error: %s",
                    row["error"],
                ),
                str(row["last_id"]),
            )
            for account, row in self._execute_by_account(query).items()
        }

    @api.model
    def _check_schedule(self, accounts):
        # sudo: ir.cron - only whether they run is told
        crons_sudo = self.env["ir.cron"].sudo()
        lanes = self.env["wechat.message"]._get_lanes()
        late_before = fields.Datetime.now() - self._get_threshold("patience_minutes")
        for xml_id in SCHEDULED:
            crons_sudo |= self.env.ref(xml_id, raise_if_not_found=False) or crons_sudo
        wrong = (lanes | crons_sudo).filtered(
            lambda cron: not cron.active or cron.nextcall < late_before or cron.failure_count
        )
        if not lanes:
            summary = self.env._("No scheduled action sends messages.")
        elif wrong or self._is_overdue(late_before):
            summary = self.env._("Scheduled actions are late, fail or are switched off.")
        else:
            return {}
        message = self.env._(
            "Messages and receipts wait. Ask the administrator to see whether Odoo's scheduled actions run and what "
            "the server's log says of them."
        )
        message = "\n".join([message, *wrong.mapped("name")])
        return dict.fromkeys(accounts, Finding("problem", summary, message))

    @api.model
    def _is_overdue(self, before):
        """Return whether a receipt or the end of a call has waited longer than any run of a scheduled action takes.

        :param datetime before: since when.
        :rtype: bool
        """
        # sudo: wechat.event, wechat.message - only whether anything is stuck is told
        receipts_sudo = self.env["wechat.event"].sudo()
        messages_sudo = self.env["wechat.message"].sudo()
        is_receipt_stuck = receipts_sudo.search_count(
            [
                ("event", "=", "templatesendjobfinish"),
                ("state", "=", "received"),
                ("attempts", "=", 0),
                ("create_date", "<", before),
            ],
            limit=1,
        )
        is_lease_stuck = messages_sudo.search_count([("state", "=", "sending"), ("lease_until", "<", before)], limit=1)
        return bool(is_receipt_stuck or is_lease_stuck)
