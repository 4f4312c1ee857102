"""Hostile peers: at an API address that a manager was tricked into, or in the place of WeChat."""

import contextlib
import gzip
import json
import logging
import time
import tracemalloc
from unittest.mock import patch

from odoo.tests import BaseCase, tagged

from ...tools import log_secrets, wechat_errors, wechat_http
from ...tools.wechat_api import WechatClient
from .test_common import OPENID, PATH, SECRET, TOKEN, ClientCase, answer

HEAD = b"HTTP/1.1 200 OK\r\n"
DEADLINE = 0.4
# Delay of a loaded machine; the slow answers below would take minutes.
LATE = 10


def drip(start, byte):
    """The server begins an answer, and continues with single bytes until the client hangs up."""

    def respond(handler):
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.wfile.write(start)
            while not handler.server.released.wait(0.02):
                handler.wfile.write(byte)

    return respond


class TestSlowAnswers(ClientCase):
    def setUp(self):
        super().setUp()
        self.startPatcher(patch.object(wechat_http, "ANSWER_SECONDS", DEADLINE))

    def test_slow_answer_has_a_deadline(self):
        for name, start, byte in (
            ("status line", b"HTTP/1.1 200 ", b"O"),
            ("interim answers", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("headers", HEAD, b"X"),
            ("body", HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
            ("body without a length", HEAD + b"\r\n", b" "),
            ("chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            ("one chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b" "),
            ("length of a chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        ):
            with self.subTest(name):
                server, backup = self.serve(drip(start, byte)), self.serve(answer({}))
                began = time.monotonic()
                self.assertFails(WechatClient(server.url, backup.url), wechat_errors.WechatAmbiguous)
                self.assertLess(time.monotonic() - began, LATE)
                self.assertTrue(server.closed.acquire(timeout=LATE), "The client hangs up")
                self.assertEqual(backup.calls, [])

    def test_timeout_names_its_reason(self):
        server = self.serve(drip(HEAD + b"Content-Length: 100000\r\n\r\n", b" "))
        error = self.assertFails(WechatClient(server.url), wechat_errors.WechatAmbiguous)
        self.assertIn("not complete after 0.4 seconds", str(error))

    def test_each_answer_has_its_own_deadline(self):
        server = self.serve(*[answer({"errcode": 0})] * 3)
        client = WechatClient(server.url)
        for _i in range(3):
            self.assertEqual(client.call("GET", PATH), {"errcode": 0})
            time.sleep(DEADLINE / 2)
        self.assertEqual(server.connections, 1)


class TestHostileAnswers(ClientCase):
    def test_compressed_gigabyte_is_refused(self):
        packed = gzip.compress(b" " * 300_000_000)
        for encoding in ("gzip", "deflate", "gzip, gzip", "br"):
            with self.subTest(encoding):
                server = self.serve(answer(packed, Content_Encoding=encoding))
                tracemalloc.start()
                try:
                    self.assertFails(WechatClient(server.url), wechat_errors.WechatAmbiguous)
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
                self.assertLess(peak, 10_000_000)
                self.assertEqual(server.calls[0][3]["Accept-Encoding"], "identity", "No compression was requested")

    def test_compressed_answer_is_ambiguous(self):
        packed = gzip.compress(b'{"errcode":0}')
        server = self.serve(answer(packed, Content_Encoding="gzip"))
        self.assertFails(WechatClient(server.url), wechat_errors.WechatAmbiguous)

    def test_unstorable_text_is_ambiguous(self):
        for text in (rb"\u0000", rb"\ud800", rb"\udc00\ud800"):
            with self.subTest(text):
                server = self.serve(answer(b'{"errcode":40003,"errmsg":"' + text + b'"}'))
                self.assertFails(WechatClient(server.url), wechat_errors.WechatAmbiguous)
        server = self.serve(answer(rb'{"errcode":40003,"errmsg":"\ud83c\udf75"}'))
        self.assertEqual(self.assertFails(WechatClient(server.url), wechat_errors.WechatUnreachable).errmsg, "🍵")

    def test_errmsg_cannot_forge_log_lines(self):
        text = "x\r\n2026-11-24 10:32:00,000 1 ERROR db odoo: forged\x0b\x85\u2028\u202egnp.exe"
        server = self.serve(answer({"errcode": 48001, "errmsg": text}))
        error = self.assertFails(WechatClient(server.url), wechat_errors.WechatAccountError)
        self.assertEqual(error.errmsg, "x 2026-11-24 10:32:00,000 1 ERROR db odoo: forged gnp.exe")

    def test_redirects_are_not_followed(self):
        for status in (301, 302, 303, 307, 308):
            target = self.serve(answer({"access_token": "x", "expires_in": 7200}))
            server = self.serve(answer({}, status, Location=f"{target.url}{PATH}"))
            with self.subTest(status), self.assertRaises(wechat_errors.WechatAmbiguous):
                WechatClient(server.url).stable_token("wx1", SECRET)
            self.assertEqual(target.calls, [])


class TestLogs(ClientCase):
    def test_debug_log_holds_no_secret(self):
        server = self.serve(answer({"errcode": 0}), answer(b"", 502), answer({"subscribe": 1}))
        client = WechatClient(server.url)
        with self.assertLogs(level=logging.DEBUG) as captured:
            client.call("POST", PATH, TOKEN, payload={"touser": OPENID, "secret": SECRET})
            self.assertFails(client, wechat_errors.WechatAmbiguous)
            client.user_info(TOKEN, OPENID)
            self.assertFails(WechatClient("http://127.0.0.1:1"), wechat_errors.WechatNotSent)
        printed = "\n".join(captured.output)
        self.assertIn(f"{PATH}?access_token=***", printed, "urllib3 does log the address of each call")
        for secret in (TOKEN, OPENID, SECRET):
            self.assertNotIn(secret, printed)


@tagged("post_install", "-at_install", "wechat_tools")
class TestHide(BaseCase):
    def test_hide(self):
        for text, hidden in (
            ("POST /wechat/merchant/k3yk3yk3y?signature=a&openid=oX HTTP/1.1", "POST /wechat/merchant/k3yk… HTTP/1.1"),
            ("GET /wechat/merchant/k3yk3yk3y?echostr=a b?c HTTP/1.1", "GET /wechat/merchant/k3yk… HTTP/1.1"),
            ("GET /wechat/merchant/k HTTP/1.1", "GET /wechat/merchant/k… HTTP/1.1"),
            ("GET /wechat/bind/t0kent0ken/code.png HTTP/1.1", "GET /wechat/bind/t0ke…/code.png HTTP/1.1"),
            ("POST /wechat/undo/7.abcdef HTTP/1.1", "POST /wechat/undo/7.ab… HTTP/1.1"),
            ("POST /wechat/digits/AbVWEGsA HTTP/1.1", "POST /wechat/digits/AbVW… HTTP/1.1"),
            ("GET /wechat/unbind/AbVWEGsA HTTP/1.1", "GET /wechat/unbind/AbVW… HTTP/1.1"),
            ("/cgi-bin/user/info?openid=oX&access_token=T", "/cgi-bin/user/info?openid=***&access_token=***"),
            ("GET /web/login?redirect=/odoo HTTP/1.1", "GET /web/login?redirect=/odoo HTTP/1.1"),
            ("/wechat/batch/7/pictures.zip", "/wechat/batch/7/pictures.zip"),
        ):
            with self.subTest(text):
                self.assertEqual(log_secrets.hide(text), hidden)

    def test_access_log_holds_no_secret(self):
        logger = logging.getLogger("werkzeug")
        with self.assertLogs(logger, logging.INFO) as captured:
            logger.info('127.0.0.1 - - [now] "%s" %s %s', "GET /wechat/bind/t0kent0ken/state HTTP/1.1", 200, "-")
        self.assertIn('"GET /wechat/bind/t0ke…/state HTTP/1.1" 200 -', captured.output[0])

    def test_other_arguments_stay(self):
        record = logging.LogRecord("werkzeug", logging.INFO, "", 0, "%s %d %(x)s", (json, 1, None), None)
        self.assertTrue(log_secrets.filter_record(record))
        self.assertEqual(record.args, (json, 1, None))
        record.args = {"x": "/wechat/bind/t0kent0ken"}
        self.assertTrue(log_secrets.filter_record(record))
