"""Bearer links, which grant a right to their holder: patterns to find them, and their removal from texts."""

import re

SHARE_TOKEN = re.compile(r"/wechat/bind/([A-Za-z0-9_-]{16,64})")
UNDO_TOKEN = re.compile(r"/wechat/undo/([A-Za-z0-9_-]{16,})")
PAGE_TOKEN = re.compile(r"/wechat/(?:digits|unbind)/([A-Za-z0-9_-]{16,})")
# WeChat's own addresses of a code: the URL of its picture, and the content of the QR code.
TICKET = re.compile(r"/showqrcode\?(?:amp;|[^\s\"'<>]*?&)?ticket=([^\s\"'<>&]+)")
QR_CONTENT = re.compile(r"https?://weixin\.qq\.com/q/[^\s\"'<>]+")
HIDDEN = "…"


def may_hold_links(text):
    """Tell at little cost whether a text may hold a bearer link."""
    return bool(text) and ("/wechat/" in text or "weixin.qq.com" in text or "/showqrcode" in text)


def hide(text, secrets):
    """Remove secrets from a text: pictures and link targets that hold one are deleted, other occurrences become "…".

    :param str text: HTML or plain text.
    :param secrets: strings, such as tokens.
    :return: the text, in the type of the argument (str or Markup).
    :rtype: str
    """
    if not secrets:
        return text
    # Longest first: one secret may begin with another.
    secret = "|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True))
    hidden = re.sub(rf"<img\b[^>]*(?:{secret})[^>]*>", "", text)
    hidden = re.sub(rf"""\shref=(["'])(?:(?!\1).)*(?:{secret})(?:(?!\1).)*\1""", "", hidden)
    hidden = re.sub(secret, HIDDEN, hidden)
    return type(text)(hidden)
