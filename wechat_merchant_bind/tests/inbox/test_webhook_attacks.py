"""Attacks with seen pushes, with a known address, or from another account on the same server."""

import string
import time
from itertools import pairwise
from unittest.mock import patch

from odoo.tools import mute_logger

from ...controllers import webhook
from ...tools import wechat_crypto, wechat_xml
from ..common_push import Push, WechatPushCase, sign, to_xml

WEBHOOK_LOGGER = "odoo.addons.wechat_merchant_bind.controllers.webhook"
MODES = ("safe", "compatible", "plain")
FORM = "application/x-www-form-urlencoded"


class AttackCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.accounts = {
            "safe": self.account,
            "compatible": self._create_account(encryption_mode="compatible"),
            "plain": self._create_test_account(),
        }

    def _use(self, mode):
        """Make the next codes and pushes those of the account of a mode."""
        self.account = self.accounts[mode]
        for account in self.accounts.values():
            account.sequence = 1 if account == self.account else 50
        self.env.flush_all()

    def _prepare_scan(self, name="茶庄"):
        """Return a merchant without a binding, and the push of a scan that would bind it."""
        merchant = self._create_merchant(name)
        code, openid = self._make_code(merchant), self._make_openid()
        fields = self._event_fields("SCAN", openid, int(time.time()), EventKey=code.scene_str, Ticket=code.ticket)
        return merchant, openid, Push(self.account, fields)


