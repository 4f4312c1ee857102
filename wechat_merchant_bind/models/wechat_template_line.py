from odoo import fields, models


class WechatTemplateLine(models.Model):
    """One keyword of a template: WeChat's key, and the expression that fills it."""

    _name = "wechat.template.line"
    _description = "WeChat Template Keyword"
    _order = "sequence, id"

    template_id = fields.Many2one("wechat.template", required=True, ondelete="cascade", index=True)
    company_id = fields.Many2one(related="template_id.company_id", store=True, index="btree_not_null")
    sequence = fields.Integer(default=10)
    key = fields.Char(required=True, help="As WeChat names it, such as thing1.")
    label = fields.Char(help="The word that stands before the value on the phone.")
    value = fields.Char(help="An inline template, such as {{ object.name }}.")

    _key_unique = models.UniqueIndex("(template_id, key)", "A template has each keyword once.")
