from odoo import models
from odoo.exceptions import AccessError
from odoo.tools import plaintext2html

from ..const import GROUP_MANAGER

ACTIVITY = "mail.mail_activity_data_warning"


class WechatSuspendMixin(models.AbstractModel):
    """Suspends sending after a refusal by WeChat, and schedules an activity for a manager, who resumes it."""

    _name = "wechat.suspend.mixin"
    _inherit = ["mail.thread", "mail.activity.mixin"]
    _description = "What a Manager Resumes"

    # === BUSINESS METHODS === #

    def _check_may_resume(self):
        """Raise AccessError unless the user is a WeChat manager and may change these records."""
        if not self.env.su and not self.env.user.has_group(GROUP_MANAGER):
            raise AccessError(self.env._("Only WeChat managers may resume sending."))
        self.check_access("write")

    def _schedule_manager_activity(self, summary, reason, activity=ACTIVITY):
        """Schedule an activity for a manager about suspended sending, unless there is one already.

        :param str summary: the trouble.
        :param str reason: its reason and remedy.
        :param str activity: XML ID of the activity type, one for each kind of trouble.
        """
        self.ensure_one()
        # sudo: mail.activity - for a manager, also if another user's message was refused
        record_sudo = self.sudo()
        if manager := record_sudo._get_responsible_manager():
            record_sudo = record_sudo.with_context(lang=manager.lang, mail_activity_quick_update=True)
            if not record_sudo.activity_search([activity]):
                # Without an e-mail: a slow mail server would delay the messages of other accounts.
                record_sudo.activity_schedule(
                    activity, summary=summary, note=plaintext2html(reason), user_id=manager.id
                )

    def _close_manager_activities(self):
        # sudo: mail.activity - another manager's too
        self.sudo().activity_unlink([ACTIVITY])

    def _get_responsible_manager(self):
        """Return the manager for the activity: the record's creator if a manager, else the first manager.

        :rtype: res.users
        """
        managers = self._get_managers()
        return managers & self.create_uid or managers[:1]

    def _get_managers(self):
        """Return the WeChat managers of the record's company.

        :rtype: res.users
        """
        domain = [("all_group_ids", "in", self.env.ref(GROUP_MANAGER).id), ("share", "=", False)]
        if self.company_id:
            domain.append(("company_ids", "in", self.company_id.ids))
        return self.env["res.users"].search(domain, order="id")
