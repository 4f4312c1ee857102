import re

from odoo import models
from odoo.tools import email_split

SHARE_TOKEN = re.compile(r"/wechat/bind/([A-Za-z0-9_-]{16,64})")


class MailComposeMessage(models.TransientModel):
    """Records binding codes that are mailed, and mails none that is no longer valid."""

    _inherit = "mail.compose.message"

    # === BUSINESS METHODS === #

    def _manage_mail_values(self, mail_values_all):
        mail_values_all = super()._manage_mail_values(mail_values_all)
        merchants = self.env["res.partner"].browse(mail_values_all)
        operation = self.model == "res.partner" and merchants._wechat_get_mail_operation(self.template_id)
        if not operation:
            return mail_values_all
        if self.composition_mode == "comment":
            for merchant in merchants:
                merchant._wechat_check_mailed_tokens(SHARE_TOKEN.findall(mail_values_all[merchant.id]["body"]))
        else:
            merchants = merchants.filtered("wechat_open_code_id")
            mail_values_all = {merchant.id: mail_values_all[merchant.id] for merchant in merchants}
        self._wechat_log_mailed(operation, merchants, mail_values_all)
        return mail_values_all

    def _wechat_log_mailed(self, operation, merchants, mail_values_all):
        """Record which merchants' codes are mailed, and where to. The mail itself stands in the chatter."""
        notes = {}
        for merchant in merchants:
            addresses = self._wechat_get_addresses(mail_values_all[merchant.id])
            if addresses:
                notes[merchant.wechat_open_code_id] = self.env._(
                    "By e-mail to %s.", ", ".join(merchant._wechat_mask_email(address) for address in addresses)
                )
        self.env["wechat.operation"]._log(
            operation,
            self.env["wechat.bind.code"].union(*notes),
            {code.id: note for code, note in notes.items()},
            chatter=False,
        )

    def _wechat_get_addresses(self, mail_values):
        """Return the addresses that a mail goes to; none if Odoo has decided not to send it."""
        if mail_values.get("state") in ("cancel", "exception"):
            return []
        commands = mail_values.get("recipient_ids") or []
        recipients = self.env["res.partner"].browse(
            mail_values.get("partner_ids") or [partner_id for _command, partner_id in commands]
        )
        addresses = [*recipients.mapped("email"), mail_values.get("email_to"), mail_values.get("email_cc")]
        return [address for text in addresses for address in email_split(text or "")]
