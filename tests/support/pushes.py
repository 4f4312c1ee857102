"""WeChat's pushes, created by an independent SDK (wechatpy), which also parses the replies."""

import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

import requests
import xmltodict
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import WeChatSigner

# WeChat closes the connection after this many seconds. A test waits longer, to measure late answers.
WECHAT_WAITS = 5.0
GIVE_UP = 30


@dataclass(frozen=True)
class Channel:
    """The settings that WeChat's console and the developer's server share."""

    url: str
    app_id: str
    original_id: str
    token: str
    encoding_aes_key: str

    def at(self, base_url: str) -> "Channel":
        """Return the same channel to another Odoo process."""
        path = self.url.split("/", 3)[3]
        return Channel(f"{base_url}/{path}", self.app_id, self.original_id, self.token, self.encoding_aes_key)

    def crypto(self) -> WeChatCrypto:
        return WeChatCrypto(self.token, self.encoding_aes_key, self.app_id)


@dataclass
class Push:
    """The bytes of a push. Sending them again is a redelivery."""

    query: dict[str, str]
    body: bytes

    def send(self, channel: Channel, session: requests.Session | None = None) -> "Answer":
        """Deliver the push once, over a connection of its own or one of `session`."""
        started = time.monotonic()
        response = (session or requests).post(
            f"{channel.url}?{urlencode(self.query)}",
            data=self.body,
            headers={"Content-Type": "text/xml", "User-Agent": "Mozilla/4.0"},
            timeout=GIVE_UP,
        )
        return Answer(response.status_code, response.content, time.monotonic() - started, channel)


@dataclass
class Answer:
    """The developer's answer to a push."""

    status: int
    body: bytes
    seconds: float
    channel: Channel = field(repr=False)

    @property
    def reply(self) -> dict | None:
        """The passive reply's fields, decrypted by wechatpy; None for `success`."""
        if self.body in (b"", b"success"):
            return None
        envelope = xmltodict.parse(self.body)["xml"]
        text = self.channel.crypto().decrypt_message(
            self.body, envelope["MsgSignature"], envelope["TimeStamp"], envelope["Nonce"]
        )
        return xmltodict.parse(text)["xml"]

    @property
    def text(self) -> str | None:
        """The text that the follower reads, if any."""
        reply = self.reply
        return reply and reply.get("Content")


def new_openid() -> str:
    """Return an OpenID as WeChat makes them: 28 characters that begin with o."""
    return "o" + secrets.token_urlsafe(30)[:27]


def event_xml(channel: Channel, openid: str, event: str, event_key: str = "", created: int | None = None) -> str:
    """Write an event in the clear, as the platform's documentation shows it."""
    return (
        f"<xml><ToUserName><![CDATA[{channel.original_id}]]></ToUserName>"
        f"<FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{int(time.time()) if created is None else created}</CreateTime>"
        "<MsgType><![CDATA[event]]></MsgType>"
        f"<Event><![CDATA[{event}]]></Event><EventKey><![CDATA[{event_key}]]></EventKey></xml>"
    )


def receipt_xml(channel: Channel, openid: str, msgid: str, status: str = "success", created: int | None = None) -> str:
    """Write the receipt of a template message in the clear."""
    return (
        f"<xml><ToUserName><![CDATA[{channel.original_id}]]></ToUserName>"
        f"<FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{int(time.time()) if created is None else created}</CreateTime>"
        "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[TEMPLATESENDJOBFINISH]]></Event>"
        f"<MsgID>{msgid}</MsgID><Status><![CDATA[{status}]]></Status></xml>"
    )


def seal(channel: Channel, xml: str, skew: int = 0) -> Push:
    """Encrypt and sign a push in safe mode.

    :param skew: seconds by which the signing clock is behind
    """
    timestamp, nonce = str(int(time.time()) - skew), str(secrets.randbelow(10**9))
    body = channel.crypto().encrypt_message(xml, nonce, timestamp)
    signer = WeChatSigner()
    signer.add_data(channel.token, timestamp, nonce)
    query = {
        "signature": signer.signature,
        "timestamp": timestamp,
        "nonce": nonce,
        "encrypt_type": "aes",
        "msg_signature": xmltodict.parse(body)["xml"]["MsgSignature"],
    }
    return Push(query, body.encode())


def scan(channel: Channel, openid: str, scene: str, created: int | None = None, skew: int = 0) -> Push:
    """Return the push of a follower's scan."""
    return seal(channel, event_xml(channel, openid, "SCAN", scene, created), skew)
