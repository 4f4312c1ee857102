from odoo import api, models
from odoo.exceptions import AccessError
from odoo.fields import Domain


class WechatMerchantMixin(models.AbstractModel):
    """Records of a merchant, such as its codes: reading and handling them requires the right to read the merchant.

    A company rule alone is not enough: their company is that of the Official Account, which companies may share.
    """

    _name = "wechat.merchant.mixin"
    _description = "Records of a Merchant"

    # === CRUD METHODS === #

    @api.model
    def _search(self, domain, *args, bypass_access=False, **kwargs):
        if not (self.env.su or bypass_access):
            self.browse().check_access("read")
            merchants = self.env["res.partner"]._search(Domain.TRUE, active_test=False)
            domain = Domain(domain) & (Domain("partner_id", "=", False) | Domain("partner_id", "in", merchants))
        return super()._search(domain, *args, bypass_access=bypass_access, **kwargs)

    def _check_access(self, operation):
        result = super()._check_access(operation)
        forbidden, make_error = result or (self.browse(), self._make_merchant_error)
        # sudo: the record itself - only its merchant is read; the user's right to read the merchant is checked next
        others_sudo = (self - forbidden).sudo()
        merchants = others_sudo.partner_id.sudo(False)
        hidden = merchants - merchants._filtered_access("read")
        forbidden += others_sudo.filtered(lambda record: record.partner_id in hidden).sudo(False)
        return (forbidden, make_error) if forbidden else result

    # === BUSINESS METHODS === #

    def _check_may_handle(self):
        """Raise AccessError unless the user may generate codes, and may read these records and their merchants.

        Every action on these records calls it before sudo().
        """
        self.env["res.partner"]._wechat_check_may_generate()
        self.check_access("read")

    def _make_merchant_error(self):
        return AccessError(
            self.env._(
                "You are not allowed to see this merchant, so you can't handle its binding codes, scans and bindings "
                "either. Ask an administrator for access to the merchant."
            )
        )
