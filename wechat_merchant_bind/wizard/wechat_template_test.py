from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError


class WechatTemplateTest(models.TransientModel):
    """Dialog that sends a test message to one bound recipient, and shows its state."""

    _name = "wechat.template.test"
    _description = "Test of a WeChat Template"
    _rec_name = "template_id"

    # === DEFAULTS === #

    @api.model
    def default_get(self, fields):
        """Set the record that the preview dialog would set."""
        values = super().default_get(fields)
        if not values.get("resource_ref"):
            preview = self.env["wechat.template.preview"].with_context(default_template_id=values.get("template_id"))
            values["resource_ref"] = preview.default_get(["template_id", "resource_ref"]).get("resource_ref")
        return values

    # === SELECTIONS === #

    @api.model
    def _selection_model(self):
        return self.env["wechat.template"]._selection_preview_model()

    # === FIELDS === #

    template_id = fields.Many2one("wechat.template", required=True, ondelete="cascade")
    model_id = fields.Many2one(related="template_id.model_id")
    account_id = fields.Many2one(related="template_id.account_id")
    partner_id = fields.Many2one(
        "res.partner",
        "Recipient",
        domain="[('is_wechat_bound', '=', True)]",
        help="A merchant or contact that is bound.",
    )
    resource_ref = fields.Reference("_selection_model", "Record")
    card = fields.Json(compute="_compute_card")
    message_id = fields.Many2one("wechat.message", readonly=True, ondelete="set null")
    state = fields.Selection(related="message_id.state")
    failure_reason = fields.Text(related="message_id.visible_failure_reason", related_sudo=False)

    # === COMPUTE METHODS === #

    @api.depends("template_id", "resource_ref", "partner_id")
    def _compute_card(self):
        for test in self:
            template = test.template_id
            test.card = template._prepare_preview(test._get_record(), partner=test.partner_id) if template else False

    # === ACTION METHODS === #

    def action_send(self):
        """Queue the test with the highest priority.

        :return: the action that reopens the dialog, which shows the state of the message.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        :raise UserError: if the recipient can't be reached, or WeChat would refuse the card.
        """
        self.ensure_one()
        if not self.env.user.has_group("wechat_merchant_bind.group_manager"):
            raise AccessError(self.env._("Only WeChat managers may send tests."))
        record = self._get_record()
        partner = self.partner_id
        if not record or not partner:
            raise UserError(self.env._("Choose a recipient and a record."))
        partner.check_access("read")
        if term := self.template_id._get_obstacle():
            raise UserError(self.env._(term))
        if obstacle := partner._wechat_get_reachability(self.account_id)[partner.id]:
            raise UserError(partner._wechat_get_obstacle_words(obstacle))
        card = self.template_id._prepare_cards(record, {record.id: partner})[record.id]
        if card.errors:
            raise UserError(self.env._("WeChat would refuse this card.\n%s", "\n".join(card.errors)))
        self.message_id = self.env["wechat.message"]._queue(
            [
                {
                    "partner_id": partner.id,
                    "template_id": self.template_id.id,
                    "card": card.card,
                    "body": card.body,
                    "kind": "test",
                    "res_model": record._name,
                    "res_id": record.id,
                }
            ]
        )
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Send a Test"),
            "res_model": self._name,
            "res_id": self.id,
            "views": [(False, "form")],
            "target": "new",
            "context": {"dialog_size": "medium"},
        }

    # === BUSINESS METHODS === #

    def _get_record(self):
        """Return the record of the card; for a template of contacts, the recipient by default."""
        if self.resource_ref:
            return self.resource_ref
        return self.partner_id if self.template_id.model in (False, "res.partner") else None
