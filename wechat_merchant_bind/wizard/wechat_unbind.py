from odoo import api, fields, models


class WechatUnbind(models.TransientModel):
    """The dialog that asks for the reason to unbind a merchant or to replace its WeChat."""

    _name = "wechat.unbind"
    _description = "Unbind a Merchant from WeChat"
    _rec_name = "partner_id"

    # === FIELDS === #

    partner_id = fields.Many2one("res.partner", "Merchant", required=True, readonly=True)
    openid_masked = fields.Char("OpenID", compute="_compute_openid_masked")
    is_replacement = fields.Boolean("Bind Another WeChat", readonly=True)
    reason = fields.Char()

    # === COMPUTE METHODS === #

    @api.depends("partner_id")
    def _compute_openid_masked(self):
        # Not the partner's own field, which is sudoed: only bindings that this user may unbind.
        for unbind in self:
            unbind.openid_masked = unbind.partner_id._wechat_get_live_bindings().openid_masked

    # === ACTION METHODS === #

    def action_unbind(self):
        """Unbind the merchant for the reason given.

        :return: the action that closes the dialog.
        :rtype: dict
        """
        self.ensure_one()
        self.partner_id.action_wechat_unbind(self.reason)
        return {"type": "ir.actions.act_window_close"}

    def action_replace(self):
        """Unbind the merchant for the reason given, and show a code for its new WeChat.

        :return: the action that opens the code's dialog.
        :rtype: dict
        :raise UserError: if WeChat refuses the new code. The merchant then stays bound.
        """
        self.ensure_one()
        self.partner_id.action_wechat_unbind(self.reason)
        return self.partner_id.action_wechat_bind_code()

    # === BUSINESS METHODS === #

    @api.model
    def _get_action(self, partner, is_replacement=False):
        """Return the act_window that opens this dialog.

        :param res.partner partner: the merchant.
        :param bool is_replacement: whether to show a code for another WeChat afterwards.
        :rtype: dict
        """
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Replace WeChat") if is_replacement else self.env._("Unbind from WeChat"),
            "res_model": self._name,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
            "context": {
                "default_partner_id": partner.id,
                "default_is_replacement": is_replacement,
                "dialog_size": "medium",
            },
        }
