from odoo import models


class Base(models.AbstractModel):
    """Recipients of WeChat notices about a record."""

    _inherit = "base"

    def _wechat_get_recipients_info(self, notify_contacts=False):
        """Return the recipients of WeChat notices about these records, in the manner of _sms_get_recipients_info.

        A record notifies the partners in Odoo's own partner fields (see _mail_get_partner_fields). If such a partner is
        not bound to WeChat and its commercial partner is, the commercial partner is notified instead.

        :param bool notify_contacts: whether to notify all bound contacts of the partners' merchants.
        :return: by record id: customer, the partner that the record is about, and partners, the recipients, whether
            WeChat reaches them or not. Both are empty for a record without partners.
        :rtype: dict[int, dict[str, res.partner]]
        """
        customers_by_record = {
            record_id: partners.filtered("partner_share") or partners
            for record_id, partners in self._mail_get_partners().items()
        }
        customers = self.env["res.partner"].union(*customers_by_record.values())
        # sudo: res.partner - the bindings decide the recipients, also for users without access to them
        addressees = customers.sudo()._wechat_get_addressees(notify_contacts)
        return {
            record_id: {
                "customer": customers[:1],
                "partners": self.env["res.partner"].union(*(addressees[customer.id] for customer in customers)),
            }
            for record_id, customers in customers_by_record.items()
        }
