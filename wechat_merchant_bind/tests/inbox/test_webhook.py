import json
import time
from unittest.mock import patch

import psycopg2

from odoo.tools import mute_logger

from ...controllers import webhook
from ..common_push import Push, WechatPushCase, sign, to_xml

WEBHOOK_LOGGER = "odoo.addons.wechat_merchant_bind.controllers.webhook"
NOW = time.time


class TestServerCheck(WechatPushCase):
    """The check that WeChat's console makes when the webhook address is saved."""

    def _check(self, url=None, **changes):
        query = {"timestamp": "1714036504", "nonce": "1514711492", "echostr": "4375120948345356249"}
        query["signature"] = sign(self.account.webhook_token, query["timestamp"], query["nonce"])
        query.update(changes)
        query = {name: value for name, value in query.items() if value is not None}
        return self.url_open(url or self._get_url(self.account), params=query)

    def test_the_echo_is_returned_verbatim(self):
        response = self._check(echostr="<b>1&2</b>")
        self.assertEqual((response.status_code, response.text), (200, "<b>1&2</b>"), "It is answered verbatim")
        self.assertTrue(response.headers["Content-Type"].startswith("text/plain"), "and never as a page")
        self.assertNotIn("session_id", response.cookies)

    def test_a_wrong_signature_is_refused(self):
        for changes in (
            {"signature": sign("anotherToken", "1714036504", "1514711492")},
            {"signature": ""},
            {"signature": None},
            {"signature": "é" * 40},
            {"timestamp": "1714036505"},
            {"nonce": None},
        ):
            with self.subTest(changes=changes):
                response = self._check(**changes)
                self.assertEqual(response.status_code, 403)
                self.assertNotIn("4375120948345356249", response.text)

    def test_empty_token_signs_nothing(self):
        key = self._get_url(self.account)
        self.env.cr.execute("UPDATE wechat_account SET webhook_token = NULL WHERE id = %s", [self.account.id])
        self.account.invalidate_recordset()
        self.env.registry.clear_cache()
        query = {"timestamp": "1714036504", "nonce": "1514711492", "echostr": "x"}
        response = self.url_open(key, params={**query, "signature": sign("1714036504", "1514711492")})
        self.assertEqual(response.status_code, 403)

    def test_unknown_key_answers_as_a_wrong_signature(self):
        wrong_signature = self._check(signature="0" * 40)
        unknown_key = self._check(url="/wechat/merchant/nobody-has-this-key")
        self.assertEqual(
            (unknown_key.status_code, unknown_key.text), (wrong_signature.status_code, wrong_signature.text)
        )

    def test_disabled_account_is_unknown(self):
        self.account.active = False
        self.assertEqual(self._check().status_code, 403)

    def test_a_key_with_nul_is_no_server_error(self):
        self.assertIn(self._check(url="/wechat/merchant/a%00b").status_code, (400, 403, 404))


