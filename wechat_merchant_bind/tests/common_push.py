"""Pushes as WeChat sends them, and their answers. The cryptography is that of wechatpy, not the addon's."""

import hashlib
import itertools
import time
from typing import NamedTuple

import xmltodict
from wechatpy.crypto import WeChatCrypto

from odoo.tests import tagged

from .common import WechatHttpBase

SCAN_TIME = 1_790_000_000
_nonces = itertools.count(100_000_000)


class Answer(NamedTuple):
    """The answer to a push."""

    status: int
    body: str
    # The fields of a passive reply, decrypted; empty without a reply.
    reply: dict
    headers: dict


def sign(*parts):
    """Return WeChat's signature."""
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def to_xml(fields):
    """Return the XML of a push as WeChat sends it: text in CDATA, numbers bare."""
    body = "".join(
        f"<{name}>{value}</{name}>" if isinstance(value, int) else f"<{name}><![CDATA[{value}]]></{name}>"
        for name, value in fields.items()
    )
    return f"<xml>{body}</xml>"


class Push:
    """The query and the body of a push. A test may change both before it sends them."""

    def __init__(self, account, fields, mode=None, key=None, app_id=None, token=None, timestamp=None):
        mode = mode or account.encryption_mode
        token = token or account.webhook_token
        self.account = account
        self.key = key or account.encoding_aes_key
        self.xml = fields if isinstance(fields, str) else to_xml(fields)
        self.query = {"timestamp": str(timestamp or int(time.time())), "nonce": str(next(_nonces))}
        self.query["signature"] = sign(token, self.query["timestamp"], self.query["nonce"])
        self.headers = {"Content-Type": "text/xml"}
        self.crypto = None
        if mode == "plain":
            self.body = self.xml
            return
        self.crypto = WeChatCrypto(token, self.key, app_id or account.app_id)
        envelope = self.crypto.encrypt_message(self.xml, self.query["nonce"], self.query["timestamp"])
        encrypt = xmltodict.parse(envelope)["xml"]["Encrypt"]
        self.query["encrypt_type"] = "aes"
        self.query["msg_signature"] = sign(token, self.query["timestamp"], self.query["nonce"], encrypt)
        outer = {"ToUserName": account.original_id or "gh_unknown", "Encrypt": encrypt}
        if mode == "compatible":
            outer = {**(xmltodict.parse(fields)["xml"] if isinstance(fields, str) else fields), "Encrypt": encrypt}
        self.body = to_xml(outer)

    def read_reply(self, text):
        """Return the fields of a passive reply."""
        fields = xmltodict.parse(text)["xml"]
        if self.crypto:
            fields = xmltodict.parse(
                self.crypto.decrypt_message(text, fields["MsgSignature"], fields["TimeStamp"], fields["Nonce"])
            )["xml"]
        return fields


@tagged("post_install", "-at_install", "wechat")
class WechatPushCase(WechatHttpBase):
    """Send pushes through the real route."""

    def _get_url(self, account):
        return f"/wechat/merchant/{account.webhook_key}"

    def _send(self, push, url=None):
        """Send a push and return its Answer."""
        body = push.body.encode() if isinstance(push.body, str) else push.body
        response = self.url_open(
            url or self._get_url(push.account), data=body, params=push.query, headers=push.headers, method="POST"
        )
        self.env.invalidate_all()
        text = response.content.decode()
        is_reply = response.status_code == 200 and text.startswith("<xml>")
        return Answer(response.status_code, text, push.read_reply(text) if is_reply else {}, response.headers)

    def _event_fields(self, event, openid, create_time=SCAN_TIME, account=None, **fields):
        return {
            "ToUserName": (account or self.account).original_id or "gh_learnt",
            "FromUserName": openid,
            "CreateTime": create_time,
            "MsgType": "event",
            "Event": event,
            **fields,
        }

    def _push_event(self, event, openid, create_time=SCAN_TIME, account=None, push_options=None, **fields):
        account = account or self.account
        fields = self._event_fields(event, openid, create_time, account, **fields)
        return self._send(Push(account, fields, **(push_options or {})))

    def _push_scan(self, code, openid, create_time=None, **kwargs):
        """Push the scan of a code by a follower."""
        kwargs = {"EventKey": code.scene_str, "Ticket": code.ticket, **kwargs}
        return self._push_event("SCAN", openid, create_time or int(time.time()), **kwargs)

    def _push_subscribe(self, openid, scene="", create_time=None, **kwargs):
        """Push that an OpenID follows the account, by a scan if there is a scene."""
        key = {"EventKey": f"qrscene_{scene}", "Ticket": "ticket=="} if scene else {"EventKey": ""}
        return self._push_event("subscribe", openid, create_time or int(time.time()), **key, **kwargs)

    def _push_unsubscribe(self, openid, create_time=None, **kwargs):
        """Push that an OpenID unfollows the account."""
        return self._push_event("unsubscribe", openid, create_time or int(time.time()), EventKey="", **kwargs)

    def _push_text(self, openid, content="你好", msg_id=24_000_000_000_000_000, account=None, **kwargs):
        """Push a text that an OpenID writes to the account."""
        account = account or self.account
        return self._send(
            Push(
                account,
                {
                    "ToUserName": account.original_id,
                    "FromUserName": openid,
                    "CreateTime": int(time.time()),
                    "MsgType": "text",
                    "Content": content,
                    "MsgId": msg_id,
                },
                **kwargs,
            )
        )

    def _get_events(self, account=None):
        return self.env["wechat.event"].search([("account_id", "=", (account or self.account).id)], order="id")

    # === ASSERTIONS === #

    def assertReply(self, answer, *texts, to=None, account=None):
        """Check that a push was answered with a text reply that contains these texts."""
        self.assertEqual((answer.status, answer.reply.get("MsgType")), (200, "text"), f"Answer: {answer}")
        for text in texts:
            self.assertIn(text, answer.reply["Content"])
        self.assertEqual(answer.reply["FromUserName"], (account or self.account).original_id)
        if to:
            self.assertEqual(answer.reply["ToUserName"], to)

    def assertSilent(self, answer):
        """Check that a push was acknowledged without a reply."""
        self.assertEqual((answer.status, answer.body), (200, "success"), f"Answer: {answer}")

    def assertForbidden(self, answer):
        """Check that a push was refused."""
        self.assertEqual(answer.status, 403, f"Answer: {answer}")
