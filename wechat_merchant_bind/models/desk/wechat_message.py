from odoo import api, fields, models
from odoo.fields import Domain


class WechatMessage(models.Model):
    """The message on screens. Only readers of its document see the content."""

    _inherit = "wechat.message"

    # === FIELDS === #

    document_name = fields.Char("Sent about", compute="_compute_document_name")
    failure_label = fields.Char("Problem", compute="_compute_failure_label")
    is_document_hidden = fields.Boolean(
        compute="_compute_visible_content", help="The user may not read what the message is about."
    )
    visible_card = fields.Json("Card", compute="_compute_visible_content")
    visible_body = fields.Text(
        "Content", compute="_compute_visible_content", search="_search_visible_body", help="The card as plain text."
    )
    visible_failure_reason = fields.Text(
        "Failure Reason",
        compute="_compute_visible_content",
        help="What happened, what it means and what to do.",
    )

    # === COMPUTE METHODS === #

    @api.depends("res_model", "res_id")
    @api.depends_context("uid", "lang", "allowed_company_ids")
    def _compute_document_name(self):
        """Show the names of the documents that the user may read."""
        documents = self._get_readable_documents()
        for message in self:
            document = documents.get(message)
            message.document_name = document and document.display_name

    @api.depends("res_model", "res_id", "card", "body", "failure_reason")
    @api.depends_context("uid", "lang", "allowed_company_ids")
    def _compute_visible_content(self):
        """Show the content of the card, and why WeChat refused it, to the readers of the document."""
        documents = self._get_readable_documents()
        for message in self:
            message.is_document_hidden = is_hidden = bool(
                message.res_model and message not in documents and not self.env.su
            )
            # sudo: wechat.message - the user may read the document that these values are from
            message_sudo = message.sudo()
            message.visible_card = not is_hidden and message_sudo.card
            message.visible_body = not is_hidden and message_sudo.body
            # Only a reason about a value quotes the document.
            may_read_reason = not is_hidden or message.failure_type != "wechat_value"
            message.visible_failure_reason = may_read_reason and message_sudo.failure_reason

    def _search_visible_body(self, operator, value):
        """Search the cards of documents that the user may read."""
        # sudo: wechat.message - searches the cards; the domain below and the rules filter the messages
        found = self.sudo()._search([("body", operator, value)])
        return Domain("id", "in", found) & (Domain.TRUE if self.env.su else self._get_readable_domain())

    @api.depends("state", "failure_type")
    @api.depends_context("lang")
    def _compute_failure_label(self):
        labels = dict(self._fields["failure_type"]._description_selection(self.env))
        for message in self:
            is_problem = message.state in ("failed", "unknown", "canceled")
            message.failure_label = is_problem and labels.get(message.failure_type)

    # === ACTION METHODS === #

    def action_open_document(self):
        """Open the document of the message.

        :return: an act_window.
        :rtype: dict
        :raise AccessError: if the user may not read the message; the document's form checks the document.
        """
        self.ensure_one()
        self.check_access("read")
        return {
            "type": "ir.actions.act_window",
            "res_model": self.res_model,
            "res_id": self.res_id,
            "views": [(False, "form")],
        }

    # === BUSINESS METHODS === #

    def _get_readable_documents(self):
        """Return the documents of these messages that the user may read, by message. Deleted ones are left out.

        :rtype: dict[wechat.message, models.Model]
        """
        readable = {}
        for model, messages in self.grouped("res_model").items():
            if model not in self.env:
                continue
            documents = self.env[model].browse(messages.mapped("res_id")).exists()._filtered_access("read")
            by_id = dict(zip(documents.ids, documents, strict=True))
            readable.update({message: by_id[message.res_id] for message in messages if message.res_id in by_id})
        return readable

    @api.model
    def _get_readable_domain(self):
        """Return the domain of the messages about documents that the user may read.

        :rtype: Domain
        """
        domains = [
            Domain("res_model", "=", model)
            & Domain("res_id", "in", self.env[model].with_context(active_test=False)._search([]))
            # sudo: wechat.message - reads the names of models only
            for [model] in self.sudo()._read_group([("res_model", "!=", False)], ["res_model"])
            if model in self.env and self.env[model].has_access("read")
        ]
        return Domain.OR([Domain("res_model", "=", False), *domains])
