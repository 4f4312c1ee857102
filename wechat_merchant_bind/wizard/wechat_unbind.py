from odoo import fields, models


class WechatUnbind(models.TransientModel):
    """The dialog that asks why a merchant is unbound."""

    _name = "wechat.unbind"
    _description = "Unbind a Merchant from WeChat"
    _rec_name = "partner_id"

    partner_id = fields.Many2one("res.partner", "Merchant", required=True, readonly=True)
    openid_masked = fields.Char("OpenID", related="partner_id.wechat_openid_masked", related_sudo=False)
    reason = fields.Char()

    # === ACTION METHODS === #

    def action_unbind(self):
        """Unbind the merchant for the reason given.

        :return: the action that closes the dialog.
        :rtype: dict
        """
        self.ensure_one()
        self.partner_id.action_wechat_unbind(self.reason)
        return {"type": "ir.actions.act_window_close"}
