from odoo import fields, models

FAILED_NOTICES = [("notification_type", "=", "wechat"), ("notification_status", "=", "exception")]


class MailMessage(models.Model):
    """Whether a message of the chatter did not arrive by WeChat."""

    _inherit = "mail.message"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    has_wechat_error = fields.Boolean(
        "Has WeChat error",
        compute="_compute_has_wechat_error",
        search="_search_has_wechat_error",
        groups="base.group_user",
    )

    # === COMPUTE METHODS === #

    def _compute_has_wechat_error(self):
        # sudo: mail.notification - the failure is shown with the message, as for e-mails and SMS
        notifications_sudo = self.env["mail.notification"].sudo()
        failed = notifications_sudo.search([*FAILED_NOTICES, ("mail_message_id", "in", self.ids)]).mail_message_id
        for message in self:
            message.has_wechat_error = message._origin in failed

    def _search_has_wechat_error(self, operator, _value):
        return [("notification_ids", "any", FAILED_NOTICES)] if operator == "in" else NotImplemented
