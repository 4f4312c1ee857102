from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import plaintext2html


class WechatOperation(models.Model):
    """The operations log: who did what to which merchant's binding. It outlives the merchant and is never changed."""

    _name = "wechat.operation"
    _description = "WeChat Operation"
    _order = "id desc"
    _rec_name = "operation"

    operation = fields.Selection(
        [
            ("generate", "Code generated"),
            ("revoke", "Code revoked"),
            ("bind", "Bound"),
            ("refuse", "Binding refused"),
            ("unbind", "Unbound"),
            ("unfollow", "Unfollowed"),
            ("follow", "Followed again"),
            ("erase", "Data erased"),
        ],
        required=True,
        readonly=True,
    )
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    partner_name = fields.Char("Merchant Name", readonly=True, help="As it was at that time.")
    account_id = fields.Many2one("wechat.account", readonly=True, ondelete="set null")
    company_id = fields.Many2one("res.company", readonly=True, ondelete="set null", index="btree_not_null")
    user_id = fields.Many2one("res.users", "Done by", readonly=True, ondelete="set null")
    user_name = fields.Char("Done by (name)", readonly=True)
    openid_masked = fields.Char("OpenID", readonly=True)
    note = fields.Text("Details", readonly=True)

    # === CRUD METHODS === #

    @api.ondelete(at_uninstall=False)
    def _unlink_except_never(self):
        raise UserError(self.env._("The operations log can't be deleted."))

    # === BUSINESS METHODS === #

    @api.model
    def _log(self, operation, records, notes, openid=None):
        """Record an operation in the merchants' chatter and in the log that outlives the merchants.

        :param str operation: a value of the field ``operation``.
        :param records: the codes or bindings that it concerns, of one merchant each.
        :param dict[int, str] notes: by record id, what happened, in words and in the reader's language.
        :param str openid: the OpenID that took part, if it is not the binding's own; only its two ends are kept.
        """
        # sudo: wechat.operation - nobody may write the log directly; the caller has checked the operation itself
        self.sudo().create(
            [
                {
                    "operation": operation,
                    "partner_id": record.partner_id.id,
                    "partner_name": record.partner_id.display_name,
                    "account_id": record.account_id.id,
                    "company_id": record.company_id.id or record.partner_id.company_id.id,
                    "user_id": self.env.uid,
                    "user_name": self.env.user.name,
                    "openid_masked": self._mask_openid(openid or ("openid" in record and record.openid)),
                    "note": notes[record.id],
                }
                for record in records.sudo()
            ]
        )
        records.partner_id._message_log_batch(
            {record.partner_id.id: plaintext2html(notes[record.id]) for record in records if record.partner_id}
        )

    @api.model
    def _mask_openid(self, openid):
        """Return the two ends of an OpenID, enough to compare and too little to use."""
        return f"{openid[:4]}…{openid[-4:]}" if openid and len(openid) > 8 else "…" if openid else False
