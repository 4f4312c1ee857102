import contextlib
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import requests

from ...tools import wechat_errors, wechat_http
from ...tools.wechat_api import WechatClient
from .test_common import (
    OPENID,
    PATH,
    SECRET,
    TOKEN,
    ClientCase,
    answer,
    free_port,
    gibberish,
    hang,
    hang_up,
    open_tunnel_and_hang_up,
    reset,
    stop_halfway,
    wrong_chunks,
)


class TestCalls(ClientCase):
    def test_stable_token(self):
        server = self.serve(answer({"access_token": TOKEN, "expires_in": 7200}))
        self.assertEqual(WechatClient(server.url).stable_token("wx1", SECRET), (TOKEN, 7200))
        [(method, path, body, headers)] = server.calls
        self.assertEqual((method, path), ("POST", "/cgi-bin/stable_token"))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(
            json.loads(body),
            {"grant_type": "client_credential", "appid": "wx1", "secret": SECRET, "force_refresh": False},
        )

    def test_create_qr_code(self):
        code = {"ticket": "gQ/+==", "url": "http://weixin.qq.com/q/1", "expire_seconds": 60}
        server = self.serve(answer({**code, "more": 1}))
        self.assertEqual(WechatClient(server.url).create_qr_code(TOKEN, "mb_1", 60), code)
        [(method, path, body, _headers)] = server.calls
        self.assertEqual((method, path), ("POST", f"/cgi-bin/qrcode/create?access_token={TOKEN}"))
        self.assertEqual(
            json.loads(body),
            {
                "expire_seconds": 60,
                "action_name": "QR_STR_SCENE",
                "action_info": {"scene": {"scene_str": "mb_1"}},
            },
        )

    def test_reading_calls(self):
        for call, path, body, result in (
            (
                lambda client: client.get_all_private_template(TOKEN),
                "/cgi-bin/template/get_all_private_template",
                {"template_list": [{"template_id": "t", "title": "订单"}]},
                [{"template_id": "t", "title": "订单"}],
            ),
            (
                lambda client: client.user_info(TOKEN, OPENID),
                "/cgi-bin/user/info",
                {"subscribe": 0, "openid": OPENID},
                {"subscribe": 0, "openid": OPENID},
            ),
            (
                lambda client: client.get_callback_ips(TOKEN),
                "/cgi-bin/getcallbackip",
                {"ip_list": ["1.2.3.4"]},
                ["1.2.3.4"],
            ),
        ):
            with self.subTest(path):
                server = self.serve(answer(body))
                self.assertEqual(call(WechatClient(server.url)), result)
                [(method, url, sent, _headers)] = server.calls
                self.assertEqual((method, urlsplit(url).path, sent), ("GET", path, b""))
                query = {"access_token": [TOKEN]} | ({"openid": [OPENID]} if "user" in path else {})
                self.assertEqual(parse_qs(urlsplit(url).query), query)

    def test_batchget_user_info(self):
        gone, other = "oGone", "oOther"
        infos = [{"subscribe": 1, "openid": OPENID}, {"subscribe": 0, "openid": gone}]
        server = self.serve(answer({"user_info_list": [*infos, {"subscribe": 1, "openid": "oStranger"}]}))
        self.assertEqual(
            WechatClient(server.url).batchget_user_info(TOKEN, [OPENID, gone, other]),
            {OPENID: infos[0], gone: infos[1]},
            "Neither missing nor unrequested users",
        )
        [(method, path, body, _headers)] = server.calls
        self.assertEqual((method, path), ("POST", f"/cgi-bin/user/info/batchget?access_token={TOKEN}"))
        self.assertEqual(json.loads(body), {"user_list": [{"openid": openid} for openid in (OPENID, gone, other)]})

    def test_change_openids(self):
        gone, other = "oGone", "oOther"
        results = [
            {"ori_openid": OPENID, "new_openid": "oNew", "err_msg": "ok"},
            {"ori_openid": gone, "err_msg": f"ori_openid error: {gone}"},
            {"ori_openid": "oStranger", "new_openid": "oX", "err_msg": "ok"},
        ]
        server = self.serve(answer({"errcode": 0, "errmsg": "ok", "result_list": results}))
        self.assertEqual(
            WechatClient(server.url).change_openids(TOKEN, "wx1", [OPENID, gone, other]),
            {OPENID: ("oNew", "ok"), gone: (None, "ori_openid error: ***")},
            "Neither missing nor unrequested users, and no OpenID in a reason",
        )
        [(method, path, body, _headers)] = server.calls
        self.assertEqual((method, path), ("POST", f"/cgi-bin/changeopenid?access_token={TOKEN}"))
        self.assertEqual(json.loads(body), {"from_appid": "wx1", "openid_list": [OPENID, gone, other]})

    def test_incomplete_translations(self):
        for results in (None, {}, [None], [{}], [{"ori_openid": OPENID, "err_msg": "ok"}]):
            server = self.serve(answer({"errcode": 0, "result_list": results}))
            with self.subTest(results), self.assertRaises(wechat_errors.WechatAmbiguous):
                WechatClient(server.url).change_openids(TOKEN, "wx1", [OPENID])

    def test_echoed_openids_of_a_translation_are_hidden(self):
        server = self.serve(answer({"errcode": 40003, "errmsg": f"invalid openid hint: [{OPENID}] rid: 1-2"}))
        with self.assertRaises(wechat_errors.WechatUnreachable) as caught:
            WechatClient(server.url).change_openids(TOKEN, "wx1", ["oOther", OPENID])
        self.assertEqual(caught.exception.errmsg, "invalid openid hint: [***] rid: 1-2")

    def test_number_of_a_message(self):
        for body, msgid in (
            ({"errcode": 0, "errmsg": "ok", "msgid": 3717005636572528642}, "3717005636572528642"),
            ({"errcode": 0, "errmsg": "ok", "msgid": "3717005636572528642"}, "3717005636572528642"),
            ({"errcode": 0, "errmsg": "ok", "msgid": 0}, None),
            ({"errcode": 0, "errmsg": "ok", "msgid": "000"}, None),
            ({"errcode": 0, "errmsg": "ok", "msgid": -1}, None),
            ({"errcode": 0, "errmsg": "ok", "msgid": "9" * 21}, None),
            ({"errcode": 45065, "errmsg": "clientmsgid exist", "msg_id": 3717005636572528642}, "3717005636572528642"),
            ({"errcode": "45065", "errmsg": "clientmsgid exist", "msg_id": "42"}, "42"),
        ):
            with self.subTest(body):
                server = self.serve(answer(body))
                self.assertEqual(WechatClient(server.url).send_template(TOKEN, {}), {"msgid": msgid})

    def test_malformed_earlier_number_is_ignored(self):
        """A number with another error code is ignored too."""
        for body in ({"errcode": 45065}, {"errcode": 45065, "msg_id": 0}, {"errcode": 40241, "msg_id": 42}):
            with self.subTest(body), self.assertRaises(wechat_errors.WechatRepeated):
                WechatClient(self.serve(answer(body)).url).send_template(TOKEN, {})

    def test_incomplete_batches(self):
        for users in (
            None,
            {},
            [None],
            [{}],
            [{"openid": OPENID}],
            [{"subscribe": 1}],
            [{"subscribe": 1, "openid": 1}],
        ):
            server = self.serve(answer({"user_info_list": users}))
            with self.subTest(users), self.assertRaises(wechat_errors.WechatAmbiguous):
                WechatClient(server.url).batchget_user_info(TOKEN, [OPENID])

    def test_incomplete_answers(self):
        for call, complete in (
            (lambda client: client.stable_token("wx1", SECRET), {"access_token": TOKEN, "expires_in": 7200}),
            (
                lambda client: client.create_qr_code(TOKEN, "mb_1", 60),
                {"ticket": "t", "url": "http://weixin.qq.com/q/1", "expire_seconds": 60},
            ),
            (lambda client: client.get_all_private_template(TOKEN), {"template_list": []}),
            (lambda client: client.user_info(TOKEN, OPENID), {"subscribe": 1}),
            (lambda client: client.get_callback_ips(TOKEN), {"ip_list": []}),
        ):
            call(WechatClient(self.serve(answer(complete)).url))
            for key in complete:
                for broken in ({}, {key: None}, {key: ""}, {key: {"a": 1}}):
                    body = {name: value for name, value in complete.items() if name != key} | broken
                    with self.subTest(body=body), self.assertRaises(wechat_errors.WechatAmbiguous) as caught:
                        call(WechatClient(self.serve(answer(body)).url))
                    self.assertIn(key, str(caught.exception))
                    self.assertNotIn(TOKEN, str(caught.exception))

    def test_success(self):
        for body in ({"errcode": 0, "errmsg": "ok", "msgid": 3717005636572528642}, {"errcode": "0"}, {}):
            with self.subTest(body):
                server = self.serve(answer(body))
                self.assertEqual(WechatClient(server.url).call("POST", PATH, TOKEN, payload={}), body)

    def test_json_is_raw_utf8(self):
        server = self.serve(answer({}))
        WechatClient(server.url).call("POST", PATH, payload={"value": "茶庄🍵"})
        self.assertIn("茶庄🍵".encode(), server.calls[0][2])

    def test_base_url_with_path(self):
        server = self.serve(answer({}))
        WechatClient(server.url + "/proxy").call("GET", PATH, "a&b=c/+ ")
        self.assertEqual(urlsplit(server.calls[0][1]).path, "/proxy" + PATH)
        self.assertEqual(parse_qs(urlsplit(server.calls[0][1]).query), {"access_token": ["a&b=c/+ "]})

    def test_connection_is_kept_and_shared(self):
        server = self.serve(answer({}, Set_Cookie="a=b"), answer({"errcode": 40001}), answer(b"", 502), answer({}))
        client = WechatClient(server.url)
        client.call("GET", PATH)
        self.assertFails(client, wechat_errors.WechatTokenStale)
        self.assertFails(client, wechat_errors.WechatAmbiguous)
        WechatClient(server.url).call("GET", PATH)
        self.assertEqual((len(server.calls), server.connections), (4, 1))
        self.assertEqual([headers["Cookie"] for *_call, headers in server.calls], [None] * 4)
        with patch.object(wechat_http.os, "getpid", return_value=-1):
            WechatClient(server.url).call("GET", PATH)
        self.assertEqual(server.connections, 2)

    def test_threads_share_connections(self):
        barrier = threading.Barrier(32)

        def answer_together(handler):
            barrier.wait(10)
            answer({})(handler)

        server = self.serve(answer_together)
        client = WechatClient(server.url)
        with ThreadPoolExecutor(32) as pool:
            for _i in range(2):
                self.assertEqual(list(pool.map(lambda _n: client.call("GET", PATH), range(32))), [{}] * 32)
        self.assertEqual(server.connections, 32)

    def test_closed_idle_connection_is_replaced(self):
        def answer_and_close(handler):
            answer({})(handler)
            handler.close_connection = True

        server = self.serve(answer_and_close)
        client = WechatClient(server.url)
        for _i in range(3):
            client.call("GET", PATH)
            self.assertTrue(server.closed.acquire(timeout=10))
        self.assertEqual((len(server.calls), server.connections), (3, 3))


