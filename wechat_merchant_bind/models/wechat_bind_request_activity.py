from odoo import fields, models
from odoo.tools import plaintext2html

ACTIVITY = "mail.mail_activity_data_todo"


class WechatBindRequest(models.Model):
    """The activity that asks for an approval: whoever is asked may have left the screen on which the scan is told."""

    _inherit = "wechat.bind.request"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    activity_id = fields.Many2one("mail.activity", readonly=True, ondelete="set null", index="btree_not_null")

    # === BUSINESS METHODS === #

    def _ask_for_approval(self):
        """Leave an activity on the merchant for who generated its code, or else for a manager."""
        self.ensure_one()
        user = self.code_id.user_id
        if not (user.active and user._is_internal()):
            user = self.account_id._get_stop_manager()
        if not user:
            return
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(user.lang)).env
        # sudo: ir.ui.menu - the path as whoever is asked reads it, in the words of the menus themselves
        menu_sudo = env.ref("wechat_merchant_bind.wechat_bind_request_menu").sudo()
        note = env._(
            "Somebody has scanned the merchant's binding code (OpenID %(openid)s). Accept or reject that under "
            "%(menu)s.",
            openid=self.openid_masked,
            menu=menu_sudo.complete_name.replace("/", " > "),
        )
        # sudo: mail.activity - nobody is logged in while a push is handled; without an email, which takes its time
        merchant_sudo = self.partner_id.sudo().with_context(lang=env.lang, mail_activity_quick_update=True)
        self.activity_id = merchant_sudo.activity_schedule(
            ACTIVITY, user_id=user.id, summary=env._("Confirm the WeChat binding"), note=plaintext2html(note)
        )

    def _decide(self, state, reason):
        # sudo: mail.activity - also that of whoever was asked and is not the one who decides
        self.sudo().activity_id.filtered("active").unlink()
        return super()._decide(state, reason)
