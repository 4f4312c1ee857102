from odoo import models


class MailFollowers(models.Model):
    """Recipients of WeChat messages: the partners that a message is addressed to, not the followers of the document."""

    _inherit = "mail.followers"

    def _get_recipient_data(self, records, message_type, subtype_id, pids=None):
        data_by_record = super()._get_recipient_data(records, message_type, subtype_id, pids=pids)
        if message_type == "wechat" and pids:
            for data_by_partner in data_by_record.values():
                for partner_id in data_by_partner.keys() & set(pids):
                    data_by_partner[partner_id]["notif"] = "wechat"
        return data_by_record
