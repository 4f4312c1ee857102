from odoo import models
from odoo.exceptions import AccessError
from odoo.tools import plaintext2html

from ..const import GROUP_MANAGER

ACTIVITY = "mail.mail_activity_data_warning"


class WechatStopMixin(models.AbstractModel):
    """What sends nothing once WeChat has refused it, until a manager resumes it. A stop asks one of them for that."""

    _name = "wechat.stop.mixin"
    _inherit = ["mail.thread", "mail.activity.mixin"]
    _description = "What a Manager Resumes"

    # === BUSINESS METHODS === #

    def _check_may_resume(self):
        """Raise AccessError unless the user is a WeChat manager and may change these records."""
        if not self.env.su and not self.env.user.has_group(GROUP_MANAGER):
            raise AccessError(self.env._("Only WeChat managers may resume sending."))
        self.check_access("write")

    def _schedule_stop_activity(self, summary, reason, activity=ACTIVITY):
        """Ask a manager to look at a record that was stopped, or will be, unless one was asked already.

        :param str summary: what has happened.
        :param str reason: why, and what to do about it.
        :param str activity: XML ID of the type of activity, one for each kind of trouble.
        """
        self.ensure_one()
        # sudo: mail.activity - whoever's work met the refusal, it is a manager who is asked
        record_sudo = self.sudo()
        if manager := record_sudo._get_stop_manager():
            record_sudo = record_sudo.with_context(lang=manager.lang, mail_activity_quick_update=True)
            if not record_sudo.activity_search([activity]):
                # Without an email: a mail server must not keep the messages of other accounts waiting.
                record_sudo.activity_schedule(
                    activity, summary=summary, note=plaintext2html(reason), user_id=manager.id
                )

    def _close_stop_activities(self):
        # sudo: mail.activity - also those of another manager
        self.sudo().activity_unlink([ACTIVITY])

    def _get_stop_manager(self):
        """Return the user who is asked: who set the record up, if that is a manager, else the first one.

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
