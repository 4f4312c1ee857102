from werkzeug.exceptions import NotFound

from odoo import http
from odoo.http import request

from odoo.addons.portal.controllers.portal import CustomerPortal

from .device import get_device

# The picture grants the right to bind, and the page is outdated after a scan.
NO_STORE = {"Cache-Control": "no-store"}


class WechatPortal(CustomerPortal):
    """The merchant's page in the portal: its binding, its code, its notices.

    The session alone determines the merchant: neither URLs nor forms contain ids, and unknown parameters are ignored.
    """

    _page_url = "/my/wechat"

    @http.route(_page_url, type="http", auth="user", methods=["GET"], website=True)
    def wechat_page(self, notice=None, **_query):
        """Show the state of the merchant's binding and the possible actions.

        :param str notice: the key of a message about the last action.
        """
        merchant_sudo = self._get_merchant()
        values = {
            **self._prepare_portal_layout_values(),
            **merchant_sudo._wechat_get_portal_values(),
            "page_name": "wechat",
            "merchant": merchant_sudo,
            "notice": notice,
            "device": get_device(request.httprequest.user_agent.string),
            "notices": self._prepare_wechat_notices(merchant_sudo),
        }
        return request.render("wechat_merchant_bind.portal_my_wechat", values, headers=NO_STORE)

    @http.route(f"{_page_url}/state", type="http", auth="user", methods=["GET"], readonly=True)
    def wechat_state(self, **_query):
        """Return the page's version. The open page polls it, since portal users don't get the bus' group channel."""
        values = self._get_merchant()._wechat_get_portal_values()
        return request.make_json_response({"version": values["version"]}, headers=list(NO_STORE.items()))

    @http.route(f"{_page_url}/code.png", type="http", auth="user", methods=["GET"], readonly=True)
    def wechat_image(self, **_query):
        """Return the picture of the merchant's open code. Phones don't recognise data URIs, so it has a URL."""
        values = self._get_merchant()._wechat_get_portal_values()
        if values["state"] != "waiting":
            raise NotFound()
        return request.make_response(values["code"]._get_qr_png(), [("Content-Type", "image/png"), *NO_STORE.items()])

    @http.route(f"{_page_url}/code", type="http", auth="user", methods=["POST"], website=True)
    def wechat_generate(self, **_form):
        """Generate the merchant's binding code, unless it has an open one."""
        return self._redirect(self._get_merchant()._wechat_generate_portal_code())

    @http.route(f"{_page_url}/unbind", type="http", auth="user", methods=["POST"], website=True)
    def wechat_unbind(self, **_form):
        """Unbind the merchant on its own request."""
        self._get_merchant()._wechat_unbind_in_portal()
        return self._redirect("unbound")

    def _get_merchant(self):
        """Return the sudoed merchant of the portal user.

        :raise NotFound: for internal users, which belong to no merchant.
        """
        user = request.env.user
        if not user._is_portal():
            raise NotFound()
        # sudo: res.partner, wechat.binding, wechat.bind.code - portal users have no access to them; the controller uses
        # records of the user's own merchant only
        return user.sudo().partner_id.commercial_partner_id

    def _prepare_wechat_notices(self, merchant_sudo):
        """Return the merchant's last notices, newest first.

        :param res.partner merchant_sudo: the merchant.
        :return: dicts with "date" (datetime), "title" and "state" (a label).
        :rtype: list[dict]
        """
        messages_sudo = merchant_sudo._wechat_get_portal_notices()
        labels = dict(messages_sudo._fields["state"]._description_selection(messages_sudo.env))
        return [
            {
                "date": message.sent_at or message.create_date,
                "title": message.card.get("title") or message.template_name,
                "state": labels["delivered" if message.state == "delivered" else "sent"],
            }
            for message in messages_sudo
            # An erased message has no content.
            if message.card
        ]

    def _redirect(self, notice):
        return request.redirect(f"{self._page_url}?notice={notice}" if notice else self._page_url)
