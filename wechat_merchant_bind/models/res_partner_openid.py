from odoo import models


class ResPartner(models.Model):
    """A merchant knows its OpenID."""

    _name = "res.partner"
    _inherit = ["res.partner", "wechat.openid.mixin"]

    _wechat_openid_fields = ("wechat_openid",)
