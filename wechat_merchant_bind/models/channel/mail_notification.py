from odoo import fields, models

from odoo.addons.mail.tools.discuss import Store

from ..const import FAILURE_TYPES


class MailNotification(models.Model):
    """Notifications by WeChat, with their status and failure reason."""

    _inherit = "mail.notification"

    # === FIELDS === #

    notification_type = fields.Selection(selection_add=[("wechat", "WeChat")], ondelete={"wechat": "cascade"})
    failure_type = fields.Selection(selection_add=FAILURE_TYPES)

    # === BUSINESS METHODS === #

    def _to_store_defaults(self, target):
        """Add the failure reason of WeChat messages for the web client: the failure type alone says little."""
        # By the bus, another user than the current one gets the values.
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
        """Return the failure reasons of WeChat messages in the language of the context, by id of the notification.

        The web client only gets notifications of messages that its user may read, so the document is no secret.

        :rtype: dict[int, str]
        """
        failed = self.filtered(
            lambda notification: (
                notification.notification_type == "wechat"
                and notification.notification_status in ("exception", "canceled")
            )
        )
        domain = [("notification_id", "in", failed.ids), ("state", "in", ("failed", "unknown", "canceled"))]
        # sudo: wechat.message - the reason belongs to the notification, which the user may read
        messages_sudo = self.env["wechat.message"].sudo().search(domain, order="id")
        # Of several messages of one notification the newest counts, as it does for the status.
        return {message.notification_id.id: message.failure_reason for message in messages_sudo}
