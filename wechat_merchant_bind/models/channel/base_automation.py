from odoo import api, models
from odoo.exceptions import ValidationError

from .ir_actions_server import NOTICES


class BaseAutomation(models.Model):
    """Automation rules: refuse WeChat notices on deletion, as Odoo refuses e-mails."""

    _inherit = "base.automation"

    # === CONSTRAINTS AND INDEXES === #

    @api.constrains("trigger", "action_server_ids")
    def _check_trigger_state(self):
        for rule in self:
            if words := rule._get_wechat_warning():
                raise ValidationError(words)
        return super()._check_trigger_state()

    # === ONCHANGE METHODS === #

    @api.onchange("trigger", "action_server_ids")
    def _onchange_trigger_or_actions(self):
        if words := self._get_wechat_warning():
            return {"warning": {"title": self.env._("Warning"), "message": words}}
        return super()._onchange_trigger_or_actions()

    # === BUSINESS METHODS === #

    def _get_wechat_warning(self):
        """Return why the rule can't send its WeChat notices, or None."""
        self.ensure_one()
        if self.trigger != "on_unlink" or "wechat" not in self.action_server_ids.mapped("state"):
            return None
        return self.env._(
            "WeChat notices can't be sent when records are deleted: nothing is left that the notice could be about."
        )

    def _process(self, records, domain_post=None):
        """Queue the WeChat notices of the rule for all records at once: Odoo runs its actions for each record.

        The notices follow the other actions of the rule. A record that these have deleted gets none.
        """
        notices = {}
        rules = self.with_context(**{NOTICES: notices})
        result = super(BaseAutomation, rules)._process(records, domain_post=domain_post)
        for template, notified in notices.items():
            notified.with_context(**{NOTICES: None}).exists()._message_wechat_with_template(template)
        return result
