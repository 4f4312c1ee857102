from odoo import api, fields, models


class WechatUnbind(models.TransientModel):
    """The dialog that asks why a merchant is unbound."""

    _name = "wechat.unbind"
    _description = "Unbind a Merchant from WeChat"
    _rec_name = "partner_id"

    partner_id = fields.Many2one("res.partner", "Merchant", required=True, readonly=True)
    openid_masked = fields.Char("OpenID", compute="_compute_openid_masked")
    reason = fields.Char()

    # === COMPUTE METHODS === #

    @api.depends("partner_id")
    def _compute_openid_masked(self):
        # The partner's own field is computed for everybody: here it is what this user can unbind.
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
