import contextlib
import os
import random
import tempfile
import threading
import time

from lxml import etree

from odoo.tests import BaseCase, tagged

from ...tools import wechat_xml
from ...tools.wechat_crypto import Encrypted
from ...tools.wechat_xml import WechatXmlError

SCAN = b"""<xml><ToUserName><![CDATA[gh_1]]></ToUserName>
<FromUserName><![CDATA[oPenId]]></FromUserName>
<CreateTime>123456789</CreateTime>
<MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[subscribe]]></Event>
<EventKey><![CDATA[qrscene_mb_1]]></EventKey>
<Ticket><![CDATA[TICKET]]></Ticket>
</xml>"""

ENTITIES = "".join(
    f'<!ENTITY {name} "{f"&{former};" * 10}">' for former, name in zip("abcdefghi", "bcdefghij", strict=True)
)
BOMB = f'<!DOCTYPE xml [<!ENTITY a "aaaaaaaaaa">{ENTITIES}]><xml><A>&j;</A><B c="&j;"/></xml>'


@tagged("post_install", "-at_install", "wechat_tools")
class TestParse(BaseCase):
    def test_push(self):
        self.assertEqual(
            wechat_xml.parse(SCAN),
            {
                "ToUserName": "gh_1",
                "FromUserName": "oPenId",
                "CreateTime": "123456789",
                "MsgType": "event",
                "Event": "subscribe",
                "EventKey": "qrscene_mb_1",
                "Ticket": "TICKET",
            },
        )

    def test_text_is_kept_as_it_is(self):
        for xml, text in (
            ("<A/>", ""),
            ("<A></A>", ""),
            ("<A><![CDATA[]]></A>", ""),
            ("<A> 0 </A>", " 0 "),
            ("<A>1 &lt; 2 &amp;&amp; &#x4E2D;</A>", "1 < 2 && 中"),
            ("<A><![CDATA[<!DOCTYPE a [<!ENTITY b 'c'>]>&b;]]></A>", "<!DOCTYPE a [<!ENTITY b 'c'>]>&b;"),
            ("<A>a<!-- no -->b<?no?>c</A>", "abc"),
            ("<A>茶庄🍵</A>", "茶庄🍵"),
            ('<A b="c">d</A>', "d"),
        ):
            with self.subTest(xml):
                self.assertEqual(wechat_xml.parse(f"<xml>{xml}</xml>".encode()), {"A": text})

    def test_characters_that_xml_forbids_are_dropped(self):
        """WeChat forwards such characters from users' texts."""
        allowed = "\t\n 商🍵\x7f\x85\ufffd"
        forbidden = [*range(0x20), 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFFFE, 0xFFFF]
        for character in (chr(code) for code in forbidden if chr(code) not in "\t\n\r"):
            xml = f"<xml><A><![CDATA[{character}好{character}\x02{allowed}]]></A><B>1{character}</B></xml>"
            with self.subTest(repr(character)):
                fields = wechat_xml.parse(xml.encode("utf-8", "surrogatepass"))
                self.assertEqual(fields, {"A": f"好{allowed}", "B": "1"})

    def test_carriage_return_is_a_line_break(self):
        self.assertEqual(wechat_xml.parse(b"<xml><A>a\r\nb\rc</A></xml>"), {"A": "a\nb\nc"})

    def test_declared_encoding_does_not_count(self):
        body = '<?xml version="1.0" encoding="gbk"?><xml><A>商家</A></xml>'.encode()
        self.assertEqual(wechat_xml.parse(body), {"A": "商家"})

    def test_nested_fields_are_serialised(self):
        inner = "<ScanType>qrcode</ScanType>\n<ScanResult>a&amp;b</ScanResult>"
        body = f"<xml><ScanCodeInfo>{inner}</ScanCodeInfo><B>1</B></xml>".encode()
        self.assertEqual(wechat_xml.parse(body), {"ScanCodeInfo": inner, "B": "1"})

    def test_refused(self):
        for name, body in {
            "empty": b"",
            "blank": b" \n",
            "NUL": b"\0",
            "referenced control character": b"<xml><A>&#8;</A></xml>",
            "JSON": b'{"ToUserName": "gh_1"}',
            "form": b"ToUserName=gh_1",
            "HTML": b"<html><body>",
            "another root": b"<yml><A>1</A></yml>",
            "another case": b"<XML><A>1</A></XML>",
            "namespace": b'<xml xmlns="urn:a"><A>1</A></xml>',
            "not closed": b"<xml><A>1</A>",
            "something after it": b"<xml><A>1</A></xml><xml/>",
            "unknown entity": b"<xml><A>&nbsp;</A></xml>",
            "not UTF-8": "<xml><A>商家</A></xml>".encode("gbk"),
            "GBK, declared": '<?xml version="1.0" encoding="gbk"?><xml><A>商家</A></xml>'.encode("gbk"),
            "UTF-16": "<xml><A>1</A></xml>".encode("utf-16"),
            "half a character": "<xml><A>商".encode()[:-1] + b"</A></xml>",
            "bare document type": b"<!DOCTYPE xml><xml><A>1</A></xml>",
            "external document type": b'<!DOCTYPE xml SYSTEM "file:///etc/passwd"><xml><A>1</A></xml>',
            "internal entity": b'<!DOCTYPE xml [<!ENTITY a "b">]><xml><A>&a;</A></xml>',
            "external entity": b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><A>&a;</A></xml>',
            "parameter entity": b'<!DOCTYPE xml [<!ENTITY % a SYSTEM "http://127.0.0.1:9/"> %a;]><xml><A>1</A></xml>',
            "default attribute": b'<!DOCTYPE xml [<!ATTLIST A b CDATA "c">]><xml><A>1</A></xml>',
            "field twice": b"<xml><FromUserName>a</FromUserName><FromUserName>b</FromUserName></xml>",
        }.items():
            with self.subTest(name), self.assertRaises(WechatXmlError):
                wechat_xml.parse(body)

    def test_no_file_is_opened(self):
        """The parser must not read an external DTD before the document type is refused: reading a pipe would block."""
        with tempfile.TemporaryDirectory() as folder:
            pipe = os.path.join(folder, "pipe")
            os.mkfifo(pipe)
            for doctype in (
                f'<!DOCTYPE xml SYSTEM "{pipe}">',
                f'<!DOCTYPE xml [<!ENTITY a SYSTEM "{pipe}">]>',
                f'<!DOCTYPE xml [<!ENTITY % a SYSTEM "{pipe}"> %a;]>',
            ):
                body = f"{doctype}<xml><A>&a;</A></xml>".encode()
                thread = threading.Thread(target=self.assertRaises, args=(WechatXmlError, wechat_xml.parse, body))
                thread.start()
                thread.join(5)
                opened = thread.is_alive()
                while thread.is_alive():
                    os.close(os.open(pipe, os.O_RDWR))
                    thread.join(0.1)
                self.assertFalse(opened, doctype)

    def test_bombs_are_cheap(self):
        for name, start, repeated, end in (
            ("entities", BOMB, "", ""),
            ("depth", "<xml>", "<A>", ""),
            ("balanced depth", "<xml>" + "<A>" * 9000, "</A>", "</xml>"),
            ("fields", "<xml>", "<A%d/>", "</xml>"),
            ("attributes", "<xml><A ", 'a%d="" ', "/></xml>"),
            ("namespaces", "<xml><A ", 'xmlns:a%d="b" ', "/></xml>"),
        ):
            body = start
            while repeated and len(body) < 64_000:
                body += repeated.replace("%d", str(len(body)))
            # Of this thread: others may keep the machine busy.
            started = time.thread_time()
            with self.subTest(name), contextlib.suppress(WechatXmlError):
                # The attributes are not returned.
                self.assertEqual(wechat_xml.parse((body + end).encode()), {"A": ""})
            self.assertLess(time.thread_time() - started, 2)

    def test_limits(self):
        deep = b"<xml><A><B><C/></B></A></xml>"
        self.assertEqual(wechat_xml.parse(deep, max_depth=4), {"A": "<B><C/></B>"})
        with self.assertRaises(WechatXmlError):
            wechat_xml.parse(deep, max_depth=3)
        with self.assertRaises(WechatXmlError):
            wechat_xml.parse(deep, max_bytes=len(deep) - 1)
        self.assertTrue(wechat_xml.parse(deep, max_bytes=len(deep)))
        self.assertTrue(wechat_xml.parse(b"<xml><A>" + b"a" * 65_000 + b"</A></xml>"))
        with self.assertRaises(WechatXmlError):
            wechat_xml.parse(b"<xml><A>" + b"a" * 66_000 + b"</A></xml>")
        wide = b"<xml><A/><B><C/></B></xml>"
        self.assertEqual(wechat_xml.parse(wide, max_fields=3), {"A": "", "B": "<C/>"})
        with self.assertRaises(WechatXmlError):
            wechat_xml.parse(wide, max_fields=2)

    def test_mutated_pushes(self):
        """Each input gives fields or a WechatXmlError."""
        chance = random.Random(20261122)
        outcomes = set()
        for _i in range(2000):
            body = bytearray(SCAN)
            for _j in range(chance.randint(1, 4)):
                start = chance.randrange(len(body))
                body[start : start + chance.randint(0, 3)] = chance.choice(
                    [b"", b"<", b"]]>", b"&", b"\0", b"\xff", b"<!DOCTYPE", b"</xml>", chance.randbytes(2)]
                )
            try:
                fields = wechat_xml.parse(bytes(body))
                outcomes.add(type(fields))
                self.assertTrue(all(isinstance(value, str) for value in fields.values()))
            except WechatXmlError as exc:
                outcomes.add(type(exc))
        self.assertEqual(outcomes, {dict, WechatXmlError})


