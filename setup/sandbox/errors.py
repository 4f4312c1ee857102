"""WeChat's error codes with the platform's own English wording.

Wording as WeChat's global return code page and answers seen in production have it. Every errmsg of a failed call ends
with a request id (`rid: ...`), as WeChat's do.
"""

import secrets
import time

ERRMSG = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, "
    "more details at https://mmbizurl.cn/s/JtxxFh33r",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40008: "invalid message type",
    40013: "invalid appid",
    40014: "invalid access_token",
    40033: "invalid charset. please check your request, if include \\uxxxx will create fail!",
    40036: "invalid template_id size",
    40037: "invalid template_id",
    40039: "invalid url size",
    40052: "invalid action name",
    40053: "invalid action info",
    40125: "invalid appsecret",
    40165: "invalid weapp pagepath",
    40241: "the message is duplicate in 60 seconds",
    40243: "appsecret is frozen",
    40246: "invalid keyword_name_list",
    40247: "need new category template",
    40249: "blocked for illegal content",
    40252: "hit content review",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    43004: "require subscribe",
    43019: "require remove blacklist",
    43100: "change template too frequently",
    43108: "concurrent messages to one follower",
    43116: "This template_id is banned",
    43117: "Sending messages to this openid too frequently,please try later",
    44002: "empty post data",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    45015: "response out of time limit or subscription is canceled",
    45026: "template num exceeds limit",
    45029: "qrcode count out of limit",
    45047: "out of response count limit",
    45065: "clientmsgid exist",
    45067: "clientmsgid size out of limit",
    47001: "data format error",
    47003: "argument invalid!",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities",
    48006: "forbid to clear quota because of reaching the limit",
    50002: "user limited",
    50005: "user is unsubscribed",
    76001: "rid not found",
    76002: "rid is error",
    76003: "cgi_path not found",
    76021: "cgi_path not found",
    76022: "no permission to use this cgi_path",
    89503: "ip need admin confirm",
    268487002: "system busy",
}


class ApiError(Exception):
    """A refusal in WeChat's form.

    :param errcode: WeChat's error code
    :param errmsg: the wording without the rid; by default the table's
    :param fields: what the answer holds besides
    """

    def __init__(self, errcode: int, errmsg: str | None = None, **fields: object):
        self.errcode = errcode
        self.fields = fields
        self.errmsg = errmsg or ERRMSG.get(errcode, "error")
        super().__init__(f"{errcode}: {self.errmsg}")


def new_rid() -> str:
    """A request id as WeChat writes it: `65f1a2b3-1c9e2b5d-4a7d0f3e` (the first part is the time in hex)."""
    return f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
