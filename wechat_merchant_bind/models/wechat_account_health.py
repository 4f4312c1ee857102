import logging
from typing import NamedTuple

from odoo import api, fields, models
from odoo.tools import plaintext2html

_logger = logging.getLogger(__name__)

ACTIVITY = "wechat_merchant_bind.mail_activity_type_health"
# What asks a manager by itself already: what is stopped, by the record that is, and the quota.
SELF_ASKING = frozenset({"sending", "templates", "quota"})
# What concerns the whole database is asked about once, at its first account.
GLOBAL = frozenset({"schedule"})
# The window that shows the trouble of a check, and its filter.
MENDING = {
    "refusals": ("wechat_event_action", "refused"),
    "inbox": ("wechat_event_action", "failed"),
    "outbox": ("wechat_message_action", "waiting"),
    "quota": ("wechat_message_action", "waiting"),
    "templates": ("wechat_template_action", "stopped"),
}
# From good to bad. What is not connected yet is neither in order nor a reason to alarm anybody.
STATES = [
    ("ok", "In order"),
    ("unconnected", "Not connected yet"),
    ("warning", "Attention"),
    ("problem", "Problem"),
]


class Finding(NamedTuple):
    """What a check has found about one account."""

    state: str
    # What has happened, in one line.
    summary: str = ""
    # What it means and what to do.
    message: str = ""
    # Tells one trouble from the next: a manager who is done with one is asked again about another.
    occurrence: str = ""


class WechatAccountHealth(models.Model):
    """What is watched about an account: a record for each check.

    What a check finds is computed whenever it is looked at. The record only remembers what a manager was asked about.
    An addon adds a check by a value of the field ``kind`` and a method ``_check_…`` of that name.
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
        "since.",
    )
    # sudo: what is computed is about the record's own account, tells no secret, and the record is for managers only
    state = fields.Selection(STATES, compute="_compute_finding", compute_sudo=True)
    summary = fields.Char("What Has Happened", compute="_compute_finding", compute_sudo=True)
    message = fields.Text("What Has Happened and What to Do", compute="_compute_finding", compute_sudo=True)
    can_mend = fields.Boolean(compute="_compute_can_mend")
    activity_id = fields.Many2one("mail.activity", readonly=True, ondelete="set null", index="btree_not_null")
    occurrence = fields.Char(readonly=True, help="Of which trouble a manager was told; empty if there is none.")

    # === CONSTRAINTS AND INDEXES === #

    _kind_unique = models.UniqueIndex("(account_id, kind)", "An account has one record for each check.")

    # === COMPUTE METHODS === #

    @api.depends("account_id", "kind")
    @api.depends_context("lang", "tz")
    def _compute_finding(self):
        for line, finding in self._find().items():
            line.state, line.summary = finding.state, finding.summary
            line.message = "\n".join(filter(None, [finding.summary, finding.message]))

    @api.depends("kind", "state")
    @api.depends_context("uid")
    def _compute_can_mend(self):
        is_admin = self.env.user.has_group("base.group_system")
        for line in self:
            # What stops the sending is above, on the same form.
            line.can_mend = line.state != "ok" and line.kind != "sending" and (line.kind != "schedule" or is_admin)

    # === ACTION METHODS === #

    def action_mend(self):
        """Open what mends the trouble, or shows it.

        :return: an action.
        :rtype: dict
        """
        self.ensure_one()
        self.check_access("read")
        return self._get_mending_action()

    # === BUSINESS METHODS === #

    @api.model
    def _get_for(self, accounts):
        """Return the records of accounts, and create those that there are none of yet.

        :param wechat.account accounts: the accounts.
        :rtype: wechat.account.health
        """
        # sudo: wechat.account.health - nobody creates them but this, and an empty one tells nothing
        lines_sudo = self.sudo().search([("account_id", "in", accounts.ids)])
        known = {(line.account_id.id, line.kind) for line in lines_sudo}
        missing = [
            {"account_id": account.id, "kind": kind}
            for account in accounts
            for kind, _label in self._fields["kind"].get_description(self.env, ["selection"])["selection"]
            if (account.id, kind) not in known
        ]
        return (lines_sudo | lines_sudo.create(missing)).sudo(self.env.su)

    def _find(self):
        """Return what the checks find, each asked once for all accounts.

        :rtype: dict[wechat.account.health, Finding]
        """
        findings = {}
        for kind, lines in self.grouped("kind").items():
            found = getattr(self, f"_check_{kind}")(lines.account_id)
            findings |= {line: found.get(line.account_id, Finding("ok")) for line in lines}
        return findings

    # === BUSINESS METHODS - MENDING === #

    def _get_mending_action(self):
        """Return the action that mends or shows the trouble of a check.

        :rtype: dict
        """
        if self.kind in ("webhook", "token", "connection"):
            return self.account_id.action_test_connection()
        if self.kind == "schedule":
            action = self.env["ir.actions.act_window"]._for_xml_id("base.ir_cron_act")
            domain = [("model_id.model", "=like", "wechat.%")]
            return {**action, "domain": domain, "context": {"active_test": False}}
        shown = MENDING.get(self.kind)
        if not shown:
            return self.account_id._prepare_account_action(self.account_id)["action"]
        action = self.env["ir.actions.act_window"]._for_xml_id(f"wechat_merchant_bind.{shown[0]}")
        context = {f"search_default_{shown[1]}": 1}
        return {**action, "domain": [("account_id", "=", self.account_id.id)], "context": context}

    # === BUSINESS METHODS - ACTIVITIES === #

    @api.model
    def _cron_check(self):
        """Ask a manager about each problem, once, and take back what was asked about those that are over."""
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        accounts = self.env["wechat.account"].search([])
        lines = self._get_for(accounts)
        findings = lines._find()
        wrong = lines.filtered(lambda line: findings[line].state == "problem")
        asking = wrong.filtered(
            lambda line: line.kind not in SELF_ASKING and (line.kind not in GLOBAL or line.account_id == accounts[:1])
        )
        over = self.search([("occurrence", "!=", False), ("id", "not in", asking.ids)])
        over._close()
        for line in asking:
            line._ask(findings[line].occurrence)
        _logger.info("wechat.health: checked accounts=%s problems=%s over=%s", len(accounts), len(wrong), len(over))
        for line in wrong:
            _logger.warning("wechat.health: problem account=%s check=%s", line.account_id.id, line.kind)

    def _ask(self, occurrence):
        """Ask a manager about a problem, unless one is done with it already; or tell who was asked how it is now.

        :param str occurrence: see :class:`Finding`.
        """
        self.ensure_one()
        # A done activity is archived.
        is_open = self.activity_id.active
        occurrence = occurrence or self.kind
        if not is_open and self.occurrence == occurrence:
            return
        manager = self.activity_id.user_id if is_open else self.account_id._get_stop_manager()
        if not manager:
            return
        line = self.with_context(
            lang=self.env["wechat.account"]._get_lang(manager.lang), tz=manager.tz, mail_activity_quick_update=True
        )
        finding = line._find()[line]
        values = {"summary": finding.summary, "note": plaintext2html(finding.message)}
        if not is_open:
            # Without an email, as of what is stopped.
            self.activity_id = line.account_id.activity_schedule(ACTIVITY, user_id=manager.id, **values)
        elif (self.activity_id.summary, self.activity_id.note) != tuple(values.values()):
            self.activity_id.write(values)
        self.occurrence = occurrence

    def _close(self):
        """Take back what was asked about problems that are over; what a manager has marked done stays."""
        self.activity_id.filtered("active").unlink()
        self.write({"activity_id": False, "occurrence": False})
