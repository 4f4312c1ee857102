from odoo import SUPERUSER_ID, http
from odoo.http import request

from ..models.const import DEFAULT_TZ
from .share import HEADERS as SHARE_HEADERS

# The page has a form, unlike the share page.
HEADERS = {
    **SHARE_HEADERS,
    "Content-Security-Policy": SHARE_HEADERS["Content-Security-Policy"].replace(
        "form-action 'none'", "form-action 'self'"
    ),
}


class WechatUndo(http.Controller):
    """The public page of the undo link in the e-mail about a new binding."""

    _undo_url = "/wechat/undo/<string:undo_token>"

    @http.route(_undo_url, type="http", auth="public", methods=["GET"])
    def wechat_undo(self, undo_token, **_query):
        """Show the page with the button to undo. GET changes nothing, because mail scanners open links.

        :param str undo_token: the signed token of the link.
        """
        binding_sudo = self._find_binding(undo_token)
        request.update_context(lang=request.env["wechat.account"]._get_lang(binding_sudo.partner_id.lang))
        response = request.render(
            "wechat_merchant_bind.undo_page",
            {
                "title": request.env._("Undo WeChat Binding"),
                "binding": binding_sudo.with_context(lang=request.env.lang),
                "state": binding_sudo._get_undo_state(),
                "merchant": binding_sudo.partner_id._wechat_mask_name() if binding_sudo.partner_id else "",
                "tz": binding_sudo.partner_id.tz or DEFAULT_TZ,
            },
            status=200 if binding_sudo else 404,
        )
        response.headers.update(HEADERS)
        return response

    @http.route(_undo_url, type="http", auth="public", methods=["POST"])
    def wechat_undo_confirmed(self, undo_token, **_form):
        """Undo the binding if that is still possible, and show its state.

        :param str undo_token: the signed token of the link.
        """
        binding_sudo = self._find_binding(undo_token)
        if binding_sudo._get_undo_state() == "bound":
            binding_sudo._undo_by_link()
        response = request.redirect(f"/wechat/undo/{undo_token}")
        response.headers.update(HEADERS)
        return response

    def _find_binding(self, undo_token):
        """Return the binding of the link, in OdooBot's environment, so that OdooBot is the author of notes."""
        env = request.env(user=SUPERUSER_ID, context={}, su=True)
        return env["wechat.binding"]._find_by_undo_token(undo_token)
