import re

from odoo import api, models

# The address of a code's picture in the HTML of mail templates.
PICTURE_URL = re.compile(r'src="[^"]*/wechat/bind/([A-Za-z0-9_-]{16,64})/code\.png"')
# Domain of the pictures' Content-IDs: it identifies them in answers to the e-mail.
CONTENT_ID_DOMAIN = "@wechat_merchant_bind"


class IrMailServer(models.Model):
    """Embeds the picture of a binding code in the e-mail, and attaches it as a file to keep or print.

    Mail clients load no remote pictures without asking, and the merchant may have no access to Odoo. The pictures are
    drawn while the e-mail is built: every reader of the merchant could read an attachment stored in Odoo.
    """

    _inherit = "ir.mail_server"

    # === BUSINESS METHODS === #

    def _build_email__(self, email_from, email_to, subject, body, *args, **kwargs):
        body, codes = self._wechat_embed_pictures(body or "")
        message = super()._build_email__(email_from, email_to, subject, body, *args, **kwargs)
        html = codes and message.get_body(("html",))
        pictures = {content_id: code._get_qr_png() for content_id, code in codes.items()}
        for content_id, picture in pictures.items():
            html.add_related(picture, "image", "png", cid=f"<{content_id}>", filename="code.png", disposition="inline")
        for content_id, picture in pictures.items():
            code = codes[content_id].with_context(lang=codes[content_id]._get_print_lang())
            message.add_attachment(picture, "image", "png", filename=code._get_file_name())
        return message

    @api.model
    def _wechat_embed_pictures(self, body):
        """Replace the addresses of binding codes' pictures by Content-IDs.

        :param str body: the HTML of an e-mail.
        :return: the HTML, and the sudoed open codes by Content-ID.
        :rtype: tuple[str, dict[str, wechat.bind.code]]
        """
        tokens = set(PICTURE_URL.findall(body))
        if not tokens:
            return body, {}
        # sudo: wechat.bind.code - the token of the link is the secret that grants the access
        codes_sudo = self.env["wechat.bind.code"].sudo().search([("share_token", "in", list(tokens))])
        content_ids = {code.share_token: f"code-{code.id}{CONTENT_ID_DOMAIN}" for code in codes_sudo if code._is_open()}

        def embed(match):
            content_id = content_ids.get(match[1])
            return f'src="cid:{content_id}"' if content_id else match[0]

        codes = {content_ids[code.share_token]: code for code in codes_sudo if code.share_token in content_ids}
        return PICTURE_URL.sub(embed, body), codes
