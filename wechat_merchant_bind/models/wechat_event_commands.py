import json

from odoo import models

from ..tools import wechat_commands


class WechatEvent(models.Model):
    """What people ask for by typing it into the chat."""

    _inherit = "wechat.event"

    # === BUSINESS METHODS === #

    def _find_command(self):
        """Return what the sender asks for, if the message is a command of somebody who may give it.

        Digits are an ordinary message, unless their sender is asked for them.

        :return: a command of ``wechat_commands`` or None, and the scene of the code that it is about or None.
        :rtype: tuple[str | None, str | None]
        """
        if self.msg_type != "text" or not self.openid:
            return None, None
        command = wechat_commands.parse(json.loads(self.payload))
        if not wechat_commands.is_digits(command):
            return command, None
        request = self.env["wechat.bind.request"]._find_asked(self.account_id, self.openid)
        return (command, request.code_id.scene_str) if request else (None, None)

    def _handle_command(self, command):
        if command == wechat_commands.UNBIND:
            return self._handle_unbind()
        request = self.env["wechat.bind.request"]._find_asked(self.account_id, self.openid)
        if not request:
            # It was decided while this message waited for the locks.
            return self._handle_message()
        return "done", self._get_text_reply(request._answer_digits(command))

    def _handle_unbind(self):
        bindings = self._find_bindings()
        live = bindings.filtered(lambda binding: binding.state == "bound")
        if not bindings and self.account_id.transfer_customer_service:
            # A stranger to us: people answer, who know what else the word may mean.
            return self._handle_message()
        for binding in live:
            binding = binding.with_context(lang=self.env["wechat.account"]._get_lang(binding.code_id.user_id.lang))
            binding._unbind(binding.env._("The merchant typed %s in the chat.", wechat_commands.UNBIND))
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(bindings[:1].partner_id.lang)).env
        if live:
            content = env._(
                "Your WeChat is no longer bound, and no more notices will reach you here. To bind it again, ask us for "
                "a new binding code and scan it."
            )
        else:
            content = env._(
                "Your WeChat is not bound to any merchant. To bind it, ask us for a binding code and scan it."
            )
        return "done", self._get_text_reply(content)
