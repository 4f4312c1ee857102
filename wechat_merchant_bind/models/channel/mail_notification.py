from odoo import fields, models

from odoo.addons.mail.tools.discuss import Store

from ..const import FAILURE_TYPES


class MailNotification(models.Model):
    """That somebody was notified by WeChat, and what has become of it."""

    _inherit = "mail.notification"

    # === FIELDS === #

    notification_type = fields.Selection(selection_add=[("wechat", "WeChat")], ondelete={"wechat": "cascade"})
    failure_type = fields.Selection(selection_add=FAILURE_TYPES)

    # === BUSINESS METHODS === #

    def _to_store_defaults(self, target):
        """Let the web client say why a WeChat message did not arrive: the failure type alone says little."""
        # What is sent by the bus is read by another user than the one at work.
        lang = target.get_user(self.env).lang or self.env.lang
        reasons = self.with_context(lang=lang)._wechat_get_failure_reasons()
        return [
            *super()._to_store_defaults(target),
            Store.Attr(
                "failure_reason",
                lambda notification: reasons.get(notification.id, False),
                predicate=lambda notification: notification.notification_type == "wechat",
            ),
        ]

    def _wechat_get_failure_reasons(self):
        """Return why WeChat messages did not arrive, in the reader's words, by id of the notification.

        The web client is sent the notifications of messages that its user may read, so the document is no secret.

        :rtype: dict[int, str]
        """
        # sudo: wechat.message - the reason belongs to the notification, which the user may read
        messages_sudo = self.env["wechat.message"].sudo()
        failed = self.filtered(
            lambda notification: (
                notification.notification_type == "wechat"
                and notification.notification_status in ("exception", "canceled")
            )
        )
        if failed:
            domain = [("notification_id", "in", failed.ids), ("state", "in", ("failed", "unknown", "canceled"))]
            messages_sudo = messages_sudo.search(domain, order="id")
        # Of several messages of one notification the newest counts, as it does for the status.
        return {message.notification_id.id: message.failure_reason for message in messages_sudo}
