from odoo import api, fields, models


class WechatTemplatePreview(models.TransientModel):
    """Dialog that shows the card of a record, in any language."""

    _name = "wechat.template.preview"
    _description = "WeChat Template Preview"
    _rec_name = "template_id"

    # === DEFAULTS === #

    @api.model
    def default_get(self, fields):
        """Set a record of the template's model, as Odoo's own previews do."""
        values = super().default_get(fields)
        template = self.env["wechat.template"].browse(values.get("template_id"))
        if "resource_ref" in fields and template.model and not values.get("resource_ref"):
            record = self.env[template.model].search([], limit=1)
            values["resource_ref"] = f"{record._name},{record.id}" if record else False
        return values

    # === SELECTIONS === #

    @api.model
    def _selection_model(self):
        return self.env["wechat.template"]._selection_preview_model()

    @api.model
    def _selection_lang(self):
        return self.env["res.lang"].get_installed()

    # === FIELDS === #

    template_id = fields.Many2one("wechat.template", required=True, ondelete="cascade")
    model_id = fields.Many2one(related="template_id.model_id")
    resource_ref = fields.Reference("_selection_model", "Record")
    lang = fields.Selection("_selection_lang", "Language", help="Empty: the language of the recipient.")
    card = fields.Json(compute="_compute_card")

    # === COMPUTE METHODS === #

    @api.depends("template_id", "resource_ref", "lang")
    def _compute_card(self):
        for preview in self:
            template = preview.template_id
            preview.card = template._prepare_preview(preview.resource_ref, lang=preview.lang) if template else False
