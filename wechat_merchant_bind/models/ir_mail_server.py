import re

from odoo import api, models

# The address of a code's picture, as a mail template takes it from the code's link.
PICTURE_URL = re.compile(r'src="[^"]*/wechat/bind/([A-Za-z0-9_-]{16,64})/code\.png"')


class IrMailServer(models.Model):
    """Puts the picture of a binding code into the e-mail itself.

    Mail clients load no pictures from the web, or ask first, and Odoo may stand where merchants can't reach it.
    """

    _inherit = "ir.mail_server"

    # === BUSINESS METHODS === #

    def _build_email__(self, email_from, email_to, subject, body, *args, **kwargs):
        body, pictures = self._wechat_embed_pictures(body or "")
        message = super()._build_email__(email_from, email_to, subject, body, *args, **kwargs)
        html = pictures and message.get_body(("html",))
        for content_id, picture in pictures.items():
            html.add_related(picture, "image", "png", cid=f"<{content_id}>", filename="code.png", disposition="inline")
        return message

    @api.model
    def _wechat_embed_pictures(self, body):
        """Replace the addresses of binding codes' pictures by the Content-IDs under which the e-mail carries them.

        :param str body: the HTML of an e-mail.
        :return: the HTML, and by Content-ID the PNGs; a code that is no longer open has none.
        :rtype: tuple[str, dict[str, bytes]]
        """
        tokens = set(PICTURE_URL.findall(body))
        if not tokens:
            return body, {}
        # sudo: wechat.bind.code - the token of the link is the secret that grants the access
        codes_sudo = self.env["wechat.bind.code"].sudo().search([("share_token", "in", list(tokens))])
        content_ids = {
            code.share_token: f"code-{code.id}@wechat_merchant_bind" for code in codes_sudo if code._is_open()
        }

        def embed(match):
            content_id = content_ids.get(match[1])
            return f'src="cid:{content_id}"' if content_id else match[0]

        pictures = {
            content_ids[code.share_token]: code._get_qr_png() for code in codes_sudo if code.share_token in content_ids
        }
        return PICTURE_URL.sub(embed, body), pictures
