from odoo import api, fields, models
from odoo.exceptions import ValidationError

# Context key: dictionary in which an automation rule collects the records to notify about, by template.
NOTICES = "wechat_notices"


class IrActionsServer(models.Model):
    """The server action that notifies by WeChat."""

    _inherit = "ir.actions.server"

    # === FIELDS === #

    state = fields.Selection(
        selection_add=[("wechat", "Send WeChat Notice"), ("followers",)], ondelete={"wechat": "cascade"}
    )
    wechat_template_id = fields.Many2one(
        "wechat.template",
        "WeChat Template",
        compute="_compute_wechat_template_id",
        store=True,
        readonly=False,
        ondelete="set null",
        index="btree_not_null",
        groups="base.group_system",
        domain="[('model_id', '=', model_id)]",
    )

    # === CONSTRAINTS AND INDEXES === #

    @api.constrains("state", "model_id", "wechat_template_id")
    def _check_wechat_template(self):
        """Refuse actions that can't send their notices.

        A warning would not do: Odoo refuses to run an action with a warning, and no document must fail for a notice.
        """
        for action in self.filtered(lambda action: action.state == "wechat"):
            if action.model_id.transient or not action.model_id.is_mail_thread:
                raise ValidationError(
                    self.env._("WeChat notices can only be sent about documents that have a chatter.")
                )
            template = action.wechat_template_id
            if template and template.model_id != action.model_id:
                raise ValidationError(
                    self.env._(
                        "The WeChat template %(template_name)s is made for other documents than the action's.",
                        template_name=template.name,
                    )
                )

    # === COMPUTE METHODS === #

    @api.depends("state")
    def _compute_available_model_ids(self):
        actions = self.filtered(lambda action: action.state == "wechat")
        if actions:
            thread_models = self.env["ir.model"].search([("is_mail_thread", "=", True), ("transient", "=", False)])
            actions.available_model_ids = thread_models.ids
        return super(IrActionsServer, self - actions)._compute_available_model_ids()

    @api.depends("model_id", "state")
    def _compute_wechat_template_id(self):
        for action in self:
            if action.state != "wechat" or action.model_id != action.wechat_template_id.model_id:
                action.wechat_template_id = False

    # === BUSINESS METHODS === #

    def _name_depends(self):
        return [*super()._name_depends(), "wechat_template_id"]

    def _generate_action_name(self):
        self.ensure_one()
        if self.state == "wechat" and self.wechat_template_id:
            return self.env._("Send by WeChat: %(template_name)s", template_name=self.wechat_template_id.name)
        return super()._generate_action_name()

    def _run_action_wechat_multi(self, eval_context=None):
        """Notify about the records.

        Odoo checks the rights, as for e-mails: the right to write the records, or a group of the action; automation
        rules run for every user, and notify when they end. After the deletion of its template, the action makes failed
        notices, which say so.
        """
        if self._is_recompute():
            return False
        records = eval_context.get("records") or eval_context.get("record")
        if not records:
            return False
        notices, template = self.env.context.get(NOTICES), self.wechat_template_id
        if notices is None:
            records._message_wechat_with_template(template)
        else:
            notices[template] = notices.get(template, records) | records
        return False
