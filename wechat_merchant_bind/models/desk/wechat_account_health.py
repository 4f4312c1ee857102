import logging
from datetime import timedelta
from typing import NamedTuple

from odoo import api, fields, models
from odoo.tools import SQL, format_datetime, plaintext2html

from ...tools.wechat_errors import WechatAmbiguous, WechatRetry
from ..const import RECEIPT_EVENT

_logger = logging.getLogger(__name__)

ACTIVITY = "wechat_merchant_bind.mail_activity_type_health"
# Checks of troubles that are told elsewhere: by the dialog of the connection check, and by activities of their own.
SELF_NOTIFYING = frozenset({"connection", "sending", "templates", "quota"})
# Checks that schedule an activity for a warning too, since there is time to act.
EARLY = frozenset({"verification"})
# Checks of the whole database: one activity, at its first account.
GLOBAL = frozenset({"schedule"})
# The action that shows the trouble of a check, and its filter.
FIX_ACTIONS = {
    "refusals": ("wechat_event_action", "refused"),
    "inbox": ("wechat_event_action", "failed"),
    "outbox": ("wechat_message_action", "waiting"),
    "quota": ("wechat_message_action", "waiting"),
    "templates": ("wechat_template_action", "stopped"),
}
# From good to bad. An account that is not connected yet is not in order, but no reason for an alarm.
HEALTH_STATES = [
    ("ok", "In order"),
    ("unconnected", "Not connected yet"),
    ("warning", "Attention"),
    ("problem", "Problem"),
]


class Finding(NamedTuple):
    """The result of a check of one account."""

    state: str
    # The trouble, in one line.
    summary: str = ""
    # Its meaning and its remedy.
    message: str = ""
    # Tells one trouble from the next: a new one gets an activity although the manager has closed that of the last.
    occurrence: str = ""


# Thresholds: each is a system parameter of this name below PARAMETER, see docs/monitoring.md.
PARAMETER = "wechat_merchant_bind.health_"
DEFAULTS = {
    # Minutes after which a missing receipt shows that no pushes come from WeChat. It sends receipts within seconds, and
    # reviews messages within 30 minutes.
    "receipt_minutes": 60,
    # Days without any push that are unusual for an account in daily use.
    "silence_days": 7,
    # Minutes for which messages may be due and none be sent.
    "outbox_minutes": 30,
    # Minutes for which a scheduled action may be late, an event unhandled, or WeChat out of reach.
    "patience_minutes": 15,
    # Days after which a refused push or a failed event is no longer reported.
    "history_days": 3,
    # Days before the end of the verification. WeChat reminds of the yearly review three months before.
    "verification_days": 100,
}
# Days before a silence, most of which must have had a push.
USUAL_DAYS = 28
SCHEDULED = ("wechat_merchant_bind.ir_cron_apply_receipts", "wechat_merchant_bind.ir_cron_retry_events")


