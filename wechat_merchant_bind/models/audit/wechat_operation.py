from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.http import request
from odoo.tools import plaintext2html


class WechatOperation(models.Model):
    """The operations log: user, operation, time, address and reason. Entries outlive the merchant and never change."""

    _name = "wechat.operation"
    _description = "WeChat Operation"
    _order = "id desc"

    # === FIELDS === #

    operation = fields.Selection(
        [
            ("generate", "Code generated"),
            ("send", "Code sent"),
            ("remind", "Reminded"),
            ("revoke", "Code revoked"),
            ("request", "Confirmation asked for"),
            ("bind", "Bound"),
            ("refuse", "Binding refused"),
            ("import", "OpenID imported"),
            ("unbind", "Unbound"),
            ("unfollow", "Unfollowed"),
            ("follow", "Followed again"),
            ("disable", "Merchant disabled"),
            ("enable", "Merchant enabled"),
            ("merge", "Merchants merged"),
            ("migrate", "Bindings migrated"),
            ("reveal", "OpenID revealed"),
            ("export", "OpenIDs exported"),
            ("settings", "Settings changed"),
            ("erase", "Data erased"),
        ],
        required=True,
        readonly=True,
    )
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    partner_name = fields.Char("Merchant Name", readonly=True, help="As it was at that time.")
    account_id = fields.Many2one("wechat.account", readonly=True, ondelete="set null")
    code_id = fields.Many2one(
        "wechat.bind.code", "Binding Code", readonly=True, ondelete="set null", index="btree_not_null"
    )
    account_name = fields.Char(readonly=True, help="As it was at that time.")
    company_id = fields.Many2one("res.company", readonly=True, ondelete="set null", index="btree_not_null")
    user_id = fields.Many2one("res.users", "Done by", readonly=True, ondelete="set null")
    user_name = fields.Char("Done by (name)", readonly=True)
    ip_address = fields.Char(
        "IP Address",
        readonly=True,
        help="Where the request came from. Empty if WeChat or a scheduled action caused it.",
    )
    openid_masked = fields.Char("OpenID", readonly=True)
    note = fields.Text("Details", readonly=True)

    # === INDEXES === #

    # For the statistics and the log's filter, which select a period.
    _create_date_idx = models.Index("(create_date)")

    # === COMPUTE METHODS === #

    @api.depends("operation", "partner_name")
    def _compute_display_name(self):
        labels = dict(self._fields["operation"]._description_selection(self.env))
        for operation in self:
            operation.display_name = " - ".join(filter(None, [labels[operation.operation], operation.partner_name]))

    # === CRUD METHODS === #

    def write(self, vals):  # pylint: disable=method-required-super  # entries are never written
        """Refuse every change, even by callers with all rights, such as the code of a server action.

        :raise UserError: always.
        """
        self.check_access("write")
        raise UserError(self.env._("The operations log can't be changed."))

    @api.ondelete(at_uninstall=False)
    def _unlink_except_log(self):
        raise UserError(self.env._("The operations log can't be deleted."))

    # === BUSINESS METHODS === #

    @api.model
    def _log(self, operation, records, notes, openid=None, chatter=True):
        """Record an operation in this log and in the merchants' chatter.

        :param str operation: a value of the field "operation".
        :param records: the subjects: merchants, accounts, or records of one merchant each, such as codes.
        :param dict[int, str] notes: the event and its reason by record id, in the reader's language.
        :param str openid: the OpenID concerned, if it is not the record's own; it is stored masked.
        :param bool chatter: whether to post the notes in the merchants' chatter, too.
        """
        # sudo: wechat.operation - users have no right to write the log; the caller has checked the operation itself
        self.sudo().create(
            [self._prepare_values(operation, record, notes[record.id], openid) for record in records.sudo()]
        )
        if not chatter:
            return
        merchants = {self._get_merchant(record): notes[record.id] for record in records}
        self.env["res.partner"].union(*merchants)._message_log_batch(
            {merchant.id: plaintext2html(note) for merchant, note in merchants.items() if merchant}
        )

    @api.model
    def _log_note(self, operation, note, **values):
        """Record an operation in this log only.

        :param str operation: a value of the field "operation".
        :param str note: the event and its reason.
        :param values: other fields, such as the company; entries without a company are visible to all managers.
        """
        # sudo: see _log
        self.sudo().create({"operation": operation, "note": note, **self._prepare_actor_values(), **values})

    @api.model
    def _prepare_actor_values(self):
        return {
            "user_id": self.env.uid,
            "user_name": self.env.user.name,
            # Behind a proxy this is the visitor's own address only with proxy_mode.
            "ip_address": request.httprequest.remote_addr if request and self._is_done_by_person() else False,
        }

    @api.model
    def _is_done_by_person(self):
        """Return whether a person causes the operation, and not WeChat or a scheduled action."""
        return not self.env.user._is_superuser() or bool(self.env.context.get("wechat_by_visitor"))

    @api.model
    def _prepare_values(self, operation, record, note, openid):
        partner = self._get_merchant(record)
        account = record if record._name == "wechat.account" else "account_id" in record and record.account_id
        company = "company_id" in record and record.company_id
        return {
            "operation": operation,
            "partner_id": partner.id,
            "partner_name": partner.display_name if partner else False,
            "account_id": account and account.id,
            "code_id": self._get_code(record).id,
            "account_name": account and account.name,
            "company_id": (company or partner.company_id).id,
            **self._prepare_actor_values(),
            "openid_masked": self._mask_openid(openid or ("openid" in record and record.openid)),
            "note": note,
        }

    @api.model
    def _get_merchant(self, record):
        """Return the merchant of a record, or the record itself if it is one; empty for an account."""
        if record._name == "res.partner":
            return record
        return record.partner_id if "partner_id" in record else self.env["res.partner"]

    @api.model
    def _get_code(self, record):
        """Return the binding code of a record, or the record itself if it is one; empty if there is none."""
        if record._name == "wechat.bind.code":
            return record
        return record.code_id if "code_id" in record else self.env["wechat.bind.code"]

    @api.model
    def _mask_openid(self, openid):
        """Return the first and last characters of an OpenID: enough to compare it, too little to use it."""
        return f"{openid[:4]}…{openid[-4:]}" if openid and len(openid) > 8 else "…" if openid else False
