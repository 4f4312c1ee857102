from odoo import api, models


class IrAttachment(models.Model):
    """What may be asked about the merchants who have made an attachment."""

    _inherit = "ir.attachment"

    @api.model
    def _search(self, domain, *args, bypass_access=False, **kwargs):
        if "wechat" in repr(domain) and not (self.env.su or bypass_access):
            # Odoo searches as the superuser, and then keeps the attachments that the user may see. By them nobody must
            # find out what he may not read, such as an account's secret: asked as the user, this refuses it.
            models.BaseModel._search(self, domain)
        return super()._search(domain, *args, bypass_access=bypass_access, **kwargs)
