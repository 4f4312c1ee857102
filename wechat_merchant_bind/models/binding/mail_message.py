from urllib.parse import unquote_plus

from odoo import api, models
from odoo.exceptions import UserError

from ...tools import bearer_links


class MailMessage(models.Model):
    """Removes links that grant a right from messages: every reader of the document reads its messages."""

    _inherit = "mail.message"

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        # The caller's own values stay as they are: the e-mail is made of them.
        return super().create([self._wechat_hide_body(vals) for vals in vals_list])

    def write(self, vals):
        return super().write(self._wechat_hide_body(vals))

    # === BUSINESS METHODS === #

    @api.model
    def _wechat_hide_body(self, vals):
        """Return the values of a message without the secrets in its body."""
        body = vals.get("body")
        if not bearer_links.may_hold_links(body):
            return vals
        hidden = bearer_links.hide(body, self._wechat_find_secrets([body]))
        return {**vals, "body": hidden} if hidden != body else vals

    @api.model
    def _wechat_find_secrets(self, texts):
        """Return the tokens in texts that let a reader bind a merchant or undo a binding, without those of other sites.

        :param list[str] texts: HTML or plain text.
        :rtype: set[str]
        """
        text = "\n".join(filter(bearer_links.may_hold_links, texts))
        tokens = set(bearer_links.SHARE_TOKEN.findall(text))
        contents = set(bearer_links.QR_CONTENT.findall(text))
        # URL-encoded in an address, or written by hand.
        tickets = {
            form: ticket for ticket in bearer_links.TICKET.findall(text) for form in (ticket, unquote_plus(ticket))
        }
        secrets = {
            token
            for token in bearer_links.UNDO_TOKEN.findall(text)
            if self.env["wechat.binding"]._read_undo_token(token)
        }
        secrets.update(
            token
            for token in bearer_links.PAGE_TOKEN.findall(text)
            if any(self.env[model]._read_page_token(token) for model in ("wechat.bind.request", "wechat.binding"))
        )
        # sudo: wechat.bind.code - only values that the text contains already are looked up
        codes_sudo = self.env["wechat.bind.code"].sudo()
        for name, found in (
            ("share_token", {token: token for token in tokens}),
            ("qr_content", {content: content for content in contents}),
            ("ticket", tickets),
        ):
            if found:
                known = codes_sudo.search_fetch([(name, "in", list(found))], [name]).mapped(name)
                secrets.update(found[value] for value in known)
        return secrets

    @api.model
    def _wechat_refuse_secrets(self, texts, message):
        """Raise UserError if one of these texts lets a reader bind a merchant or undo a binding.

        :param list[str] texts: HTML or plain text.
        :param str message: the text of the error.
        """
        if any(map(bearer_links.may_hold_links, texts)) and self._wechat_find_secrets(texts):
            raise UserError(message)
