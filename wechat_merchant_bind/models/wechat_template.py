from odoo import api, fields, models
from odoo.exceptions import AccessError

# Those of the template itself that hold expressions; the others are those of its lines.
EXPRESSION_FIELDS = ("lang", "url", "miniprogram_path")


class WechatTemplate(models.Model):
    """A template of an Official Account, and how its keywords are filled from a record of Odoo."""

    _name = "wechat.template"
    _inherit = ["mail.render.mixin"]
    _description = "WeChat Template"
    _order = "name, id"
    _check_company_auto = True

    # === FIELDS === #

    name = fields.Char(required=True, translate=True)
    active = fields.Boolean(default=True)
    account_id = fields.Many2one("wechat.account", required=True, ondelete="cascade", check_company=True, index=True)
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    template_uid = fields.Char("Template ID at WeChat", required=True, copy=True)
    title = fields.Char("Title at WeChat", readonly=True)
    content = fields.Text("Content at WeChat", readonly=True)
    example = fields.Text("Example at WeChat", readonly=True)
    is_vanished = fields.Boolean("No Longer at WeChat", readonly=True)
    stop_reason = fields.Text(
        "Stopped because",
        readonly=True,
        copy=False,
        help="WeChat refuses the template: its messages wait until a manager resumes it.",
    )
    model_id = fields.Many2one(
        "ir.model", "Applies to", ondelete="cascade", domain=[("is_mail_thread", "=", True), ("transient", "=", False)]
    )
    model = fields.Char("Model Name", related="model_id.model", store=True, index="btree_not_null")
    line_ids = fields.One2many("wechat.template.line", "template_id", "Keywords", copy=True)
    url = fields.Char("Link", help="Where a touch on the card leads; may hold expressions.")
    miniprogram_appid = fields.Char("Mini Program", help="App ID of the mini program that a touch on the card opens.")
    miniprogram_path = fields.Char("Page of the Mini Program", help="May hold expressions.")
    notify_contacts = fields.Boolean(
        "All Bound Contacts", help="Notify all bound contacts of the merchant, not only the one that is addressed."
    )
    fallback = fields.Selection(
        [("none", "Nothing"), ("email", "E-mail"), ("sms", "SMS")],
        "If not Reachable by WeChat",
        required=True,
        default="none",
    )
    valid_hours = fields.Integer(
        "Valid for", required=True, default=24, help="Hours after which a message that is still waiting is not sent."
    )

    # === COMPUTE METHODS === #

    @api.depends("model")
    def _compute_render_model(self):
        for template in self:
            template.render_model = template.model

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        templates = super().create(vals_list)
        for template in templates:
            template._check_may_edit([template[name] for name in EXPRESSION_FIELDS])
        return templates

    def write(self, vals):
        result = super().write(vals)
        if names := [name for name in EXPRESSION_FIELDS if name in vals]:
            for template in self:
                template._check_may_edit([template[name] for name in names])
        return result

    # === BUSINESS METHODS === #

    def _check_may_edit(self, sources):
        """Refuse expressions written by somebody who is no template editor: a template is also rendered for those who
        may do more than its author, and by automations.

        :param list[str | bool] sources: inline templates that were written.
        :raise AccessError: if one has an expression that ``mail.render.mixin`` doesn't allow to everybody.
        """
        if self._is_template_editor():
            return
        for source in filter(None, sources):
            for template in self:
                if template._has_unsafe_expression_template_inline_template(source, template.model):
                    raise AccessError(
                        self.env._(
                            "Only members of %(group)s may write expressions such as %(expression)s. Ask one of "
                            "them, or an administrator to add you.",
                            # sudo: res.groups - the name of the group that the user misses
                            group=self.env.ref("mail.group_mail_template_editor").sudo().name,
                            expression=source,
                        )
                    )
