from odoo import models


class WechatTemplate(models.Model):
    """A template that WeChat refuses is stopped until a manager resumes it."""

    _name = "wechat.template"
    _inherit = ["wechat.template", "wechat.stop.mixin"]

    # === ACTION METHODS === #

    def action_resume(self):
        """Let the messages of stopped templates be sent again, also those that have waited.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self.write({"stop_reason": False})
        self._close_stop_activities()
        self.env["wechat.message"]._trigger_lanes()
        return True

    # === BUSINESS METHODS === #

    def _stop(self, reason):
        """Send nothing of this template until a manager resumes it, and ask one for that.

        :param str reason: why, in words.
        """
        for template in self:
            if not template.stop_reason:
                template.stop_reason = reason
                template._schedule_stop_activity(
                    template.env._("WeChat refuses the template: its messages wait"), reason
                )