@tagged("post_install", "-at_install", "wechat_tools")
class TestReplies(BaseCase):
    def test_text(self):
        self.assertEqual(
            wechat_xml.text_reply("oPenId", "gh_1", "您好！\n茶庄", 1714112445).decode(),
            "<xml><ToUserName><![CDATA[oPenId]]></ToUserName><FromUserName><![CDATA[gh_1]]></FromUserName>"
            "<CreateTime>1714112445</CreateTime><MsgType><![CDATA[text]]></MsgType>"
            "<Content><![CDATA[您好！\n茶庄]]></Content></xml>",
        )

    def test_hostile_text(self):
        for content, shown in (
            ("a]]>b", "a]]>b"),
            ("]]>", "]]>"),
            ("]]]]>><Content>x</Content>", "]]]]>><Content>x</Content>"),
            ("</Content></xml>", "</Content></xml>"),
            ("<![CDATA[x]]>&amp;", "<![CDATA[x]]>&amp;"),
            ("🍵茶👨‍👩‍👧", "🍵茶👨‍👩‍👧"),
            ("a\x00b\x08c\x1bd\ufffee\ud800f", "abcdef"),
            ("a\r\nb\rc\td", "a\nb\nc\td"),
            ("a]]>\r\nb", "a]]>\nb"),
            ("", ""),
        ):
            with self.subTest(repr(content)):
                body = wechat_xml.text_reply("o\x00]]>", "gh_1", content, 1)
                fields = {element.tag: element.text or "" for element in etree.fromstring(body)}
                self.assertEqual(
                    fields,
                    {
                        "ToUserName": "o]]>",
                        "FromUserName": "gh_1",
                        "CreateTime": "1",
                        "MsgType": "text",
                        "Content": shown,
                    },
                )

    def test_text_is_cut_between_characters(self):
        for content, shown in (
            ("a" * 2048, "a" * 2048),
            ("a" * 2049, "a" * 2048),
            ("茶" * 683, "茶" * 682),
            ("a" + "🍵" * 512, "a" + "🍵" * 511),
            ("\x00" * 10 + "a" * 2048, "a" * 2048),
        ):
            reply = wechat_xml.parse(wechat_xml.text_reply("o", "gh_1", content, 1))
            self.assertEqual(reply["Content"], shown)

    def test_transfer_customer_service(self):
        self.assertEqual(
            wechat_xml.parse(wechat_xml.transfer_customer_service("oPenId", "gh_1", 1)),
            {
                "ToUserName": "oPenId",
                "FromUserName": "gh_1",
                "CreateTime": "1",
                "MsgType": "transfer_customer_service",
            },
        )

    def test_encrypted(self):
        self.assertEqual(
            wechat_xml.encrypted_reply(Encrypted("c2VjcmV0", "0a1b", "1713424427", "n]]>")).decode(),
            "<xml><Encrypt><![CDATA[c2VjcmV0]]></Encrypt><MsgSignature><![CDATA[0a1b]]></MsgSignature>"
            "<TimeStamp>1713424427</TimeStamp><Nonce>n]]&gt;</Nonce></xml>",
        )
