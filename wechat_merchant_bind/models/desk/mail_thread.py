from odoo import api, fields, models

from .mail_message import FAILED_NOTICES


class MailThread(models.AbstractModel):
    """Whether messages about a document did not arrive by WeChat."""

    _inherit = "mail.thread"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    message_has_wechat_error = fields.Boolean(
        "WeChat Delivery Error",
        compute="_compute_message_has_wechat_error",
        search="_search_message_has_wechat_error",
        groups="base.group_user",
        help="Whether WeChat messages of yours on this document did not arrive.",
    )

    # === COMPUTE METHODS === #

    @api.depends_context("uid")
    def _compute_message_has_wechat_error(self):
        # sudo: mail.notification - the user's own failures on documents that the user reads
        notifications_sudo = self.env["mail.notification"].sudo()
        failed = notifications_sudo.search(
            [
                *FAILED_NOTICES,
                ("author_id", "=", self.env.user.partner_id.id),
                ("mail_message_id.model", "=", self._name),
                ("mail_message_id.res_id", "in", self.ids),
                ("mail_message_id.message_type", "!=", "user_notification"),
            ]
        ).mail_message_id.mapped("res_id")
        for record in self:
            record.message_has_wechat_error = record._origin.id in failed

    @api.model
    def _search_message_has_wechat_error(self, operator, _value):
        author_id = self.env.user.partner_id.id
        domain = [("message_ids.has_wechat_error", "=", True), ("message_ids.author_id", "=", author_id)]
        return domain if operator == "in" else NotImplemented