class TestModes(WechatPushCase):
    def test_safe_mode_answers_encrypted(self):
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid)
        self.assertReply(answer, "杭州西湖茶庄", to=openid)
        self.assertIn("<Encrypt>", answer.body)
        self.assertNotIn(openid, answer.body, "The reply is encrypted as the push was")
        self.assertBound(self.merchant, openid)

    def test_success_is_not_encrypted(self):
        self.assertSilent(self._push_event("VIEW", self._make_openid(), EventKey="https://example.com"))

    def test_compatible_mode_binds(self):
        self.account.encryption_mode = "compatible"
        code, openid = self._make_code(), self._make_openid()
        self.assertReply(self._push_scan(code, openid), "杭州西湖茶庄", to=openid)
        self.assertBound(self.merchant, openid)

    def test_compatible_mode_ignores_the_plain_fields(self):
        self.account.encryption_mode = "compatible"
        code, openid, forger = self._make_code(), self._make_openid(), self._make_openid()
        push = Push(self.account, self._event_fields("SCAN", openid, EventKey="0"))
        encrypt = push.body[push.body.index("<Encrypt>") : push.body.index("</Encrypt>") + len("</Encrypt>")]
        forged = to_xml(self._event_fields("SCAN", forger, EventKey=code.scene_str))
        push.body = forged.replace("</xml>", f"{encrypt}</xml>")
        self.assertSilent(self._send(push))
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_events().mapped("openid"), [openid])

    def test_plain_mode_answers_in_the_clear(self):
        self.account = self._create_test_account(sequence=1)
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid)
        self.assertReply(answer, "杭州西湖茶庄", to=openid)
        self.assertIn("杭州西湖茶庄", answer.body, "The reply is plain as the push was")
        self.assertBound(self.merchant, openid, self.account)

    def test_forbidden_characters_are_dropped_from_a_message(self):
        """A refusal would make WeChat count the push as failed."""
        for mode in ("safe", "compatible", "plain"):
            with self.subTest(mode=mode):
                account = self._create_account(
                    encryption_mode=mode, account_kind="test" if mode == "plain" else "service"
                )
                account.transfer_customer_service = True
                openid = self._make_openid()
                answer = self._push_text(openid, "你\x02好\x10\x1d\ufffe吗\x00", account=account)
                self.assertEqual((answer.status, answer.reply["MsgType"]), (200, "transfer_customer_service"))
                event = self._get_events(account)
                self.assertRecordValues(event, [{"state": "done", "refusal": False, "openid": openid}])
                self.assertEqual(json.loads(event.payload)["Content"], "你好吗")

    def test_forbidden_characters_are_dropped_from_a_command(self):
        for mode in ("safe", "compatible", "plain"):
            with self.subTest(mode=mode):
                account = self._create_account(
                    encryption_mode=mode, account_kind="test" if mode == "plain" else "service"
                )
                partner = self._create_merchant(f"商家 {mode}")
                openid = self._make_openid()
                self._bind(partner, openid=openid, account=account)
                self.assertReply(self._push_text(openid, "\x1d解\x02绑", account=account), account=account)
                self.assertEqual(self._get_events(account).state, "done")

    @mute_logger(WEBHOOK_LOGGER)
    def test_safe_and_compatible_refuse_plain_bodies(self):
        for mode in ("safe", "compatible"):
            with self.subTest(mode=mode):
                self.account.encryption_mode = mode
                code, openid = self._make_code(), self._make_openid()
                fields = self._event_fields("SCAN", openid, EventKey=code.scene_str)
                self.assertForbidden(self._send(Push(self.account, fields, mode="plain")))
                self.assertNotBound(self.merchant)
                event = self._get_events()[-1:]
                self.assertRecordValues(event, [{"state": "ignored", "refusal": "not_encrypted", "openid": False}])

    @mute_logger(WEBHOOK_LOGGER)
    def test_encrypted_body_without_encrypt_type_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        push = Push(self.account, self._event_fields("SCAN", openid, EventKey=code.scene_str))
        del push.query["encrypt_type"]
        self.assertForbidden(self._send(push))
        self.assertNotBound(self.merchant)

    @mute_logger(WEBHOOK_LOGGER)
    def test_plain_refuses_encrypted_bodies(self):
        account = self._create_test_account()
        answer = self._push_event(
            "SCAN", self._make_openid(), account=account, push_options={"mode": "safe"}, EventKey="0"
        )
        self.assertForbidden(answer)
        self.assertEqual(self._get_events(account).refusal, "encrypted")

    def test_the_previous_encoding_aes_key_is_accepted(self):
        former = self.account.encoding_aes_key
        code, openid = self._make_code(), self._make_openid()
        self.account.encoding_aes_key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
        self.assertEqual(self.account.previous_encoding_aes_key, former)
        answer = self._push_scan(code, openid, push_options={"key": former})
        # the reply was read with the former key as well
        self.assertReply(answer, "杭州西湖茶庄", to=openid)
        self.assertBound(self.merchant, openid)
        present = self._push_event("CLICK", openid, EventKey="x")
        self.assertSilent(present)

    @mute_logger(WEBHOOK_LOGGER)
    def test_an_unknown_encoding_aes_key_is_refused(self):
        openid = self._make_openid()
        answer = self._push_event("VIEW", openid, EventKey="x", push_options={"key": "B" * 42 + "A"})
        self.assertForbidden(answer)
        self.assertEqual(self._get_events().refusal, "undecipherable")

    @mute_logger(WEBHOOK_LOGGER)
    def test_another_app_id_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid, push_options={"app_id": "wx5823bf96d3bd56c7"})
        self.assertForbidden(answer)
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_events().refusal, "undecipherable")

    @mute_logger(WEBHOOK_LOGGER)
    def test_another_original_id_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid, ToUserName="gh_somebodyelse")
        self.assertForbidden(answer)
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_events().refusal, "other_account")

    def test_original_id_is_learnt(self):
        self.account.original_id = False
        self._push_event("VIEW", self._make_openid(), ToUserName="gh_97417a04a28d", EventKey="x")
        self.assertEqual(self.account.original_id, "gh_97417a04a28d")

    @mute_logger(WEBHOOK_LOGGER)
    def test_original_id_is_not_learnt_from_an_unsigned_push(self):
        self.account.original_id = False
        answer = self._push_event(
            "VIEW",
            self._make_openid(),
            ToUserName="gh_97417a04a28d",
            EventKey="x",
            push_options={"token": "strangersToken"},
        )
        self.assertForbidden(answer)
        self.assertFalse(self.account.original_id)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_wrong_msg_signature_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        push = Push(self.account, self._event_fields("SCAN", openid, EventKey=code.scene_str))
        push.query["msg_signature"] = push.query["signature"]
        self.assertForbidden(self._send(push))
        del push.query["msg_signature"]
        self.assertForbidden(self._send(push))
        self.assertNotBound(self.merchant)
        self.assertFalse(self._get_events(), "Nothing that anybody may send is kept")

    def test_unknown_key_answers_as_a_wrong_signature(self):
        push = Push(self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"))
        unknown_key = self._send(push, url="/wechat/merchant/nobody-has-this-key")
        push.query["msg_signature"] = "0" * 40
        wrong_signature = self._send(push)
        self.assertForbidden(unknown_key)
        self.assertEqual((unknown_key.status, unknown_key.body), (wrong_signature.status, wrong_signature.body))

    def test_a_push_gets_no_session_cookie(self):
        self.opener.cookies.clear()
        answer = self._push_text(self._make_openid())
        self.assertEqual(answer.status, 200)
        self.assertNotIn("Set-Cookie", answer.headers)


class TestClock(WechatPushCase):
    @mute_logger(WEBHOOK_LOGGER)
    def test_a_timestamp_beyond_the_tolerance_is_refused(self):
        for mode in ("safe", "plain"):
            for offset in (-16 * 60, 16 * 60):
                with self.subTest(mode=mode, offset=offset):
                    account = self._create_account(
                        encryption_mode=mode, account_kind="test" if mode == "plain" else "service"
                    )
                    answer = self._push_event(
                        "VIEW",
                        self._make_openid(),
                        account=account,
                        push_options={"timestamp": int(time.time()) + offset},
                        EventKey="x",
                    )
                    self.assertForbidden(answer)
                    event = self._get_events(account)
                    self.assertEqual((event.refusal, event.state), ("clock_skew", "ignored"))
                    self.assertAlmostEqual(event.skew, -offset, delta=5)

    def test_a_timestamp_within_the_tolerance_is_accepted(self):
        for offset in (-14 * 60, 14 * 60):
            with self.subTest(offset=offset):
                answer = self._push_event(
                    "VIEW",
                    self._make_openid(),
                    push_options={"timestamp": int(time.time()) + offset},
                    EventKey="x",
                )
                self.assertSilent(answer)
        self.assertEqual(self._get_events().mapped("refusal"), [False, False])

    @mute_logger(WEBHOOK_LOGGER)
    def test_the_tolerance_is_a_setting(self):
        self.account.clock_tolerance = 2
        answer = self._push_event(
            "VIEW", self._make_openid(), push_options={"timestamp": int(time.time()) - 180}, EventKey="x"
        )
        self.assertForbidden(answer)

    def test_an_old_create_time_is_accepted(self):
        code, openid = self._make_code(), self._make_openid()
        self.assertReply(self._push_scan(code, openid, create_time=int(time.time()) - 86400), "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)

    @mute_logger(WEBHOOK_LOGGER)
    def test_refusals_of_unsigned_pushes_are_not_stored(self):
        answer = self._push_event(
            "VIEW", self._make_openid(), push_options={"token": "strangersToken", "timestamp": 1}, EventKey="x"
        )
        self.assertForbidden(answer)
        self.assertFalse(self._get_events())

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_repeated_refusal_is_stored_once(self):
        push = Push(
            self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"), timestamp=int(NOW()) - 3600
        )
        for _i in range(3):
            self.assertForbidden(self._send(push))
        self.assertEqual(len(self._get_events()), 1)


class TestDedupe(WechatPushCase):
    def test_redelivery_gets_the_stored_reply(self):
        code, openid = self._make_code(), self._make_openid()
        first = self._push_scan(code, openid, create_time=1_790_000_000)
        # WeChat signs each delivery anew
        second = self._push_scan(code, openid, create_time=1_790_000_000)
        self.assertReply(first, "杭州西湖茶庄", to=openid)
        self.assertEqual(second.reply, first.reply)
        self.assertEqual(len(self._get_events()), 1)
        self.assertEqual(self._get_operations().mapped("operation"), ["generate", "bind"])

    def test_redelivery_in_plain_mode_gets_the_stored_reply(self):
        self.account = self._create_test_account(sequence=1)
        code, openid = self._make_code(), self._make_openid()
        push = Push(self.account, self._event_fields("SCAN", openid, EventKey=code.scene_str))
        first, second = self._send(push), self._send(push)
        self.assertReply(first, "杭州西湖茶庄", to=openid)
        self.assertEqual(second.reply, first.reply)
        self.assertEqual(len(self._get_events()), 1)

    def test_pushes_that_differ_in_one_field_are_not_redeliveries(self):
        openid = self._make_openid()
        fields = self._event_fields("TEMPLATESENDJOBFINISH", openid, MsgID=1, Status="success")
        pushes = [
            fields,
            {**fields, "MsgID": 2},
            {**fields, "Status": "failed:user block"},
            {**fields, "CreateTime": fields["CreateTime"] + 1},
            {**fields, "FromUserName": self._make_openid()},
            {**fields, "Event": "VIEW"},
            {**fields, "EventKey": "x"},
        ]
        for push in pushes:
            self.assertSilent(self._send(Push(self.account, push)))
        self.assertEqual(len(self._get_events()), len(pushes))
        self._send(Push(self.account, fields))
        self.assertEqual(len(self._get_events()), len(pushes))

    def test_two_accounts_may_get_the_same_push(self):
        other = self._create_account(original_id=self.account.original_id)
        openid = self._make_openid()
        for account in (self.account, other):
            self.assertSilent(self._push_event("VIEW", openid, account=account, EventKey="x"))
            self.assertEqual(len(self._get_events(account)), 1)


class TestBodies(WechatPushCase):
    def _push_plain(self, body, content_type="text/xml"):
        account = self._create_test_account()
        push = Push(account, "<xml/>")
        push.body = body
        push.headers = {"Content-Type": content_type}
        return self._send(push), self._get_events(account)

    def test_a_body_beyond_the_limit_is_refused(self):
        padding = "x" * webhook.MAX_BODY_BYTES
        answer, events = self._push_plain(f"<xml><MsgType>{padding}</MsgType></xml>")
        self.assertEqual(answer.status, 413)
        self.assertFalse(events)

    def test_the_largest_push_is_accepted(self):
        # 2048 bytes of text, encrypted in compatible mode, three times over
        self.account.encryption_mode = "compatible"
        self.assertEqual(self._push_text(self._make_openid(), "您" * 2048 * 3).status, 200)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_form_content_type_is_no_server_error(self):
        fields = self._event_fields("VIEW", self._make_openid(), EventKey="x")
        answer, events = self._push_plain(to_xml(fields), "application/x-www-form-urlencoded")
        self.assertLess(answer.status, 500, "A framework that took the body for a form must not make it fail")
        self.assertFalse(events.filtered("openid"))

    @mute_logger(WEBHOOK_LOGGER)
    def test_malformed_bodies_are_acknowledged(self):
        for body in (
            "",
            "{}",
            "<xml>",
            "<html/>",
            b"\xff\xfe<xml/>",
            "<!DOCTYPE xml><xml><MsgType>event</MsgType></xml>",
            '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xml><MsgType>&x;</MsgType></xml>',
            '<!DOCTYPE xml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><MsgType>&b;</MsgType></xml>',
            "<xml><MsgType>&undefined;</MsgType></xml>",
            "<xml><Event>a</Event><Event>b</Event></xml>",
        ):
            with self.subTest(body=body):
                answer, events = self._push_plain(body)
                self.assertSilent(answer)
                self.assertEqual(events.mapped("refusal"), ["malformed"])
                self.assertFalse(events.payload)

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_document_type_inside_of_the_envelope_is_malformed(self):
        xml = '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xml><MsgType>&x;</MsgType></xml>'
        self.assertSilent(self._send(Push(self.account, xml)))
        self.assertEqual(self._get_events().refusal, "malformed")

    def test_unusable_fields_are_ignored(self):
        openid = self._make_openid()
        for fields in (
            {},
            {"MsgType": "event"},
            {"MsgType": "event", "Event": "SCAN", "FromUserName": openid, "EventKey": "mb_x"},
            {"MsgType": "event", "Event": "SCAN", "CreateTime": "soon", "FromUserName": openid, "EventKey": "mb_x"},
            {"MsgType": "event", "Event": "SCAN", "CreateTime": 1, "FromUserName": "<b>", "EventKey": "mb_x"},
            {"MsgType": "text", "CreateTime": 1, "FromUserName": "é", "Content": "x"},
        ):
            with self.subTest(fields=fields):
                answer = self._send(Push(self.account, {"ToUserName": self.account.original_id, **fields}))
                self.assertSilent(answer)
        self.assertEqual(set(self._get_events().mapped("state")), {"ignored"})


class TestMessages(WechatPushCase):
    def test_messages_are_handed_to_customer_service(self):
        openid = self._make_openid()
        answer = self._push_text(openid)
        self.assertEqual(
            (answer.reply["MsgType"], answer.reply["ToUserName"], answer.reply["FromUserName"]),
            ("transfer_customer_service", openid, self.account.original_id),
        )
        self.assertEqual(self._get_events().state, "done")

    def test_messages_are_ignored_without_customer_service(self):
        self.account.transfer_customer_service = False
        self.assertSilent(self._push_text(self._make_openid()))
        self.assertEqual(self._get_events().state, "ignored")

    def test_events_are_never_transferred(self):
        openid = self._make_openid()
        for number, (event, fields) in enumerate(
            (
                ("VIEW", {"EventKey": "https://example.com"}),
                ("LOCATION", {"Latitude": "23.1", "Longitude": "113.3", "Precision": "119.3"}),
                ("CLICK", {"EventKey": "menu"}),
                ("TEMPLATESENDJOBFINISH", {"MsgID": 1, "Status": "success"}),
                ("user_info_modified", {"RevokeInfo": "1"}),
                ("an_event_of_next_year", {}),
            )
        ):
            with self.subTest(event=event):
                self.assertSilent(self._push_event(event, openid, create_time=1_790_000_000 + number, **fields))
        receipts = self._get_events().filtered(lambda event: event.event == "templatesendjobfinish")
        self.assertEqual(receipts.mapped("state"), ["received"], "A receipt waits to be applied with others")
        self.assertEqual(set((self._get_events() - receipts).mapped("state")), {"ignored"})

    def test_unknown_message_types_are_ignored(self):
        fields = self._event_fields("", self._make_openid())
        self.assertSilent(self._send(Push(self.account, {**fields, "MsgType": "hologram"})))


class TestLimits(WechatPushCase):
    def test_only_failed_authentication_is_limited(self):
        with patch.object(webhook, "FAILURES_A_MINUTE", 3), patch.object(webhook.time, "monotonic", return_value=60.0):
            push = Push(self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"))
            push.query["msg_signature"] = "0" * 40
            statuses = [self._send(push).status for _i in range(5)]
            self.assertEqual(statuses, [403, 403, 403, 429, 429])
            code, openid = self._make_code(), self._make_openid()
            self.assertReply(self._push_scan(code, openid), "杭州西湖茶庄")
            self.assertBound(self.merchant, openid)
        with patch.object(webhook, "FAILURES_A_MINUTE", 3), patch.object(webhook.time, "monotonic", return_value=120.0):
            self.assertForbidden(self._send(push))

    def test_failures_are_limited_by_address_in_a_bounded_table(self):
        limiter = webhook.FailureLimiter()
        with patch.object(webhook, "FAILURES_A_MINUTE", 1), patch.object(webhook, "FAILURES_ADDRESSES", 10):
            self.assertFalse(limiter.exceeded("192.0.2.1"))
            self.assertTrue(limiter.exceeded("192.0.2.1"))
            self.assertFalse(limiter.exceeded("192.0.2.2"))
            for number in range(100):
                limiter.exceeded(f"198.51.100.{number}")
            self.assertLessEqual(len(limiter._counts), 10)

    @mute_logger(WEBHOOK_LOGGER)
    def test_an_unwritable_inbox_answers_503(self):
        code, openid = self._make_code(), self._make_openid()
        events = type(self.env["wechat.event"])
        with patch.object(events, "_execute_insert", side_effect=psycopg2.OperationalError("no space left on device")):
            self.assertEqual(self._push_scan(code, openid, create_time=1_790_000_000).status, 503)
            self.assertNotBound(self.merchant)
        answer = self._push_scan(code, openid, create_time=1_790_000_000)
        self.assertReply(answer, "杭州西湖茶庄", to=openid)
        self.assertBound(self.merchant, openid)

    @mute_logger(WEBHOOK_LOGGER)
    def test_an_unwritable_refusal_is_no_server_error(self):
        events = type(self.env["wechat.event"])
        push = Push(self.account, self._event_fields("VIEW", self._make_openid(), EventKey="x"), timestamp=1)
        with patch.object(events, "_execute_insert", side_effect=psycopg2.OperationalError("no space left on device")):
            self.assertIn(self._send(push).status, (403, 503))
