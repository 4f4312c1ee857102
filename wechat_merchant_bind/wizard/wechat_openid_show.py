from odoo import api, fields, models


class WechatOpenidShow(models.TransientModel):
    """The dialog that shows a full OpenID. Its creation records the access in the operations log.

    Users have no right to write it: with another binding, it would show an OpenID without a record.
    """

    _name = "wechat.openid.show"
    _description = "OpenID of a Merchant"
    _rec_name = "partner_id"

    # === FIELDS === #

    binding_id = fields.Many2one("wechat.binding", required=True, readonly=True, ondelete="cascade")
    partner_id = fields.Many2one(related="binding_id.partner_id", related_sudo=False)
    openid = fields.Char(related="binding_id.openid", related_sudo=False, exportable=False)

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        shows = super().create(vals_list)
        bindings = shows.binding_id
        bindings.check_access("read")
        note = self.env._("The full OpenID was shown.")
        self.env["wechat.operation"]._log("reveal", bindings, dict.fromkeys(bindings.ids, note))
        return shows

    # === BUSINESS METHODS === #

    def _get_action(self):
        """Return the act_window that opens this dialog.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("OpenID - %s", self.partner_id.display_name),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
            "context": {"dialog_size": "medium"},
        }
