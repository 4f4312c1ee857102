from odoo import fields, models


class WechatBinding(models.Model):
    """Whether messages reach the person behind a binding, as far as WeChat's answers tell."""

    _inherit = "wechat.binding"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    is_blocked = fields.Boolean("Refuses Messages", readonly=True, help="The person has switched our messages off.")
    blocked_at = fields.Datetime("Refused on", readonly=True)

    # === BUSINESS METHODS === #

    def _mark_unreachable(self, kind):
        """Record that a person can't be reached, as WeChat has answered.

        :param str kind: ``unfollowed``, after WeChat has confirmed it, or ``blocked``.
        """
        now = fields.Datetime.now()
        if kind == "unfollowed":
            self._set_subscribed(False, now)
            return
        fresh = self.filtered(lambda binding: not binding.is_blocked)
        fresh.write({"is_blocked": True, "blocked_at": now})
        fresh.partner_id._wechat_notify_changed()

    def _mark_reachable(self):
        """Record that a person can be reached again: a message has arrived, or the person follows again."""
        blocked = self.filtered("is_blocked")
        blocked.write({"is_blocked": False, "blocked_at": False})
        blocked.partner_id._wechat_notify_changed()

    def _set_subscribed(self, subscribed, at):
        before = self.filtered("is_subscribed")
        result = super()._set_subscribed(subscribed, at)
        if returned := (self - before).filtered(lambda binding: binding.is_subscribed and binding.state == "bound"):
            self.env["wechat.message"]._wake_unfollowed(returned.partner_id)
        if subscribed:
            self._mark_reachable()
        return result

    def _unbind(self, reason):
        bindings = self.filtered(lambda binding: binding.state == "bound")
        partners = bindings.partner_id
        result = super()._unbind(reason)
        self.env["wechat.message"]._cancel_waiting(partners, "wechat_unbound")
        return result

    def _erase(self, account, openid):
        result = super()._erase(account, openid)
        # What was sent stays counted, without a word of what it said and to whom.
        self.env["wechat.message"].search([("account_id", "=", account.id), ("openid", "=", openid)])._erase_content()
        return result
