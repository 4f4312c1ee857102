from odoo import Command, api, fields, models
from odoo.exceptions import AccessError, ValidationError

from ..tools import wechat_keywords
from .term_text import encode_terms

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
    status = fields.Selection(
        [
            ("ready", "Ready"),
            ("incomplete", "To fill in"),
            ("stopped", "Stopped"),
            ("vanished", "Gone from WeChat"),
        ],
        compute="_compute_status",
        help="To fill in: it has no model, or a keyword without a value.",
    )
    preview_ref = fields.Reference(
        "_selection_preview_model",
        "Shown with",
        compute="_compute_preview_ref",
        readonly=False,
        help="The record that the card is shown with here. Without one it shows WeChat's example.",
    )
    card_preview = fields.Json("Card", compute="_compute_card_preview", exportable=False)
    sidebar_action_id = fields.Many2one("ir.actions.act_window", "Contextual Action", readonly=True, copy=False)
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

    # === CONSTRAINTS AND INDEXES === #

    _valid_hours_positive = models.Constraint("CHECK(valid_hours > 0)", "A message is valid for one hour at least.")

    @api.constrains("model_id")
    def _check_model(self):
        """Keep the model while server actions send the template, also those of archived automation rules."""
        # sudo: ir.actions.server - the names of those that send the template
        actions_sudo = self.env["ir.actions.server"].sudo().search([("wechat_template_id", "in", self.ids)])
        for template, actions in actions_sudo.grouped("wechat_template_id").items():
            if others := actions.filtered(lambda action, model=template.model_id: action.model_id != model):
                raise ValidationError(
                    self.env._(
                        "The template %(template)s must stay with %(model)s, since these send it:\n%(senders)s\n"
                        "Choose another template there first, or make a copy of this one for the other model.",
                        template=template.name,
                        model=", ".join(others.model_id.mapped("name")),
                        senders="\n".join(
                            " › ".join(filter(None, (action.base_automation_id.name, action.name))) for action in others
                        ),
                    )
                )

    @api.constrains("model_id", "account_id")
    def _check_welcome(self):
        # sudo: wechat.account - whether it is welcomed with the template, in any company
        accounts_sudo = self.env["wechat.account"].sudo().with_context(active_test=False)
        accounts_sudo.search([("welcome_template_id", "in", self.ids)])._check_welcome_template()

    # === SELECTIONS === #

    @api.model
    def _selection_preview_model(self):
        # sudo: ir.model - names of models; which of their records can be chosen is up to their own rights
        return [(model.model, model.name) for model in self.env["ir.model"].sudo().search([])]

    # === COMPUTE METHODS === #

    @api.depends("model")
    def _compute_render_model(self):
        for template in self:
            template.render_model = template.model

    @api.depends("is_vanished", "stop_reason", "model_id", "line_ids.key", "line_ids.value")
    def _compute_status(self):
        for template in self:
            if template.is_vanished:
                template.status = "vanished"
            elif template.stop_reason:
                template.status = "stopped"
            else:
                is_complete = template.model_id and not any(line._is_missing() for line in template.line_ids)
                template.status = "ready" if is_complete else "incomplete"

    @api.depends("model_id")
    def _compute_preview_ref(self):
        for template in self:
            record = template.preview_ref
            template.preview_ref = record if record and record._name == template.model else False

    @api.depends(
        "title",
        "example",
        "model_id",
        "preview_ref",
        "line_ids.sequence",
        "line_ids.key",
        "line_ids.label",
        "line_ids.value",
        *EXPRESSION_FIELDS,
        "miniprogram_appid",
    )
    @api.depends_context("lang", "tz", "uid")
    def _compute_card_preview(self):
        for template in self:
            template.card_preview = template._prepare_preview(template.preview_ref)

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        templates = super().create(vals_list)
        for template in templates:
            template._check_may_edit([template[name] for name in EXPRESSION_FIELDS])
        return templates

    def write(self, vals):
        result = super().write(vals)
        if "model_id" in vals:
            # sudo: ir.actions.act_window - the action stays with the documents that the template is for
            for template in self.sudo().filtered("sidebar_action_id"):
                template.sidebar_action_id.binding_model_id = template.model_id
        if names := [name for name in EXPRESSION_FIELDS if name in vals]:
            for template in self:
                template._check_may_edit([template[name] for name in names])
        return result

    def unlink(self):
        # sudo: wechat.message - what waits of a template ends with it, whoever deletes it
        waiting_sudo = self.env["wechat.message"].sudo()
        waiting_sudo = waiting_sudo.search([("template_id", "in", self.ids), ("state", "=", "outgoing")])
        waiting_sudo._cancel("wechat_template", encode_terms(self.browse()._get_obstacle()))
        # sudo: ir.actions.act_window - whoever may delete the template takes along the action that names it
        self.sudo().sidebar_action_id.unlink()
        return super().unlink()

    def copy_data(self, default=None):
        vals_list = super().copy_data(default)
        if "name" in (default or {}):
            return vals_list
        return [
            dict(vals, name=self.env._("%s (copy)", template.name))
            for template, vals in zip(self, vals_list, strict=True)
        ]

    # === ACTION METHODS === #

    def action_sync(self):
        """Read the templates of these templates' accounts, of none those of all accounts, from WeChat.

        :return: the notification that tells what has changed.
        :rtype: dict
        :raise UserError: if WeChat refuses; in words.
        """
        return (self.account_id or self.env["wechat.account"].search([("active", "=", True)])).action_sync_templates()

    def action_create_sidebar_action(self):
        """Offer the template in the Action menu of its model's records."""
        self.check_access("write")
        for template in self.filtered(lambda template: template.model_id and not template.sidebar_action_id):
            # sudo: ir.actions.act_window - the action opens the composer, which asks for its own rights
            template.sidebar_action_id = (
                self.env["ir.actions.act_window"].sudo().create(template._prepare_sidebar_action())
            )

    def action_unlink_sidebar_action(self):
        """Take the template off the Action menu."""
        self.check_access("write")
        # sudo: as in action_create_sidebar_action
        self.sudo().sidebar_action_id.unlink()

    # === BUSINESS METHODS === #

    def _prepare_sidebar_action(self):
        return {
            "name": self.env._("Send WeChat Notice (%s)", self.name),
            "res_model": "wechat.composer",
            "view_mode": "form",
            "target": "new",
            "context": repr({"default_template_id": self.id}),
            "binding_model_id": self.model_id.id,
            "binding_view_types": "list,kanban,form",
            "group_ids": [Command.link(self.env.ref("wechat_merchant_bind.group_user").id)],
        }

    def _update_from_wechat(self, template):
        """Take over what WeChat says of the template. The expressions of its keywords are kept.

        :param dict template: as WeChat gives it.
        """
        self.ensure_one()
        vals = {name: template.get(name) or False for name in ("title", "content", "example")}
        vals["is_vanished"] = False
        if changed := {name: value for name, value in vals.items() if self[name] != value}:
            self.write(changed)
        lines = {line.key: line for line in self.line_ids}
        commands = []
        for number, (key, label) in enumerate(wechat_keywords.parse_content(self.content), 1):
            values = {"label": label, "sequence": number}
            line = lines.pop(key, None)
            if line is None:
                commands.append(Command.create({"key": key, **values}))
            elif any(line[name] != value for name, value in values.items()):
                commands.append(Command.update(line.id, values))
        if self.content:
            commands += [Command.delete(line.id) for line in lines.values()]
        if commands:
            self.write({"line_ids": commands})

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
