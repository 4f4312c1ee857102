from odoo import api, models
from odoo.exceptions import ValidationError


class BaseAutomation(models.Model):
    """Automation rules: refuse WeChat notices on deletion, as Odoo refuses e-mails."""

    _inherit = "base.automation"

    # === CONSTRAINTS AND INDEXES === #

    @api.constrains("trigger", "action_server_ids")
    def _check_trigger_state(self):
        for rule in self:
            if rule._has_wechat_on_unlink():
                raise ValidationError(rule._get_wechat_on_unlink_words())
        return super()._check_trigger_state()

    # === ONCHANGE METHODS === #

    @api.onchange("trigger", "action_server_ids")
    def _onchange_trigger_or_actions(self):
        if self._has_wechat_on_unlink():
            return {"warning": {"title": self.env._("Warning"), "message": self._get_wechat_on_unlink_words()}}
        return super()._onchange_trigger_or_actions()

    # === BUSINESS METHODS === #

    def _has_wechat_on_unlink(self):
        self.ensure_one()
        return self.trigger == "on_unlink" and "wechat" in self.action_server_ids.mapped("state")

    def _get_wechat_on_unlink_words(self):
        return self.env._(
            "WeChat notices can't be sent when records are deleted: nothing is left that the notice could be about."
        )
