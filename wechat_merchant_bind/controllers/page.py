from odoo import SUPERUSER_ID, http
from odoo.http import request

from ..models.inbox import dispatcher
from ..tools import wechat_commands
from .undo import HEADERS

# By the name of a page: its model.
MODELS = {"digits": "wechat.bind.request", "unbind": "wechat.binding"}


class WechatPage(http.Controller):
    """The public pages that take what would be typed in the chat. The links to them are sent in the chat."""

    _page_url = "/wechat/<any(digits,unbind):page>/<string:page_token>"

    @http.route(_page_url, type="http", auth="public", methods=["GET"])
    def wechat_page(self, page, page_token, **_query):
        """Show the page. GET changes nothing, because link previews open links.

        :param str page: the name of the page.
        :param str page_token: the signed token of the link.
        """
        return self._render(page, self._find_record(page, page_token))

    @http.route(_page_url, type="http", auth="public", methods=["POST"])
    def wechat_page_confirmed(self, page, page_token, digits="", **_form):
        """Handle the command as if it were typed in the chat, and show the reply.

        :param str page: the name of the page.
        :param str page_token: the signed token of the link.
        :param str digits: the digits of the phone, on the page that asks for them.
        """
        record_sudo = self._find_record(page, page_token)
        command = wechat_commands.UNBIND if page == "unbind" else wechat_commands.normalize(digits)
        if not record_sudo or record_sudo._get_page_state() != page:
            return self._render(page, record_sudo)
        if page == "digits" and not wechat_commands.is_digits(command):
            return self._render(page, record_sudo, is_malformed=True)
        events = record_sudo.env["wechat.event"]
        received = events._receive_from_page(record_sudo, command)
        request.env.cr.commit()  # pylint: disable=invalid-commit  # stored before it is handled, as a push is
        reply = dispatcher.dispatch(request.env.registry, received.event_id, received.is_slow)
        record_sudo.env.invalidate_all()
        return self._render(page, record_sudo, text=events._get_reply_text(reply))

    def _find_record(self, page, page_token):
        """Return the record of the link, in OdooBot's environment, so that OdooBot is the author of notes."""
        env = request.env(user=SUPERUSER_ID, context={}, su=True)
        return env[MODELS[page]]._find_by_page_token(page_token)

    def _render(self, page, record_sudo, text=None, is_malformed=False):
        """Return the page.

        :param str page: the name of the page.
        :param record_sudo: its record, or an empty recordset.
        :param str text: the reply to the command.
        :param bool is_malformed: whether the entered digits are not four digits.
        """
        partner_sudo = record_sudo.partner_id
        request.update_context(lang=request.env["wechat.account"]._get_lang(partner_sudo.lang))
        state = record_sudo._get_page_state() if record_sudo else "unknown"
        if state == "told":
            text = text or record_sudo._get_page_text()
        response = request.render(
            "wechat_merchant_bind.command_page",
            {
                "title": request.env._("Confirm the WeChat Binding")
                if page == "digits"
                else request.env._("Unbind WeChat"),
                "state": state,
                "text": request.env._("Enter exactly 4 digits.") if is_malformed else text,
                # The page for digits names no merchant: the scanner may be the wrong person.
                "merchant": partner_sudo._wechat_mask_name() if state == "unbind" and partner_sudo else "",
                "openid": record_sudo.openid_masked,
            },
            status=200 if record_sudo else 404,
        )
        response.headers.update(HEADERS)
        return response
