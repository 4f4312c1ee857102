from odoo import fields, models
from odoo.tools import SQL

# Seconds between two questions to WeChat whether a template exists.
LOOK_UP_SECONDS = 60


class WechatTemplate(models.Model):
    """A template that WeChat refuses is stopped until a manager resumes it."""

    _name = "wechat.template"
    _inherit = ["wechat.template", "wechat.stop.mixin"]

    # === FIELDS === #

    looked_up_at = fields.Datetime(
        "Looked Up on", readonly=True, copy=False, help="When WeChat was last asked whether the template exists."
    )

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

    def _claim_look_up(self):
        """Return those of these templates that WeChat is to be asked about now: one process asks, once a minute.

        :rtype: list[int]
        """
        rows = self.env.execute_query(
            SQL(
                """
                UPDATE wechat_template
                   SET looked_up_at = statement_timestamp() AT TIME ZONE 'UTC'
                 WHERE id = ANY(%(ids)s)
                   AND (looked_up_at IS NULL
                        OR looked_up_at < statement_timestamp() AT TIME ZONE 'UTC' - %(seconds)s * interval '1 second')
             RETURNING id
                """,
                ids=self.ids,
                seconds=LOOK_UP_SECONDS,
            )
        )
        self.invalidate_recordset(["looked_up_at"], flush=False)
        return [template_id for [template_id] in rows]

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