class TestReplay(AttackCase):
    def test_a_replay_has_no_effect(self):
        """A replay after the merchant was unbound gets the stored reply and binds nothing."""
        for mode in MODES:
            with self.subTest(mode):
                self._use(mode)
                merchant, openid, push = self._prepare_scan()
                first = self._send(push)
                self.assertReply(first, "绑定成功", to=openid)
                merchant.with_user(self.manager).action_wechat_unbind("测试")
                self.env.flush_all()
                before = self._get_operations(merchant).mapped("operation"), merchant.message_ids, self._get_events()
                self.assertEqual(self._send(push).reply, first.reply)
                self.assertNotBound(merchant)
                after = self._get_operations(merchant).mapped("operation"), merchant.message_ids, self._get_events()
                self.assertEqual(after, before)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_replay_after_its_time_is_refused(self):
        for mode in MODES:
            with self.subTest(mode):
                self._use(mode)
                merchant, _openid, push = self._prepare_scan()
                later = time.time() + self.account.clock_tolerance * 60 + 5
                with patch.object(webhook.time, "time", return_value=later):
                    self.assertForbidden(self._send(push))
                self.assertNotBound(merchant)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_seen_signature_with_another_body_is_refused(self):
        for mode in MODES:
            with self.subTest(mode):
                self._use(mode)
                merchant, _openid, push = self._prepare_scan()
                seen = Push(self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"))
                self.assertSilent(self._send(seen))
                seen.body = push.body
                self.assertForbidden(self._send(seen))
                self.assertNotBound(merchant)

    @mute_logger(WEBHOOK_LOGGER)
    def test_the_signature_of_an_address_check_authenticates_no_push(self):
        """A check of the address in a log shows a valid plain signature, which authenticates no push in any mode."""
        for mode in MODES:
            with self.subTest(mode):
                self._use(mode)
                merchant, _openid, push = self._prepare_scan()
                query = {"timestamp": str(int(time.time())), "nonce": f"n{mode}"}
                query["signature"] = sign(self.account.webhook_token, query["timestamp"], query["nonce"])
                self.assertEqual(self.url_open(self._get_url(self.account), params={**query, "echostr": "1"}).text, "1")
                push.query = {**query, "encrypt_type": "aes", "msg_signature": query["signature"]}
                self.assertForbidden(self._send(push))
                del push.query["msg_signature"]
                self.assertForbidden(self._send(push))
                self.assertNotBound(merchant)


class TestCrossAccount(AttackCase):
    """The owner of one account tries to bind a merchant of another account."""

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_push_to_the_address_of_another_account_is_refused(self):
        attacker = self._create_account()
        for mode in MODES:
            self._use(mode)
            merchant, openid, _push = self._prepare_scan()
            scene = merchant.sudo().wechat_bind_code_ids.scene_str
            for claimed in (attacker, self.account):
                with self.subTest(mode=mode, claimed=claimed.name):
                    # Signed and encrypted with the attacker's own keys, the victim's IDs outside and inside.
                    fields = self._event_fields("SCAN", openid, account=claimed, EventKey=scene)
                    push = Push(attacker, fields, mode="safe", app_id=claimed.app_id)
                    self.assertForbidden(self._send(push, url=self._get_url(self.account)))
                    plain = Push(attacker, fields, mode="plain")
                    self.assertForbidden(self._send(plain, url=self._get_url(self.account)))
                    self.assertNotBound(merchant)
        self.assertFalse(self._get_events(self.accounts["safe"]))

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_code_of_another_account_is_not_bound(self):
        """The attacker's account pushes a valid scan of the victim's code."""
        attacker = self._create_account(sequence=99)
        for mode in MODES:
            with self.subTest(mode):
                self._use(mode)
                merchant, openid, _push = self._prepare_scan()
                scene = merchant.sudo().wechat_bind_code_ids.scene_str
                self._push_event("SCAN", openid, int(time.time()), account=attacker, EventKey=scene)
                self.assertNotBound(merchant)
                self.assertEqual(merchant.sudo().wechat_bind_code_ids.state, "active")

    @mute_logger(WEBHOOK_LOGGER)
    def test_shared_keys_do_not_authenticate_another_account(self):
        """Two accounts have the same Token and EncodingAESKey."""
        twin = self._create_account(
            webhook_token=self.account.webhook_token, encoding_aes_key=self.account.encoding_aes_key, sequence=99
        )
        merchant, openid, push = self._prepare_scan()
        push = Push(twin, self._event_fields("SCAN", openid, EventKey=merchant.sudo().wechat_bind_code_ids.scene_str))
        self.assertForbidden(self._send(push, url=self._get_url(self.account)))
        self.assertEqual(self._get_events().refusal, "undecipherable")
        self.assertNotBound(merchant)


class TestGuessedKeys(AttackCase):
    def _get_answers(self, method="POST", **changes):
        """Return the answers, and the steps behind them, of an unknown address and of each account's address."""
        push = Push(self._create_account(active=False), self._event_fields("VIEW", self._make_openid(), EventKey="x"))
        push.query |= changes
        urls = {mode: self._get_url(account) for mode, account in self.accounts.items()}
        urls["unknown"] = "/wechat/merchant/nobody-has-this-key"
        return {name: self._get_answer(url, method, push) for name, url in urls.items()}

    def _get_answer(self, url, method, push):
        done = []
        parse, compare = wechat_xml.parse, wechat_crypto.hmac.compare_digest

        def spy_parse(body):
            done.append("parse")
            return parse(body)

        def spy_compare(*digests):
            done.append([len(digest) for digest in digests])
            return compare(*digests)

        with (
            patch.object(wechat_xml, "parse", spy_parse),
            patch.object(wechat_crypto.hmac, "compare_digest", spy_compare),
        ):
            response = self.url_open(
                url, params=push.query, headers=push.headers, method=method, data=push.body.encode()
            )
        headers = {key: value for key, value in response.headers.items() if key != "Date"}
        return response.status_code, response.text, headers, done

    @mute_logger(WEBHOOK_LOGGER)
    def test_known_and_unknown_addresses_answer_alike(self):
        """They have the same status, body, headers and steps: one parsed body, one digest compared in constant time."""
        for method, changes, steps in (
            ("POST", {}, ["parse", [40, 40]]),
            ("POST", {"msg_signature": "0" * 40, "signature": "0" * 40}, ["parse", [40, 40]]),
            ("POST", {"encrypt_type": "raw"}, ["parse", [40, 40]]),
            ("GET", {}, [[40, 40]]),
        ):
            with self.subTest(method=method, changes=changes):
                answers = self._get_answers(method, **changes)
                self.assertEqual(answers["unknown"][0], 403)
                self.assertEqual(answers["unknown"][3], steps)
                for mode in MODES:
                    self.assertEqual(answers[mode], answers["unknown"])

    def test_no_token_signs_for_an_unknown_address(self):
        for token in ("", "False", "None", "nobody-has-this-key"):
            push = Push(self.account, self._event_fields("VIEW", self._make_openid()), token=token or None)
            if not token:
                push.query["signature"] = sign(push.query["timestamp"], push.query["nonce"])
            answer = self._send(push, url="/wechat/merchant/nobody-has-this-key")
            self.assertForbidden(answer)

    def test_authentic_pushes_pass_from_a_limited_address(self):
        """So does a check of the address, while failures from the same address stay limited."""
        forged = Push(self.account, self._event_fields("VIEW", self._make_openid()), token="strangersToken")
        with patch.object(webhook, "FAILURES_A_MINUTE", 2), patch.object(webhook.time, "monotonic", return_value=60.0):
            self.assertEqual([self._send(forged).status for _i in range(4)], [403, 403, 429, 429])
            for mode in MODES:
                self._use(mode)
                merchant, openid, push = self._prepare_scan()
                self.assertReply(self._send(push), "绑定成功", to=openid)
                self.assertBound(merchant, openid, self.account)
                self.assertEqual(self._send(push).status, 200, "Neither is a redelivery limited")
                query = {"timestamp": "1", "nonce": "2", "echostr": "3"}
                query["signature"] = sign(self.account.webhook_token, "1", "2")
                self.assertEqual(self.url_open(self._get_url(self.account), params=query).text, "3")
            self.assertEqual(self._send(forged).status, 429)


class TestRequests(AttackCase):
    """The request around an authentic push."""

    def test_the_content_type_of_a_push_does_not_matter(self):
        """Odoo would read a body that a proxy or a tool has declared a form."""
        for mode in MODES:
            self._use(mode)
            for content_type in (
                FORM,
                f"{FORM}; charset=gbk",
                "multipart/form-data; boundary=x",
                "multipart/form-data",
                "application/json",
                "text/plain; charset=utf-16",
                "",
            ):
                with self.subTest(mode=mode, content_type=content_type):
                    merchant, openid, push = self._prepare_scan()
                    push.headers = {"Content-Type": content_type}
                    self.assertReply(self._send(push), "绑定成功", to=openid)
                    self.assertBound(merchant, openid, self.account)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_form_is_no_push(self):
        for body in ("xml=%3Cxml%2F%3E&body=x", "body=" + to_xml({"MsgType": "event"})):
            push = Push(self.accounts["plain"], "<xml/>")
            push.body, push.headers = body, {"Content-Type": FORM}
            self.assertSilent(self._send(push))
        self.assertEqual(set(self._get_events(self.accounts["plain"]).mapped("refusal")), {"malformed"})

    def test_a_long_form_is_refused(self):
        push = Push(self.account, "<xml/>")
        push.body, push.headers = "a=" + "b" * webhook.MAX_BODY_BYTES, {"Content-Type": FORM}
        self.assertEqual(self._send(push).status, 413)

    def test_parameters_of_the_query_are_no_arguments(self):
        merchant, openid, push = self._prepare_scan()
        push.query |= {"webhook_key": "x", "body": "<xml/>", "_query": "x", "db": "other", "debug": "1"}
        self.assertReply(self._send(push), "绑定成功", to=openid)
        self.assertBound(merchant, openid)

    def test_a_parameter_named_self_is_refused(self):
        push = Push(self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"))
        push.query["self"] = "x"
        form = Push(self.account, "<xml/>")
        form.body, form.headers = "self=x", {"Content-Type": FORM}
        for answer in (self._send(push), self._send(form)):
            self.assertEqual(answer.status, 400)
        for url in (self._get_url(self.account), "/wechat/bind/x", "/wechat/undo/x"):
            self.assertEqual(self.url_open(f"{url}?self=x").status_code, 400)

    @mute_logger(WEBHOOK_LOGGER)
    def test_the_first_of_repeated_parameters_counts(self):
        """The signature and the other checks read the same one."""
        for name in ("timestamp", "nonce", "msg_signature", "encrypt_type"):
            merchant, openid, push = self._prepare_scan()
            right = push.query
            url = self._get_url(self.account)
            for number, (first, second) in enumerate(((None, None), ("0", right[name]), (right[name], "0"))):
                with self.subTest(name=name, first=first, second=second):
                    others = [(key, value) for key, value in right.items() if key != name]
                    push.query = others + [(name, value) for value in (first, second) if value]
                    answer = self._send(push, url=url)
                    if number < 2:
                        self.assertForbidden(answer)
                        self.assertNotBound(merchant)
                    else:
                        self.assertReply(answer, "绑定成功", to=openid)

    @mute_logger(WEBHOOK_LOGGER)
    def test_hostile_xml_is_refused(self):
        """They are signed, in the clear and inside of an envelope."""
        entities = "".join(
            f'<!ENTITY {name} "{10 * ("&" + former + ";")}">' for former, name in pairwise(string.ascii_lowercase)
        )
        bomb = f'<!DOCTYPE xml [<!ENTITY a "aaaaaaaaaa">{entities}]><xml><MsgType>&z;</MsgType></xml>'
        for name, xml in {
            "entity bomb": bomb,
            "long entity": f'<!DOCTYPE x [<!ENTITY a "{"a" * 20_000}">]><xml><MsgType>{"&a;" * 5000}</MsgType></xml>',
            "external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><MsgType>&a;</MsgType></xml>',
            "external DTD": '<!DOCTYPE xml SYSTEM "http://127.0.0.1:9/x.dtd"><xml><MsgType>event</MsgType></xml>',
            "parameter entity": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/"> %a;]><xml/>',
            "XInclude": '<xml xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="file:///etc/passwd"/></xml>',
            "deep": "<xml>" + "<a>" * 10_000 + "</a>" * 10_000 + "</xml>",
            "wide": "<xml>" + "<a/>" * 10_000 + "</xml>",
            "attributes": "<xml " + " ".join(f'a{number}=""' for number in range(6000)) + "/>",
            "namespaces": "<xml " + " ".join(f'xmlns:a{number}="u"' for number in range(3000)) + "/>",
            "UTF-7": '<?xml version="1.0" encoding="utf-7"?><xml>+ADw-</xml>',
            "UTF-16": '<?xml version="1.0" encoding="utf-16"?><xml/>',
        }.items():
            for mode in MODES:
                with self.subTest(name, mode=mode):
                    push = Push(self.accounts[mode], "<xml/>", mode="plain" if mode == "plain" else "safe")
                    if mode == "plain":
                        push.body = xml
                    else:
                        push = Push(self.accounts[mode], xml, mode="safe")
                    began = time.monotonic()
                    self.assertIn(self._send(push).status, (200, 403, 413))
                    self.assertLess(time.monotonic() - began, 5)
        for account in self.accounts.values():
            events = self._get_events(account)
            self.assertLessEqual(set(events.mapped("state")), {"ignored"})
            self.assertNotIn("root:", str(events.mapped("payload")))

    @mute_logger(WEBHOOK_LOGGER)
    def test_bodies_that_are_not_utf8_are_malformed(self):
        gbk = to_xml(self._event_fields("VIEW", self._make_openid(), account=self.accounts["plain"], EventKey="茶庄"))
        for body in (
            gbk.encode("gbk"),
            b'<?xml version="1.0" encoding="gbk"?>' + gbk.encode("gbk"),
            gbk.encode("utf-16"),
            b"<xml><MsgType>\xed\xa0</MsgType></xml>",
            b"<xml><MsgType>\xc0\xbc</MsgType></xml>",
            b"\xef\xbb\xbf\xff<xml/>",
        ):
            push = Push(self.accounts["plain"], "<xml/>")
            push.body = body
            self.assertSilent(self._send(push))
        self.assertEqual(set(self._get_events(self.accounts["plain"]).mapped("refusal")), {"malformed"})

    @mute_logger(WEBHOOK_LOGGER)
    def test_compressed_bodies_are_not_decompressed(self):
        """A small compressed body could expand without limit."""
        push = Push(self.accounts["plain"], "<xml/>")
        push.body, push.headers = b"\x1f\x8b\x08" + b"\0" * 100, {"Content-Encoding": "gzip"}
        self.assertSilent(self._send(push))
        self.assertEqual(self._get_events(self.accounts["plain"]).refusal, "malformed")
