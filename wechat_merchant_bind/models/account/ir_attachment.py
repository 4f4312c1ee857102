from odoo import api, models


class IrAttachment(models.Model):
    """Refuses searches that would tell unreadable fields of a merchant by the merchant's attachments."""

    _inherit = "ir.attachment"

    @api.model
    def _search(self, domain, *args, bypass_access=False, **kwargs):
        if "wechat" in repr(domain) and not (self.env.su or bypass_access):
            # Odoo searches as the superuser, then keeps the readable attachments, which would answer a question about
            # a field that the user may not read, such as an account's secret. A search as the user refuses it.
            models.BaseModel._search(self, domain)
        return super()._search(domain, *args, bypass_access=bypass_access, **kwargs)
