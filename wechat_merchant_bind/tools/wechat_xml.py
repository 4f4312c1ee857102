"""XML of pushes and passive replies.

Source: WeChat's guides "接收事件推送" and "被动回复用户消息" (https://developers.weixin.qq.com/doc/subscription/guide/).
"""

import re

from lxml import etree

TEXT_REPLY_MAX_BYTES = 2048

_ILLEGAL_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class WechatXmlError(ValueError):
    """The body is not the XML of a push."""


def parse(body, max_depth=8, max_fields=200, max_bytes=64 * 1024):
    """Return the fields of a push.

    The value of a field with child elements (ScanCodeInfo) is their serialised XML. Every document type is refused:
    WeChat sends none, and the known attacks on XML parsers need one. Characters that XML forbids are dropped: WeChat
    forwards them from users' texts.

    :param bytes body: UTF-8
    :param int max_depth: levels of elements, including the root
    :param int max_fields: elements below the root, at all levels
    :param int max_bytes: length of the body; libxml2 before 2.12 takes minutes for a megabyte of attributes
    :rtype: dict[str, str]
    :raise WechatXmlError: if the body is not the XML of a push
    """
    if len(body) > max_bytes:
        raise WechatXmlError("The body is too long")
    try:
        # Decoded here, since versions of libxml2 differ in the UTF-8 that they accept.
        text = _ILLEGAL_IN_XML.sub("", body.decode("utf-8", "surrogatepass"))
        parser = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        root = etree.fromstring(text.encode(), parser)
    except (ValueError, etree.LxmlError) as exc:
        raise WechatXmlError("The body is not well-formed UTF-8 XML") from exc
    if root.getroottree().docinfo.internalDTD is not None:
        raise WechatXmlError("The body has a document type")
    if root.tag != "xml":
        raise WechatXmlError("The root element is not <xml>")
    _check_size(root, max_depth, max_fields)
    fields = {}
    for element in root:
        if element.tag in fields:
            # Two parsers could choose different values for the sender or the scene.
            raise WechatXmlError("The body has a field twice")
        fields[element.tag] = _text(element)
    return fields


def text_reply(to_openid, from_original_id, content, create_time):
    """Return the passive reply with a text.

    Characters that XML forbids are dropped, and the text is cut after WeChat's 2048 bytes.

    :param str to_openid: FromUserName of the push
    :param str from_original_id: ToUserName of the push (gh_…)
    :param str content: may hold line breaks
    :param int create_time: seconds since 1970
    :rtype: bytes
    """
    content = _legal(content).encode()[:TEXT_REPLY_MAX_BYTES].decode(errors="ignore")
    return _reply(to_openid, from_original_id, create_time, "text", Content=content)


def transfer_customer_service(to_openid, from_original_id, create_time):
    """Return the passive reply that hands the message over to the account's human customer service.

    Parameters and result are those of text_reply.
    """
    return _reply(to_openid, from_original_id, create_time, "transfer_customer_service")


def encrypted_reply(encrypted):
    """Return the envelope of a reply in safe mode.

    :param wechat_crypto.Encrypted encrypted: the reply
    :rtype: bytes
    """
    return _serialise(
        {
            "Encrypt": encrypted.encrypt,
            "MsgSignature": encrypted.msg_signature,
            "TimeStamp": int(encrypted.timestamp),
            "Nonce": encrypted.nonce,
        }
    )


def _check_size(root, max_depth, max_fields):
    depth = fields = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        fields += event == "start" and element is not root
        if depth > max_depth or fields > max_fields:
            raise WechatXmlError("The body has too many or too deeply nested fields")


def _text(element):
    text = element.text or ""
    return text + "".join(etree.tostring(child, encoding="unicode") for child in element)


def _reply(to_openid, from_original_id, create_time, msg_type, **fields):
    # The sender of the push is the recipient of the reply.
    return _serialise(
        {
            "ToUserName": to_openid,
            "FromUserName": from_original_id,
            "CreateTime": create_time,
            "MsgType": msg_type,
            **fields,
        }
    )


def _serialise(fields):
    root = etree.Element("xml")
    for name, value in fields.items():
        etree.SubElement(root, name).text = str(value) if isinstance(value, int) else _cdata(_legal(value))
    return etree.tostring(root, encoding="utf-8", xml_declaration=False)


def _cdata(text):
    # As in WeChat's samples. Only a text with "]]>" needs escaping instead.
    return text if "]]>" in text else etree.CDATA(text)


def _legal(text):
    # A parser reads a carriage return as a line feed.
    return _ILLEGAL_IN_XML.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
