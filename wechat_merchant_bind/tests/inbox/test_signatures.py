"""A signature of plain mode does not cover the body, so it is accepted with one body only."""

import time
from unittest.mock import patch

import psycopg2

from odoo.tools import mute_logger

from ..common_push import Push, WechatPushCase, to_xml

WEBHOOK_LOGGER = "odoo.addons.wechat_merchant_bind.controllers.webhook"


class TestPlainSignatures(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.account = self._create_test_account(sequence=1)
        self.code, self.openid = self._make_code(), self._make_openid()
        self.push = Push(self.account, self._event_fields("VIEW", self.openid, EventKey="x"))

    def _check(self):
        """Check the address with the signature of the push."""
        return self.url_open(self._get_url(self.account), params={**self.push.query, "echostr": "437512"})

    @mute_logger(WEBHOOK_LOGGER)
    def assertForgeryRefused(self):
        """Check that the signature of the push binds no merchant with another body."""
        forger = self._make_openid()
        self.push.body = to_xml(self._event_fields("SCAN", forger, EventKey=self.code.scene_str))
        self.assertForbidden(self._send(self.push))
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_events()[-1].refusal, "signature_reused")

    def test_a_signature_is_refused_with_a_second_body(self):
        self.assertSilent(self._send(self.push))
        self.assertForgeryRefused()
        self.assertEqual(self._get_events().mapped("refusal"), [False, "signature_reused"])

    def test_the_signature_of_a_redelivery_is_refused_with_another_body(self):
        self.assertSilent(self._send(self.push))
        self.push = Push(self.account, self._event_fields("VIEW", self.openid, EventKey="x"))
        self.assertSilent(self._send(self.push))
        self.assertEqual(self._get_events()[-1].display_name, "Remembered signature")
        self.assertForgeryRefused()

    def test_the_signature_of_an_address_check_is_refused_with_a_body(self):
        for _i in range(3):
            response = self._check()
            self.assertEqual((response.status_code, response.text), (200, "437512"), "A repeated check is answered")
        self.env.invalidate_all()
        self.assertRecordValues(self._get_events(), [{"state": "ignored", "refusal": False, "payload": False}])
        self.assertForgeryRefused()

    def test_an_address_check_may_repeat_the_signature_of_a_push(self):
        self.assertSilent(self._send(self.push))
        self.assertEqual(self._check().text, "437512")
        self.assertEqual(len(self._get_events()), 1)
        self.assertSilent(self._send(self.push))

    def test_an_address_check_is_no_push(self):
        self._check()
        check = self.env["wechat.account.check"].create({"account_id": self.account.id})
        self.assertEqual(check._check_pushes()[0]["result"], "warning")
        self._send(self.push)
        self._push_event("VIEW", self.openid, EventKey="x")
        self.assertEqual(check._check_pushes()[0]["result"], "ok")

    @mute_logger(WEBHOOK_LOGGER)
    def test_an_address_check_that_can_not_be_stored_answers_503(self):
        events = type(self.env["wechat.event"])
        with patch.object(events, "_execute_insert", side_effect=psycopg2.OperationalError("no space left on device")):
            self.assertEqual(self._check().status_code, 503)

    def test_safe_mode_stores_no_signature_of_an_address_check(self):
        account = self._create_account()
        self.push = Push(account, self._event_fields("VIEW", self.openid, EventKey="x"))
        self.account = account
        self.assertEqual(self._check().text, "437512")
        self.assertFalse(self._get_events())

    @mute_logger(WEBHOOK_LOGGER)
    def test_the_signature_of_a_refused_push_is_refused_with_another_body(self):
        ahead = int(time.time()) + 16 * 60
        for refusal, timestamp, body in (
            ("malformed", None, "<xml>"),
            ("other_account", None, to_xml(self._event_fields("VIEW", self.openid, ToUserName="gh_another"))),
            ("encrypted", None, "<xml><Encrypt>x</Encrypt></xml>"),
            ("clock_skew", ahead, self.push.body),
        ):
            with self.subTest(refusal=refusal):
                self.push = Push(self.account, body, timestamp=timestamp)
                self._send(self.push)
                self.assertEqual(self._get_events()[-1].refusal, refusal)
                # A time ahead of the clock is within the tolerance later.
                self.account.clock_tolerance = 20
                self.assertForgeryRefused()
                self.account.clock_tolerance = 15


class TestRefusedSignatures(WechatPushCase):
    """Refusals are told apart by the verified signature: a sender could vary the rest of the URL without end."""

    def _send_varied(self, push, *names):
        """Send a push three times, each with other values of these query parameters."""
        for number in range(3):
            push.query.update(dict.fromkeys(names, f"{number:040}"))
            self.assertForbidden(self._send(push))

    @mute_logger(WEBHOOK_LOGGER)
    def test_refusals_of_encrypted_pushes_are_told_apart_by_msg_signature(self):
        fields = self._event_fields("VIEW", self._make_openid(), EventKey="x")
        for refusal, options in (("undecipherable", {"key": "B" * 42 + "A"}), ("clock_skew", {"timestamp": 1})):
            with self.subTest(refusal=refusal):
                self._send_varied(Push(self.account, fields, **options), "signature", "openid", "anything")
                self.assertEqual(self._get_events().mapped("refusal").count(refusal), 1)
        self._send(Push(self.account, fields, timestamp=2))
        self.assertEqual(
            self._get_events().mapped("refusal").count("clock_skew"), 2, "Another signature is another row"
        )

    @mute_logger(WEBHOOK_LOGGER)
    def test_refusals_of_plain_pushes_are_told_apart_by_signature(self):
        fields = self._event_fields("VIEW", self._make_openid(), EventKey="x")
        for refusal, timestamp in (("not_encrypted", None), ("clock_skew", int(time.time()) - 3600)):
            with self.subTest(refusal=refusal):
                push = Push(self.account, fields, mode="plain", timestamp=timestamp)
                self.assertForbidden(self._send(push))
                self._send_varied(push, "msg_signature", "openid", "anything")
                self.assertEqual(self._get_events().mapped("refusal").count(refusal), 1)
        self.assertFalse(any(self._get_events().mapped("signature")), "In this mode no body comes with it")

    @mute_logger(WEBHOOK_LOGGER)
    def test_a_plain_push_with_an_unreadable_time_is_malformed(self):
        push = Push(self.account, "<xml/>", mode="plain", timestamp="soon")
        self.assertSilent(self._send(push))
        self.assertEqual(self._get_events().refusal, "malformed")

    @mute_logger(WEBHOOK_LOGGER)
    def test_refusals_in_plain_mode_are_told_apart_by_signature(self):
        self.account = self._create_test_account()
        fields = self._event_fields("VIEW", self._make_openid(), EventKey="x")
        self._send_varied(Push(self.account, fields, timestamp=1), "msg_signature", "openid", "anything")
        self.assertEqual(self._get_events().mapped("refusal"), ["clock_skew"])
