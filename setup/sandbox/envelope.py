"""The bytes of a push and of its answer: XML, the three encryption modes, and the judgement of a passive reply."""

import re
import secrets
import time
import xml.etree.ElementTree as ElementTree  # nosec B405  # the other end is the developer's own server
from urllib.parse import urlencode

from crypto import CryptoError, aes_key, decrypt, encrypt, signature
from state import Account

# Fields that WeChat writes as bare numbers, not as CDATA.
NUMBERS = {"CreateTime", "MsgId", "MsgID", "Latitude", "Longitude", "Precision", "ExpiredTime", "FailTime"}
REPLY_TYPES = {"text", "image", "voice", "video", "music", "news", "transfer_customer_service"}
# The events that may be answered with a message, in lower case, for WeChat has been seen to write `scan`.
ANSWERABLE_EVENTS = {"subscribe", "scan", "click"}
REPLY_BYTES = 2048
NONCE_DIGITS = 10


class BadReply(Exception):
    """WeChat would count this answer as a failure."""


def render(fields) -> str:
    """Write fields, [(name, value)], as WeChat's XML."""
    parts = ["<xml>"]
    for name, value in fields:
        text = str(value)
        if name in NUMBERS and re.fullmatch(r"-?[\d.]+", text):
            parts.append(f"<{name}>{text}</{name}>")
        else:
            parts.append(f"<{name}><![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]></{name}>")
    parts.append("</xml>")
    return "\n".join(parts)


def url_signature(account: Account, timestamp: int | None = None) -> dict:
    """The signed part of every call to the server's URL."""
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    nonce = str(secrets.randbelow(10**NONCE_DIGITS))
    return {"signature": signature(account.token, stamp, nonce), "timestamp": stamp, "nonce": nonce}


def with_query(url: str, query: dict) -> str:
    """Append a query to a URL that may have one already."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def seal(account: Account, xml: str, openid: str, mode: str, timestamp: int | None = None) -> tuple[str, bytes]:
    """Return the full URL and the body of one push attempt.

    :param xml: the plain message
    :param mode: plain, compatible (plain fields and Encrypt) or safe (only ToUserName and Encrypt)
    """
    query = {**url_signature(account, timestamp), "openid": openid}
    if mode == "plain":
        return with_query(account.webhook_url, query), xml.encode()
    sealed = encrypt(xml.encode(), aes_key(account.encoding_aes_key), account.app_id)
    query["encrypt_type"] = "aes"
    query["msg_signature"] = signature(account.token, query["timestamp"], query["nonce"], sealed)
    envelope = f"<Encrypt><![CDATA[{sealed}]]></Encrypt>\n</xml>"
    if mode == "compatible":
        body = xml.rpartition("</xml>")[0] + envelope
    else:
        body = f"<xml>\n<ToUserName><![CDATA[{account.original_id}]]></ToUserName>\n{envelope}"
    return with_query(account.webhook_url, query), body.encode()


def parse(body: bytes | str) -> dict:
    """Read the first level of an XML document as {tag: text}.

    :raises BadReply: not an <xml> document
    """
    try:
        root = ElementTree.fromstring(body)  # nosec B314  # see the import
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadReply(f"not XML: {error}") from error
    if root.tag != "xml":
        raise BadReply(f"the root is <{root.tag}>, not <xml>")
    return {child.tag: child.text or "" for child in root}


def pushed_fields(xml: str) -> dict:
    """Read a push that was given as raw text; empty when it is none of WeChat's documents."""
    try:
        return parse(xml)
    except BadReply:
        return {}


def open_reply(account: Account, mode: str, body: bytes) -> dict:
    """Return the fields of a reply, decrypted when it is sealed.

    :raises BadReply: a plain reply in safe mode, a sealed one in plain mode, a wrong signature, key or app id
    """
    fields = parse(body)
    if "Encrypt" not in fields:
        if mode == "safe":
            raise BadReply("safe mode: the reply must be encrypted")
        return fields
    if mode == "plain":
        raise BadReply("plain mode: the reply must not be encrypted")
    for name in ("MsgSignature", "TimeStamp", "Nonce"):
        if not fields.get(name):
            raise BadReply(f"the encrypted reply has no {name}")
    expected = signature(account.token, fields["TimeStamp"], fields["Nonce"], fields["Encrypt"])
    if fields["MsgSignature"] != expected:
        raise BadReply("the reply's MsgSignature is wrong")
    try:
        plain = decrypt(fields["Encrypt"], aes_key(account.encoding_aes_key), account.app_id)
    except CryptoError as error:
        raise BadReply(f"the reply cannot be decrypted: {error}") from error
    return parse(plain)


def read_reply(account: Account, mode: str, openid: str, pushed: dict, body: bytes) -> dict | None:
    """Judge the body of a 200 answer: None for "received, no reply", else {type, text} of the passive reply.

    A message of a follower may be answered with any reply, `subscribe`, `SCAN` and `CLICK` with all but the transfer
    to human customer service; every other event (`unsubscribe`, receipts, ...) only with `success` or nothing.

    :param pushed: the fields of the push that is answered, {name: value}
    :raises BadReply: anything else; WeChat counts it as 回应失败
    """
    if body in (b"", b"success"):
        return None
    is_event = pushed.get("MsgType") == "event"
    event = str(pushed.get("Event", ""))
    if not pushed.get("MsgType") or (is_event and event.lower() not in ANSWERABLE_EVENTS):
        raise BadReply(f"a push of {event or 'no known type'} may only be answered with success")
    fields = open_reply(account, mode, body)
    if fields.get("ToUserName") != openid:
        raise BadReply("the reply's ToUserName is not the follower's OpenID")
    if fields.get("FromUserName") != account.original_id:
        raise BadReply("the reply's FromUserName is not the account's original id (gh_...)")
    if not re.fullmatch(r"\d{1,11}", fields.get("CreateTime", "")):
        raise BadReply("the reply's CreateTime is not a number")
    kind = fields.get("MsgType", "")
    if kind not in REPLY_TYPES:
        raise BadReply(f"the reply's MsgType {kind!r} is unknown")
    if is_event and kind == "transfer_customer_service":
        raise BadReply("only a message, never an event, can be transferred to customer service")
    text = fields.get("Content", "")
    if kind == "text" and not text.strip():
        raise BadReply("the text reply has no Content")
    if len(text.encode()) > REPLY_BYTES:
        raise BadReply(f"the reply's Content has more than {REPLY_BYTES} bytes")
    return {"type": kind, "text": text}