class WechatAccountHealth(models.Model):
    """One check of an account's health.

    The finding is computed when it is read. The record only stores the activity that was scheduled for a manager.
    An addon adds a check by a value of the field kind and a method _check_<kind>.
    """

    _name = "wechat.account.health"
    _description = "WeChat Account Health"
    _order = "account_id, id"
    _rec_name = "kind"

    # === FIELDS === #

    account_id = fields.Many2one("wechat.account", required=True, readonly=True, ondelete="cascade")
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    kind = fields.Selection(
        [
            ("webhook", "Pushes from WeChat"),
            ("refusals", "Refused Pushes"),
            ("token", "Access Token"),
            ("sending", "Sending of Messages"),
            ("outbox", "Outbox"),
            ("templates", "Templates"),
            ("quota", "Quota of Today"),
            ("inbox", "Inbox"),
            ("schedule", "Scheduled Actions"),
            ("connection", "Connection Check"),
            ("verification", "Verification by WeChat"),
        ],
        "Checked",
        required=True,
        readonly=True,
        help="Pushes from WeChat: messages were sent an hour ago and nothing has come from WeChat since, neither their "
        "receipts nor anything else; or nothing has come for a week, after something came on most days of the four "
        "weeks before.\n"
        "Refused Pushes: the last push of the last three days was refused.\n"
        "Access Token: WeChat refuses it, or has not been reached for a quarter of an hour. Before that it is worth "
        "attention only.\n"
        "Sending of Messages: it is stopped or has to be confirmed. A pause that WeChat has asked for is worth "
        "attention only.\n"
        "Outbox: messages have been due for half an hour and none is being sent, or they will not all be sent before "
        "their time is over. Quiet hours, pauses and stops don't count.\n"
        "Templates: WeChat refuses one, and its messages wait.\n"
        "Quota of Today: almost used up.\n"
        "Inbox: events of the last three days could not be handled.\n"
        "Scheduled Actions: none sends, or one is a quarter of an hour late or fails.\n"
        "Connection Check: WeChat did not accept the account at the last connection check, and no message was sent "
        "since.\n"
        "Verification by WeChat: it has ended, or WeChat has refused it. That it ends within some months is worth "
        "attention only.",
    )
    # sudo: the finding is about the record's own account, tells no secret, and the record is for managers only
    state = fields.Selection(HEALTH_STATES, compute="_compute_finding", compute_sudo=True)
    summary = fields.Char("What Has Happened", compute="_compute_finding", compute_sudo=True)
    message = fields.Text("What Has Happened and What to Do", compute="_compute_finding", compute_sudo=True)
    can_fix = fields.Boolean(compute="_compute_can_fix")
    activity_id = fields.Many2one("mail.activity", readonly=True, ondelete="set null", index="btree_not_null")
    occurrence = fields.Char(readonly=True, help="Of which trouble a manager was told; empty if there is none.")

    # === CONSTRAINTS AND INDEXES === #

    _kind_unique = models.UniqueIndex("(account_id, kind)", "An account has one record for each check.")

    # === COMPUTE METHODS === #

    @api.depends("account_id", "kind")
    @api.depends_context("lang", "tz")
    def _compute_finding(self):
        for line, finding in self._get_findings().items():
            line.state, line.summary = finding.state, finding.summary
            line.message = "\n".join(filter(None, [finding.summary, finding.message]))

    @api.depends("kind", "state")
    @api.depends_context("uid")
    def _compute_can_fix(self):
        is_admin = self.env.user.has_group("base.group_system")
        for line in self:
            # The account's form shows suspended sending and its button elsewhere.
            line.can_fix = line.state != "ok" and line.kind != "sending" and (line.kind != "schedule" or is_admin)

    # === ACTION METHODS === #

    def action_open_fix(self):
        """Open the view that fixes or shows the trouble.

        :return: an action.
        :rtype: dict
        """
        self.ensure_one()
        self.check_access("read")
        return self._get_fix_action()

    # === BUSINESS METHODS === #

    @api.model
    def _get_for(self, accounts):
        """Return the checks of accounts, and create the missing ones.

        :param wechat.account accounts: the accounts.
        :rtype: wechat.account.health
        """
        # sudo: wechat.account.health - created only here, and an empty one tells nothing
        lines_sudo = self.sudo().search([("account_id", "in", accounts.ids)])
        known = {(line.account_id.id, line.kind) for line in lines_sudo}
        missing = [
            {"account_id": account.id, "kind": kind}
            for account in accounts
            for kind, _label in self._fields["kind"].get_description(self.env, ["selection"])["selection"]
            if (account.id, kind) not in known
        ]
        return (lines_sudo | lines_sudo.create(missing)).sudo(self.env.su)

    def _get_findings(self):
        """Return the findings of these checks. Each kind is computed once for all accounts.

        :rtype: dict[wechat.account.health, Finding]
        """
        findings = {}
        for kind, lines in self.grouped("kind").items():
            found = getattr(self, f"_check_{kind}")(lines.account_id)
            findings |= {line: found.get(line.account_id, Finding("ok")) for line in lines}
        return findings

    # === BUSINESS METHODS - FIXING === #

    def _get_fix_action(self):
        """Return the action that fixes or shows the trouble of this check.

        :rtype: dict
        """
        if self.kind in ("webhook", "token", "connection"):
            return self.account_id.action_test_connection()
        if self.kind == "schedule":
            action = self.env["ir.actions.act_window"]._for_xml_id("base.ir_cron_act")
            domain = [("model_id.model", "=like", "wechat.%")]
            return {**action, "domain": domain, "context": {"active_test": False}}
        shown = FIX_ACTIONS.get(self.kind)
        if not shown:
            return self.account_id._prepare_account_action(self.account_id)["action"]
        action = self.env["ir.actions.act_window"]._for_xml_id(f"wechat_merchant_bind.{shown[0]}")
        context = {f"search_default_{shown[1]}": 1}
        return {**action, "domain": [("account_id", "=", self.account_id.id)], "context": context}

    # === BUSINESS METHODS - ACTIVITIES === #

    @api.model
    def _cron_check(self):
        """Schedule one activity for each problem, and delete those of problems that are over."""
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        accounts = self.env["wechat.account"].search([])
        lines = self._get_for(accounts)
        findings = lines._get_findings()
        wrong = lines.filtered(lambda line: findings[line].state == "problem")
        early = lines.filtered(lambda line: line.kind in EARLY and findings[line].state == "warning")
        notified = (wrong | early).filtered(lambda line: line.kind not in SELF_NOTIFYING)
        notified = notified.filtered(lambda line: line.kind not in GLOBAL or line.account_id == accounts[:1])
        over = self.search([("occurrence", "!=", False), ("id", "not in", notified.ids)])
        over._close_activity()
        for line in notified:
            line._notify_manager(findings[line].occurrence)
        _logger.info("wechat.health: checked accounts=%s problems=%s over=%s", len(accounts), len(wrong), len(over))
        for line in wrong:
            _logger.warning("wechat.health: problem account=%s check=%s", line.account_id.id, line.kind)

    def _notify_manager(self, occurrence):
        """Schedule an activity about the problem, or update the open one. A problem whose activity is done gets none.

        :param str occurrence: see Finding.
        """
        self.ensure_one()
        # A done activity is archived.
        is_open = self.activity_id.active
        occurrence = occurrence or self.kind
        if not is_open and self.occurrence == occurrence:
            return
        manager = self.activity_id.user_id if is_open else self.account_id._get_responsible_manager()
        if not manager:
            return
        line = self.with_context(
            lang=self.env["wechat.account"]._get_lang(manager.lang), tz=manager.tz, mail_activity_quick_update=True
        )
        finding = line._get_findings()[line]
        values = {"summary": finding.summary, "note": plaintext2html(finding.message)}
        if not is_open:
            # Without an e-mail, as for suspended sending.
            self.activity_id = line.account_id.activity_schedule(ACTIVITY, user_id=manager.id, **values)
        elif (self.activity_id.summary, self.activity_id.note) != tuple(values.values()):
            self.activity_id.write(values)
        self.occurrence = occurrence

    def _close_activity(self):
        """Delete the open activities of problems that are over. Done ones stay."""
        self.activity_id.filtered("active").unlink()
        self.write({"activity_id": False, "occurrence": False})

    # === BUSINESS METHODS - CHECKS === #

    @api.model
    def _get_threshold(self, name):
        """Return a threshold.

        :param str name: a key of DEFAULTS.
        :rtype: timedelta
        """
        # sudo: ir.config_parameter - a number that only administrators set
        value = self.env["ir.config_parameter"].sudo().get_param(f"{PARAMETER}{name}")
        number = int(value) if (value or "").isdecimal() else DEFAULTS[name]
        return timedelta(**{name.rpartition("_")[2]: number})

    @api.model
    def _execute_by_account(self, query):
        """Return the rows of a query by account.

        :param SQL query: a query that returns account_id and other columns.
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
                "Scans bind no merchant, and it is unknown which messages have arrived. Compare the webhook address, "
                "Token and EncodingAESKey with WeChat's console, see whether the server configuration is still enabled "
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
        """Report an error of the last connection check, unless a message was sent since."""
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
    def _check_verification(self, accounts):
        now = fields.Datetime.now()
        soon = now + self._get_threshold("verification_days")
        need = self.env._("Without a verification WeChat sends no template messages and makes no QR codes for binding.")
        findings = {}
        for account in accounts:
            ends_at, refusal = account.verification_expires_at, account.verification_failure
            date = format_datetime(self.env, ends_at) if ends_at else ""
            remedy = (
                self.env._("Correct what WeChat names, then apply again in WeChat's console under WeChat Verification.")
                if refusal
                else self.env._("Apply for the yearly review in WeChat's console under WeChat Verification.")
            )
            if ends_at and ends_at <= now:
                state, occurrence = "problem", f"ended {ends_at}"
                summary = self.env._("The verification of the Official Account has ended.")
                term = self.env._("It ended on %s.", date)
            elif refusal:
                state, occurrence = "warning" if ends_at else "problem", "refused"
                summary = self.env._("WeChat has refused the verification of the Official Account.")
                term = self.env._("The present verification ends on %s.", date) if ends_at else ""
            elif ends_at and ends_at <= soon:
                state, occurrence = "warning", f"due {account.verification_event_at}"
                summary = self.env._("The verification of the Official Account ends on %s.", date)
                term = ""
            else:
                findings[account] = Finding("ok", message=self.env._("Verified until %s.", date) if ends_at else "")
                continue
            if refusal:
                occurrence += f" {account.verification_event_at}"
            message = "\n".join(filter(None, [refusal, term, need, remedy]))
            findings[account] = Finding(state, summary, message, occurrence)
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
                       FILTER (WHERE template.stop_reason IS NULL) AS due_since,
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
                    "Scans or messages of merchants had no effect. Fix the cause, which may be an automation of "
                    "another addon, then retry the events in the inbox. The last error: %s",
                    row["error"],
                ),
                str(row["last_id"]),
            )
            for account, row in self._execute_by_account(query).items()
        }

    @api.model
    def _check_schedule(self, accounts):
        # sudo: ir.cron - tells only whether they run
        crons_sudo = self.env["ir.cron"].sudo()
        sender = self.env["wechat.message"]._get_sender()
        late_before = fields.Datetime.now() - self._get_threshold("patience_minutes")
        for xml_id in SCHEDULED:
            crons_sudo |= self.env.ref(xml_id, raise_if_not_found=False) or crons_sudo
        wrong = (sender | crons_sudo).filtered(
            lambda cron: not cron.active or cron.nextcall < late_before or cron.failure_count
        )
        if not sender:
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
        """Return whether a receipt or an expired lease has waited longer than a run of any scheduled action.

        :param datetime before: the time since which it has waited.
        :rtype: bool
        """
        # sudo: wechat.event, wechat.message - tells only whether one is stuck
        receipts_sudo = self.env["wechat.event"].sudo()
        messages_sudo = self.env["wechat.message"].sudo()
        is_receipt_stuck = receipts_sudo.search_count(
            [
                ("event", "=", RECEIPT_EVENT),
                ("state", "=", "received"),
                ("attempts", "=", 0),
                ("create_date", "<", before),
            ],
            limit=1,
        )
        is_lease_stuck = messages_sudo.search_count([("state", "=", "sending"), ("lease_until", "<", before)], limit=1)
        return bool(is_receipt_stuck or is_lease_stuck)
