from odoo import fields, models


class MailMessage(models.Model):
    """Messages of the chatter that were sent by WeChat; their body is the card as text."""

    _inherit = "mail.message"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    message_type = fields.Selection(
        selection_add=[("wechat", "WeChat")],
        ondelete={"wechat": lambda messages: messages.write({"message_type": "comment"})},
    )
