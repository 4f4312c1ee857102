from werkzeug.exceptions import NotFound

from odoo import http
from odoo.http import request

from .device import get_device

# The page grants the right to bind: browsers, proxies and search engines must not store it, and its address must not
# reach other sites as a referrer.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class WechatShare(http.Controller):
    """The public page with a binding code, which the merchant opens in WeChat and scans by a long press."""

    _share_url = "/wechat/bind/<string:share_token>"
    _image_url = "/wechat/bind/<string:share_token>/code.png"
    _state_url = "/wechat/bind/<string:share_token>/state"

    @http.route(_share_url, type="http", auth="public", methods=["GET"], save_session=False)
    def wechat_share(self, share_token, **_query):
        """Show the code while it is open, else its state.

        :param str share_token: the token of the link.
        """
        code_sudo = self._find_code(share_token)
        request.update_context(lang=request.env["wechat.account"]._get_lang(code_sudo.partner_id.lang))
        code_sudo = code_sudo.with_context(lang=request.env.lang)
        state = code_sudo._get_share_state()
        response = request.render(
            "wechat_merchant_bind.share_page",
            {
                "code": code_sudo,
                "state": state,
                "asks_digits": "phone" in code_sudo._get_pending_requests().mapped("method"),
                "merchant": code_sudo.partner_id._wechat_mask_name() if state not in ("expired", "unknown") else "",
                "tz": code_sudo._get_tz() if code_sudo else None,
                "device": get_device(request.httprequest.user_agent.string),
                **self._prepare_issuer_values(code_sudo),
            },
            status=200 if code_sudo else 404,
        )
        response.headers.update(HEADERS)
        return response

    def _prepare_issuer_values(self, code_sudo):
        """Return the sender's values for the page and its preview in a chat. They contain no secret of the code.

        :param wechat.bind.code code_sudo: the code, or an empty recordset.
        :return: "issuer" (see WechatBindCode._get_issuer()), "account" and "contact" (sentences), "title", "purpose",
            and "preview_image" (an absolute URL).
        :rtype: dict
        """
        env = request.env
        if not code_sudo:
            return {
                "issuer": {},
                "account": "",
                "contact": "",
                "title": env._("WeChat Binding"),
                "purpose": "",
                "preview_image": False,
            }
        issuer = code_sudo._get_issuer()
        contact = ""
        if issuer["person"]:
            contact = env._("Questions? Ask %s, who generated this code.", issuer["person"])
        elif issuer["phone"] or issuer["email"]:
            contact = env._("Questions? Contact us:")
        return {
            "issuer": issuer,
            "account": env._("Official Account: %s", issuer["account"]),
            "contact": contact,
            "title": env._("Bind WeChat - %s", issuer["company"]),
            "purpose": env._(
                "%(company)s sends merchants its notices through the WeChat Official Account “%(account)s”. Bind your "
                "WeChat to receive them.",
                company=issuer["company"],
                account=issuer["account"],
            ),
            "preview_image": code_sudo.get_base_url()
            + (issuer["logo_url"] or "/wechat_merchant_bind/static/description/icon.png"),
        }

    @http.route(_image_url, type="http", auth="public", methods=["GET"], save_session=False)
    def wechat_share_image(self, share_token, **_query):
        """Return the picture of an open code. Phones don't recognise codes in data URIs, so it has a URL.

        :param str share_token: the token of the link.
        """
        code_sudo = self._find_code(share_token)
        if code_sudo._get_share_state() not in ("waiting", "confirming"):
            raise NotFound()
        return request.make_response(code_sudo._get_qr_png(), [("Content-Type", "image/png"), *HEADERS.items()])

    @http.route(_state_url, type="http", auth="public", methods=["GET"], save_session=False)
    def wechat_share_state(self, share_token, **_query):
        """Return the state of the code. The open page polls it, since visitors have no access to Odoo's bus.

        :param str share_token: the token of the link.
        """
        return request.make_json_response(
            {"state": self._find_code(share_token)._get_share_state()}, headers=list(HEADERS.items())
        )

    def _find_code(self, share_token):
        # sudo: wechat.bind.code - the token of the link is the secret that grants the access
        codes_sudo = request.env["wechat.bind.code"].sudo()
        # PostgreSQL rejects parameters with a NUL character.
        return codes_sudo.browse() if "\x00" in share_token else codes_sudo.search([("share_token", "=", share_token)])
