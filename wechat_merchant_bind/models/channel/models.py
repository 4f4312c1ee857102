from odoo import models


class Base(models.AbstractModel):
    """Whom a WeChat notice about a record goes to."""

    _inherit = "base"

    def _wechat_get_recipients_info(self, notify_contacts=False):
        """Return whom WeChat notices about these records go to, in the manner of ``_sms_get_recipients_info``.

        A record notifies the partners of Odoo's own partner fields (see ``_mail_get_partner_fields``). Where one of
        them is not bound to WeChat but its commercial partner is, that one is notified instead.

        :param bool notify_contacts: notify everybody who is bound of those partners' merchants.
        :return: by record id: ``customer``, the partner that the record is about, and ``partners``, those to notify,
            whether WeChat reaches them or not. Both are empty where a record names no partner.
        :rtype: dict[int, dict[str, res.partner]]
        """
        customers_by_record = {
            record_id: partners.filtered("partner_share") or partners
            for record_id, partners in self._mail_get_partners().items()
        }
        customers = self.env["res.partner"].union(*customers_by_record.values())
        # sudo: res.partner - who of a merchant is bound decides whom we notify, whoever causes the notice
        addressees = customers.sudo()._wechat_get_addressees(notify_contacts)
        return {
            record_id: {
                "customer": customers[:1],
                "partners": self.env["res.partner"].union(*(addressees[customer.id] for customer in customers)),
            }
            for record_id, customers in customers_by_record.items()
        }
