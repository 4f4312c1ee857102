from odoo import fields, models

from .wechat_message import FAILURE_TYPES


class MailNotification(models.Model):
    """That somebody was notified by WeChat, and what has become of it."""

    _inherit = "mail.notification"

    # === FIELDS === #

    notification_type = fields.Selection(selection_add=[("wechat", "WeChat")], ondelete={"wechat": "cascade"})
    failure_type = fields.Selection(selection_add=FAILURE_TYPES)

    # === BUSINESS METHODS === #

    def _to_store_defaults(self, target):
        """Let the web client say why a WeChat message did not arrive: the failure type alone says little."""
        return [*super()._to_store_defaults(target), "failure_reason"]
