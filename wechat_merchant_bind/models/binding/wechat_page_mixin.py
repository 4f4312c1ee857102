from odoo import api, models
from odoo.tools import hash_sign, verify_hash_signed

PAGE_HOURS = 72


class WechatPageMixin(models.AbstractModel):
    """Records with a public page that takes what its owner would type in the chat.

    While a customer-service agent has the session, WeChat hands typed commands over to the agent alone. The link is a
    bearer secret that is sent in the chat only.
    """

    _name = "wechat.page.mixin"
    _description = "Records with a Page in Place of a Typed Command"

    # The name of the page in its address.
    _wechat_page = None

    # === BUSINESS METHODS === #

    def _get_page_url(self):
        """Return a link to the page. It expires after PAGE_HOURS.

        :rtype: str
        """
        self.ensure_one()
        # sudo: ir.config_parameter - the database's secret signs the link
        token = hash_sign(self.sudo().env, self._get_page_scope(), self.id, expiration_hours=PAGE_HOURS)
        return f"{self.get_base_url()}/wechat/{self._wechat_page}/{token}"

    @api.model
    def _find_by_page_token(self, token):
        """Return the sudoed record of a link, or an empty one if the link is truncated, forged or expired.

        :param str token: the token of the link.
        """
        # sudo: the record itself - the token is signed by the database's secret and grants the access
        return self.sudo().browse(self._read_page_token(token)).exists()

    @api.model
    def _read_page_token(self, token):
        """Return the id of the record in a token, or None if the token is truncated, forged or expired."""
        try:
            # sudo: ir.config_parameter - the database's secret verifies the signature
            return verify_hash_signed(self.sudo().env, self._get_page_scope(), token)
        except ValueError:
            return None

    @api.model
    def _get_page_scope(self):
        return f"wechat_merchant_bind.{self._wechat_page}"

    def _get_page_state(self):
        """Return the state of the page: the page's name if it takes a command, else "told".

        :rtype: str
        """
        raise NotImplementedError

    def _get_page_text(self):
        """Return the text of the page in the state "told", in the merchant's language.

        :rtype: str
        """
        raise NotImplementedError