class TestFailures(ClientCase):
    def test_errcode(self):
        for errcode, exception_class in (
            (40001, wechat_errors.WechatTokenStale),
            ("40001", wechat_errors.WechatTokenStale),
            (43004, wechat_errors.WechatUnreachable),
            (-1, wechat_errors.WechatAmbiguous),
            ("x", wechat_errors.WechatAmbiguous),
            (43999, wechat_errors.WechatUnknown),
        ):
            server = self.serve(answer({"errcode": errcode, "errmsg": "a hint rid: 5f-1a"}))
            error = self.assertFails(WechatClient(server.url), exception_class)
            self.assertEqual(error.rid, "5f-1a")
            self.assertIn("a hint", error.errmsg)

    def test_echoed_secrets_are_hidden(self):
        server = self.serve(answer({"errcode": 40003, "errmsg": f"bad {TOKEN} {SECRET} {OPENID} rid: 1-2"}))
        error = self.assertFails(WechatClient(server.url), wechat_errors.WechatUnreachable)
        self.assertEqual(error.errmsg, "bad *** *** *** rid: 1-2")

    def test_echoed_openids_of_a_batch_are_hidden(self):
        server = self.serve(answer({"errcode": 40003, "errmsg": f"invalid openid hint: [{OPENID}] rid: 1-2"}))
        with self.assertRaises(wechat_errors.WechatUnreachable) as caught:
            WechatClient(server.url).batchget_user_info(TOKEN, ["oOther", OPENID])
        self.assertEqual(caught.exception.errmsg, "invalid openid hint: [***] rid: 1-2")

    def test_foreign_answers_are_ambiguous(self):
        """A written request may have been processed, so it is not repeated at the backup host."""
        for name, respond in {
            "HTML": answer(b"<html>maintenance</html>"),
            "empty": answer(b""),
            "list": answer([]),
            "number": answer(b"0"),
            "null": answer(b"null"),
            "half JSON": answer(b'{"errcode":0'),
            "deep JSON": answer(b'{"a":' * 100_000),
            "not UTF-8": answer(b'{"errmsg":"\xff"}'),
            "endless number": answer(b'{"errcode":' + b"9" * 10_000 + b"}"),
            "redirect": answer({"errcode": 0}, 302, Location="http://127.0.0.1:9/"),
            "redirect to nowhere": answer({"errcode": 0}, 307, Location="http://"),
            "redirect to half an address": answer({"errcode": 0}, 307, Location="http://["),
            "redirect to another scheme": answer({"errcode": 0}, 301, Location="ftp://127.0.0.1/"),
            "404": answer({"errcode": 0}, 404),
            "500": answer({"errcode": 0}, 500),
            "502": answer(b"<html>Bad Gateway</html>", 502),
            "204": answer(b"", 204),
            "broken compression": answer(b"no gzip", Content_Encoding="gzip"),
            "too long": answer(b'{"errcode":0,"errmsg":"' + b"a" * wechat_http.MAX_RESPONSE_BYTES + b'"}'),
            "no answer": hang,
            "hung up": hang_up,
            "reset": reset,
            "half": stop_halfway,
            "wrong chunks": wrong_chunks,
            "too many headers": answer({}, **{f"X_{number}": "a" for number in range(200)}),
            "gibberish": gibberish,
        }.items():
            with self.subTest(name):
                server, backup = self.serve(respond), self.serve(answer({}))
                client = WechatClient(server.url, backup.url, timeout=(5, 0.5 if name == "no answer" else 10))
                self.assertFails(client, wechat_errors.WechatAmbiguous)
                self.assertEqual((len(server.calls), len(backup.calls)), (1, 0))

    def test_redirect_with_a_session_of_the_caller(self):
        target = self.serve(answer({}))
        server = self.serve(answer({}, 302, Location=target.url))
        self.assertFails(WechatClient(server.url, session=requests.Session()), wechat_errors.WechatAmbiguous)
        self.assertEqual(target.calls, [])

    def test_endless_answer_is_not_read(self):
        for status in (200, 302, 502):
            with self.subTest(status):
                self._test_endless_answer(status)

    def _test_endless_answer(self, status):
        sent = []

        def endless(handler):
            handler.send_response(status)
            handler.send_header("Location", "/")
            handler.end_headers()
            handler.close_connection = True
            with contextlib.suppress(OSError):
                while len(sent) < 1000:
                    handler.wfile.write(b" " * 100_000)
                    sent.append(1)

        server = self.serve(endless)
        self.assertFails(WechatClient(server.url), wechat_errors.WechatAmbiguous)
        self.assertLess(len(sent), 500)

    def test_backup_host(self):
        backup = self.serve(answer({"errcode": 0}))
        client = WechatClient(f"http://127.0.0.1:{free_port()}", backup.url)
        self.assertEqual(client.call("POST", PATH, TOKEN, payload={"a": 1}), {"errcode": 0})
        self.assertEqual(
            [(method, path, body) for method, path, body, _headers in backup.calls],
            [("POST", f"{PATH}?access_token={TOKEN}", b'{"a": 1}')],
        )

    def test_no_backup_after_an_answer(self):
        server, backup = self.serve(answer({"errcode": 45009})), self.serve(answer({}))
        self.assertFails(WechatClient(server.url, backup.url), wechat_errors.WechatPaused)
        self.assertEqual(backup.calls, [])

    def test_failures_of_the_backup_host(self):
        refused = f"http://127.0.0.1:{free_port()}"
        error = self.assertFails(WechatClient(refused, refused), wechat_errors.WechatNotSent)
        self.assertIn("Connection refused", str(error))
        backup = self.serve(hang_up)
        self.assertFails(WechatClient(refused, backup.url), wechat_errors.WechatAmbiguous)
        self.assertEqual(len(backup.calls), 1)

    def test_not_sent(self):
        for name, url in {
            "refused": f"http://127.0.0.1:{free_port()}",
            "port": "http://127.0.0.1:99999",
            "scheme": "ftp://127.0.0.1",
            "host": "http://127.0.0.1.%%%",
        }.items():
            with self.subTest(name):
                self.assertFails(WechatClient(url), wechat_errors.WechatNotSent)

    def test_connect_timeout(self):
        # A full backlog leaves the SYN unanswered.
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _i in range(2):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.assertFails(WechatClient(url, timeout=(0.3, 10)), wechat_errors.WechatNotSent)

    def test_proxy(self):
        refused = f"http://127.0.0.1:{free_port()}"
        gateway = self.serve(answer(b"<html>Forbidden</html>", 403))
        tunnel = self.serve(open_tunnel_and_hang_up)
        for name, proxy in {
            "refused": refused,
            "malformed": "http://",
            "forbidden": gateway.url,
            "no host behind it": tunnel.url,
        }.items():
            with self.subTest(name), patch.dict(os.environ, {"no_proxy": "example.com", "https_proxy": proxy}):
                self.assertFails(WechatClient("https://127.0.0.1:9"), wechat_errors.WechatNotSent)
        with patch.dict(os.environ, {"no_proxy": "example.com", "http_proxy": gateway.url}):
            self.assertFails(WechatClient("http://127.0.0.1:9"), wechat_errors.WechatAmbiguous)


class TestDefaultHosts(ClientCase):
    @classmethod
    def _request_handler(cls, s, r, /, **kw):
        cls.hosts.append(urlsplit(r.url).netloc)
        raise requests.exceptions.ConnectTimeout()

    def test_backup_of_wechat(self):
        for base_url, hosts in (
            ("https://api.weixin.qq.com", ["api.weixin.qq.com", "api2.weixin.qq.com"]),
            ("https://sh.api.weixin.qq.com", ["sh.api.weixin.qq.com"]),
            ("https://wechat.example.com", ["wechat.example.com"]),
        ):
            type(self).hosts = []
            self.assertFails(WechatClient(base_url), wechat_errors.WechatNotSent)
            self.assertEqual(self.hosts, hosts)
