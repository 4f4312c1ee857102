"""Links that grant a right to everybody who has them: how they look, and how they are taken out of a text."""

import re

SHARE_TOKEN = re.compile(r"/wechat/bind/([A-Za-z0-9_-]{16,64})")
UNDO_TOKEN = re.compile(r"/wechat/undo/([A-Za-z0-9_-]{16,})")
# WeChat's own addresses of a code: that of its picture, and what the picture says.
TICKET = re.compile(r"/showqrcode\?(?:amp;|[^\s\"'<>]*?&)?ticket=([^\s\"'<>&]+)")
QR_CONTENT = re.compile(r"https?://weixin\.qq\.com/q/[^\s\"'<>]+")
HIDDEN = "…"


def may_hold_links(text):
    """Tell cheaply whether a text could hold such a link."""
    return bool(text) and ("/wechat/" in text or "weixin.qq.com" in text or "/showqrcode" in text)


def hide(text, secrets):
    """Take secrets out of a text: their pictures and the targets of their links vanish, what is read is shortened.

    :param str text: HTML or plain text.
    :param secrets: strings, such as tokens.
    :return: the text, as Markup if it was some.
    :rtype: str
    """
    if not secrets:
        return text
    # A long one first: another one may be its beginning.
    secret = "|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True))
    hidden = re.sub(rf"<img\b[^>]*(?:{secret})[^>]*>", "", text)
    hidden = re.sub(rf"""\shref=(["'])(?:(?!\1).)*(?:{secret})(?:(?!\1).)*\1""", "", hidden)
    hidden = re.sub(secret, HIDDEN, hidden)
    return type(text)(hidden)
