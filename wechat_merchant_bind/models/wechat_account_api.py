from odoo import models
from odoo.exceptions import ValidationError
from odoo.tools import LazyTranslate

from ..tools.wechat_api import WechatClient, WechatUrlError, check_base_url
from ..tools.wechat_errors import WechatTokenStale, invalid_ip

_lt = LazyTranslate(__name__)


class WechatAccount(models.Model):
    """How an account is used to call WeChat: its client, its access token, and what an error of WeChat means."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    def _get_client(self):
        """Return the client of WeChat's API for this account.

        :rtype: WechatClient
        :raise ValidationError: if the address is not allowed.
        """
        self.ensure_one()
        # sudo: ir.config_parameter - a switch that only administrators set, read for whoever uses the account
        parameters = self.env["ir.config_parameter"].sudo()
        allow_insecure = parameters.get_param("wechat_merchant_bind.allow_insecure_api") in ("1", "True", "true")
        try:
            return WechatClient(check_base_url(self.api_base_url, allow_insecure))
        except WechatUrlError as error:
            raise ValidationError(
                self.env._(
                    "The API address must be a plain https address such as https://api.weixin.qq.com. "
                    "Plain http is only allowed to this machine's sandbox, and only after the system parameter "
                    "wechat_merchant_bind.allow_insecure_api was set."
                )
            ) from error

    def _call_api(self, method, *args, **kwargs):
        """Call a method of the client with the account's access token. A token that WeChat calls stale is replaced, and
        the call repeated, once.

        :param str method: a method of :class:`WechatClient` whose first parameter is the access token.
        :return: what the method returns.
        :raise WechatError: if WeChat refuses or cannot be reached.
        """
        client, token = self._get_access()
        try:
            return getattr(client, method)(token, *args, **kwargs)
        except WechatTokenStale:
            client, token = self._get_access(refused=token)
            return getattr(client, method)(token, *args, **kwargs)

    def _get_access(self, refused=None):
        """Return what a call to WeChat needs. Threads may use it; they must never touch the environment.

        :param str refused: the access token that WeChat has just refused; replaced only if it is still the stored one.
        :return: the client and an access token that is good for the next two minutes at least.
        :rtype: tuple[WechatClient, str]
        :raise WechatError: if the token cannot be had.
        """
        self.ensure_one()
        # sudo: wechat.account - only managers read the secret, but whoever may generate codes makes calls with it
        account_sudo = self.sudo()
        client = account_sudo._get_client()
        # sudo: wechat.access.token - nobody has access to tokens; this one never leaves the call
        token = self.env["wechat.access.token"].sudo()._get_valid(account_sudo, client, refused=refused)
        return client, token

    def _get_error_message(self, error):
        """Say in the user's words what an error of WeChat means and what to do about it.

        :param WechatError error: the error.
        :return: the meaning, the remedy, and what WeChat said: errcode, text and rid.
        :rtype: str
        """
        return "\n".join(self.env._(term) for term in self._get_error_terms(error))

    def _get_error_terms(self, error):
        """Return the lines of :meth:`_get_error_message`, to be translated by their reader.

        :param WechatError error: the error.
        :rtype: list[LazyGettext]
        """
        info = error.info
        terms = [_lt(info.meaning), _lt(info.remedy)]
        if address := invalid_ip(error.errmsg):
            terms.append(_lt("Address to add to the IP allow-list: %s", address))
        if error.errcode is not None:
            terms.append(_lt("WeChat's answer: %(errcode)s %(errmsg)s", errcode=error.errcode, errmsg=error.errmsg))
        elif error.errmsg:
            terms.append(_lt("Details: %s", error.errmsg))
        return terms
