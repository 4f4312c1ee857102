from odoo import models

from ...tools import bearer_links
from ..const import GROUP_USER
from .ir_mail_server import CONTENT_ID_DOMAIN


class MailThread(models.AbstractModel):
    """Sends e-mails with links that their messages in the chatter must not keep; see mail.message."""

    _inherit = "mail.thread"

    # === BUSINESS METHODS === #

    def _notify_thread(self, message, msg_vals=False, **kwargs):
        body = msg_vals and msg_vals.get("body")
        if bearer_links.may_hold_links(body) and self.env["mail.message"]._wechat_find_secrets([body]):
            # Inboxes and push notifications get the body without the links.
            msg_vals = {**msg_vals, "body": message.body}
            kwargs.setdefault("wechat_mail_body", body)
        return super()._notify_thread(message, msg_vals=msg_vals, **kwargs)

    def _notify_thread_by_email(self, message, recipients_data, *, msg_vals=False, wechat_mail_body=None, **kwargs):
        """Send the e-mail with another body than that of the message.

        :param str wechat_mail_body: the HTML. A scheduled notification stores it, readable by administrators only.
        """
        if wechat_mail_body:
            msg_vals = {**(msg_vals or {}), "wechat_mail_body": wechat_mail_body}
        return super()._notify_thread_by_email(message, recipients_data, msg_vals=msg_vals, **kwargs)

    def _notify_by_email_prepare_rendering_context(self, message, msg_vals=False, **kwargs):
        values = super()._notify_by_email_prepare_rendering_context(message, msg_vals=msg_vals, **kwargs)
        if msg_vals and (body := msg_vals.get("wechat_mail_body")):
            values["message"] = message.new({"body": body}, origin=message)
        return values

    def _get_notify_valid_parameters(self):
        valid = super()._get_notify_valid_parameters()
        # Only users with the right to send codes may send an e-mail that differs from its message.
        if self.env.su or self.env.user.has_group(GROUP_USER):
            valid |= {"wechat_mail_body"}
        return valid

    def _process_attachments_for_post(self, attachments, attachment_ids, message_values):
        """Drop the pictures of codes that an answer to an e-mail with a code contains."""
        kept = [
            attachment
            for attachment in attachments or []
            if len(attachment) < 3 or not (attachment[2].get("cid") or "").endswith(CONTENT_ID_DOMAIN)
        ]
        return super()._process_attachments_for_post(kept, attachment_ids, message_values)
