from odoo import models
from odoo.tools import email_split, plaintext2html

from ..tools.bearer_links import SHARE_TOKEN


class MailComposeMessage(models.TransientModel):
    """Records e-mails with binding codes, and refuses e-mails with codes that are no longer valid."""

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
        return self._wechat_note_mailed(operation, merchants, mail_values_all)

    def _wechat_note_mailed(self, operation, merchants, mail_values_all):
        """Record e-mails with binding codes in the operations log, and replace their messages in the chatter.

        :return: the values of the e-mails. Their messages in the chatter become notes without the code: every reader
            of the code could bind the merchant.
        :rtype: dict
        """
        notes = {}
        for merchant in merchants:
            values = mail_values_all[merchant.id]
            addresses = self._wechat_get_addresses(values)
            if not addresses:
                continue
            masked = ", ".join(merchant._wechat_mask_email(address) for address in addresses)
            notes[merchant.wechat_open_code_id] = self.env._("By e-mail to %s.", masked)
            if self.composition_mode == "comment":
                values["wechat_mail_body"] = values["body"]
            values["body"] = plaintext2html(self._wechat_get_note(operation, masked))
        self.env["wechat.operation"]._log(
            operation,
            self.env["wechat.bind.code"].union(*notes),
            {code.id: note for code, note in notes.items()},
            chatter=False,
        )
        return mail_values_all

    def _wechat_get_note(self, operation, addresses):
        """Return the chatter's note about an e-mail with a code.

        :param str operation: "send" or "remind".
        :param str addresses: the masked addresses.
        :rtype: str
        """
        name = self.env.user.name
        if operation == "remind":
            return self.env._(
                "Reminder with the WeChat binding code e-mailed to %(addresses)s by %(user)s.",
                addresses=addresses,
                user=name,
            )
        return self.env._("WeChat binding code e-mailed to %(addresses)s by %(user)s.", addresses=addresses, user=name)

    def _wechat_get_addresses(self, mail_values):
        """Return the addresses of an e-mail; none if Odoo has refused to send it."""
        if mail_values.get("state") in ("cancel", "exception"):
            return []
        commands = mail_values.get("recipient_ids") or []
        recipients = self.env["res.partner"].browse(
            mail_values.get("partner_ids") or [partner_id for _command, partner_id in commands]
        )
        addresses = [*recipients.mapped("email"), mail_values.get("email_to"), mail_values.get("email_cc")]
        return [address for text in addresses for address in email_split(text or "")]
