from odoo import api, fields, models


class WechatMessage(models.Model):
    """How messages are shown."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    document_name = fields.Char("Sent about", compute="_compute_document_name")
    failure_label = fields.Char("Problem", compute="_compute_failure_label")

    # === COMPUTE METHODS === #

    @api.depends("template_name", "partner_name")
    def _compute_display_name(self):
        for message in self:
            names = (message.template_name, message.partner_name)
            message.display_name = " - ".join(name for name in names if name) or self.env._("WeChat message")

    @api.depends("res_model", "res_id")
    @api.depends_context("uid", "lang")
    def _compute_document_name(self):
        """Name the documents, each as far as the user may read it."""
        self.document_name = False
        for model, messages in self.grouped("res_model").items():
            if model not in self.env:
                continue
            documents = self.env[model].browse(messages.mapped("res_id")).exists()._filtered_access("read")
            names = {document.id: document.display_name for document in documents}
            for message in messages:
                message.document_name = names.get(message.res_id, False)

    @api.depends("state", "failure_type")
    @api.depends_context("lang")
    def _compute_failure_label(self):
        labels = dict(self._fields["failure_type"]._description_selection(self.env))
        for message in self:
            is_problem = message.state in ("failed", "unknown", "canceled")
            message.failure_label = is_problem and labels.get(message.failure_type)

    # === ACTION METHODS === #

    def action_open_document(self):
        """Open the document that a message is about.

        :return: an act_window.
        :rtype: dict
        :raise AccessError: if the user may not read the message; for the document, its own form raises.
        """
        self.ensure_one()
        self.check_access("read")
        return {
            "type": "ir.actions.act_window",
            "res_model": self.res_model,
            "res_id": self.res_id,
            "views": [(False, "form")],
        }
