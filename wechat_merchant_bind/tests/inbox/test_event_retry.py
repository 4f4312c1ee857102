import threading
import time
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError
from odoo.tools import mute_logger

from ...models.inbox import dispatcher
from ..common_push import WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_retry_events"
EVENT_LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.wechat_event"
EXPECTED_LOGS = (EVENT_LOGGER, "odoo.addons.base.models.ir_actions")


class RetryCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        # An automation of another addon that raises.
        self.automation = self.env["base.automation"].create(
            {
                "name": "third party",
                "model_id": self.env.ref("base.model_res_partner").id,
                "trigger": "on_write",
                "trigger_field_ids": [
                    (6, 0, [self.env.ref("wechat_merchant_bind.field_res_partner__wechat_state").id])
                ],
            }
        )
        self.env["ir.actions.server"].create(
            {
                "name": "third party",
                "model_id": self.env.ref("base.model_res_partner").id,
                "base_automation_id": self.automation.id,
                "state": "code",
                "code": "raise UserError('the third party fails')",
            }
        )
        self.code, self.openid = self._make_code(), self._make_openid()

    @mute_logger(*EXPECTED_LOGS)
    def _fail(self, scanned_at=None):
        """Push a scan while the automation fails, and return the answer and the event."""
        answer = self._push_scan(self.code, self.openid, create_time=scanned_at)
        event = self._get_events()[-1]
        self.assertEqual(event.state, "failed")
        return answer, event

    def _repair(self):
        self.automation.active = False

    def _run_cron(self, due=True):
        """Run the cron, by default when failed events are due."""
        self.env.flush_all()
        if due:
            self.env.cr.execute(
                "UPDATE wechat_event SET next_attempt_at = create_date WHERE next_attempt_at IS NOT NULL"
            )
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _set_age(self, event, **age):
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s WHERE id = %s",
            [fields.Datetime.now() - timedelta(**age), event.id],
        )
        self.env.invalidate_all()


class TestFailure(RetryCase):
    def test_a_failed_event_is_kept_with_its_error(self):
        answer, event = self._fail()
        self.assertIn("the third party fails", event.error)
        self.assertRecordValues(event, [{"openid": self.openid, "attempts": 1, "reply": False}])
        self.assertReply(answer, "已收到", to=self.openid)
        self.assertNotBound(self.merchant)
        self.assertEqual(self.code.state, "active")
        self.assertOperations(self.merchant, ["generate"])

    def test_an_error_with_nul_is_stored_without_it(self):
        self.automation.action_server_ids.code = "raise UserError('the third party fails\\x00')"
        answer, event = self._fail()
        self.assertEqual(answer.status, 200)
        self.assertIn("the third party fails", event.error)

    def test_a_failed_unfollow_gets_no_reply(self):
        self._repair()
        self._bind(openid=self.openid)
        self.automation.active = True
        with mute_logger(*EXPECTED_LOGS):
            self.assertSilent(self._push_unsubscribe(self.openid))
        self.assertEqual(self._get_events().state, "failed")

    def test_a_redelivery_of_a_failed_event_is_not_stored(self):
        scanned_at = int(time.time())
        self._fail(scanned_at)
        self.assertSilent(self._push_scan(self.code, self.openid, create_time=scanned_at))
        self.assertEqual(len(self._get_events()), 1)


class TestRetry(RetryCase):
    def test_a_manager_retries_an_event(self):
        _answer, event = self._fail()
        self._repair()
        notification = event.with_user(self.manager).action_retry()
        self.assertEqual(notification["params"]["type"], "success")
        self.env.invalidate_all()
        self.assertBound(self.merchant, self.openid)
        self.assertRecordValues(event, [{"state": "done", "error": False, "attempts": 2}])
        self.assertIn("杭州西湖茶庄", event.reply)
        self.assertChatter(self.merchant, "Bound", author=self.env.ref("base.partner_root"))

    def test_other_users_may_not_retry(self):
        _answer, event = self._fail()
        self._repair()
        for user in (self.user, self.employee, self.portal):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                event.with_user(user).action_retry()
        self.assertNotBound(self.merchant)

    def test_a_manager_may_retry_an_abandoned_event(self):
        _answer, event = self._fail()
        event.attempts = 99
        self._set_age(event, days=2)
        self._repair()
        event.with_user(self.manager).action_retry()
        self.assertBound(self.merchant, self.openid)

    def test_a_done_event_is_not_handled_again(self):
        self._repair()
        self._push_scan(self.code, self.openid)
        event = self._get_events()
        self.merchant.with_user(self.manager).action_wechat_unbind()
        event.with_user(self.manager).action_retry()
        self._run_cron()
        self.assertNotBound(self.merchant)

    @mute_logger(*EXPECTED_LOGS)
    def test_the_cron_retries_an_event(self):
        _answer, event = self._fail()
        self._run_cron()
        self.assertRecordValues(event, [{"state": "failed", "attempts": 2}])
        self._repair()
        self._run_cron()
        self.assertBound(self.merchant, self.openid)
        self.assertEqual(event.state, "done")

    @mute_logger(*EXPECTED_LOGS)
    def test_a_failing_event_does_not_delay_others(self):
        _answer, event = self._fail()
        later = self._push_event("VIEW", self._make_openid(), EventKey="x")
        self.assertSilent(later)
        forgotten = self._get_events()[-1]
        forgotten.state = "received"
        self._set_age(forgotten, seconds=61)
        self._run_cron()
        self.assertEqual((event.state, forgotten.state), ("failed", "ignored"))

    @mute_logger(*EXPECTED_LOGS)
    def test_the_delay_doubles_with_each_attempt(self):
        _answer, event = self._fail()
        for minutes in (2, 4, 8):
            wait = event.next_attempt_at - fields.Datetime.now()
            self.assertAlmostEqual(wait.total_seconds(), minutes * 60, delta=10)
            attempts = event.attempts
            self._run_cron(due=False)
            self.assertEqual(event.attempts, attempts, "It is not yet due")
            self._run_cron()
            self.assertEqual(event.attempts, attempts + 1)

    def test_a_code_revoked_since_is_not_bound(self):
        _answer, event = self._fail()
        self._repair()
        self.code._revoke("test")
        self._run_cron()
        self.assertNotBound(self.merchant)
        self.assertEqual(event.state, "done")
        self.assertChatter(self.merchant, "revoked")

    def test_a_code_expired_before_the_scan_is_not_bound(self):
        self._fail()
        self._repair()
        self.code.expires_at = fields.Datetime.now() - timedelta(minutes=10)
        self._run_cron()
        self.assertNotBound(self.merchant)

    def test_a_code_expired_after_the_scan_is_bound(self):
        self._fail(int(time.time()) - 60)
        self._repair()
        self.code.write({"expires_at": fields.Datetime.now() - timedelta(seconds=10), "state": "expired"})
        self._run_cron()
        self.assertBound(self.merchant, self.openid)

    def test_a_later_event_of_the_same_person_ends_the_retries(self):
        _answer, event = self._fail()
        self._repair()
        self._push_unsubscribe(self.openid, create_time=int(time.time()) + 1)
        self._run_cron()
        self.assertNotBound(self.merchant)
        self.assertEqual(event.state, "failed")
        for lang, words in (("zh_CN", "此后"), ("en_US", "since")):
            self.assertIn(words, event.with_context(lang=lang).error, "In the language of its reader")

    def test_later_events_of_others_do_not_end_the_retries(self):
        self._fail()
        self._repair()
        self._push_unsubscribe(self._make_openid())
        self._push_text(self.openid)
        self._run_cron()
        self.assertBound(self.merchant, self.openid)

    def test_an_event_is_not_retried_after_24_hours(self):
        _answer, event = self._fail()
        self._repair()
        self._set_age(event, hours=24, minutes=1)
        self._run_cron()
        self.assertNotBound(self.merchant)
        self.assertIn("24", event.error)
        self.assertFalse(event.next_attempt_at)

    def test_an_event_is_retried_within_24_hours(self):
        _answer, event = self._fail()
        self._repair()
        self._set_age(event, hours=23, minutes=59)
        self._run_cron()
        self.assertBound(self.merchant, self.openid)

    def test_a_received_event_is_retried_after_a_minute(self):
        self._repair()
        with patch.object(dispatcher, "process_event", return_value=None):
            self.assertSilent(self._push_scan(self.code, self.openid))
        event = self._get_events()
        self.assertEqual(event.state, "received")
        self._set_age(event, seconds=50)
        self._run_cron()
        self.assertEqual(event.state, "received", "Its request may still be handling it")
        self._set_age(event, seconds=61)
        self._run_cron()
        self.assertBound(self.merchant, self.openid)

    @mute_logger("odoo.addons.wechat_merchant_bind.controllers.webhook")
    def test_a_refused_push_is_never_retried(self):
        self._repair()
        self._push_scan(self.code, self.openid, push_options={"timestamp": int(time.time()) - 3600})
        event = self._get_events()
        self._set_age(event, seconds=61)
        self._run_cron()
        event.with_user(self.manager).action_retry()
        self.assertEqual((event.state, event.refusal), ("ignored", "clock_skew"))
        self.assertNotBound(self.merchant)


class TestSlowHandling(WechatPushCase):
    """Handling that takes longer than WeChat waits goes on after a provisional reply."""

    @mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.dispatcher")
    def test_slow_handling_goes_on_after_a_provisional_reply(self):
        code = self._make_code()
        release, finished = threading.Event(), threading.Event()
        seen = []

        def sleep(registry, event_id):
            seen.append(event_id)
            release.wait(10)
            finished.set()
            return "<xml>too late</xml>"

        with (
            patch.object(dispatcher, "module", SimpleNamespace(current_test=None)),
            patch.object(dispatcher, "HANDLING_SECONDS", 0.2),
            patch.object(dispatcher, "process_event", sleep),
        ):
            started = time.monotonic()
            openid = self._make_openid()
            self.assertReply(self._push_scan(code, openid), "已收到", to=openid)
            self.assertLess(time.monotonic() - started, 5)
            self.assertFalse(finished.is_set())
            release.set()
            self.assertTrue(finished.wait(5), "It goes on after the answer")
        self.assertEqual(seen, self._get_events().ids)

    @mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.dispatcher")
    def test_a_scan_without_a_free_thread_is_left_to_the_cron(self):
        code, openid = self._make_code(), self._make_openid()
        with (
            patch.object(dispatcher, "module", SimpleNamespace(current_test=None)),
            patch.object(dispatcher, "HANDLING_SECONDS", 0.1),
            patch.object(dispatcher, "_free_threads", threading.BoundedSemaphore(1)) as threads,
            patch.object(dispatcher, "_get_executor", side_effect=AssertionError("no thread is free")),
        ):
            threads.acquire()
            self.assertReply(self._push_scan(code, openid), "已收到", to=openid)
        self.assertEqual(self._get_events().state, "received", "The cron comes back to it")

    def test_messages_do_not_wait_behind_slow_scans(self):
        with (
            patch.object(dispatcher, "module", SimpleNamespace(current_test=None)),
            patch.object(dispatcher, "_get_executor", side_effect=AssertionError("a message needs no thread")),
        ):
            self.assertEqual(self._push_text(self._make_openid()).reply["MsgType"], "transfer_customer_service")

    def test_the_answer_comes_before_wechat_gives_up(self):
        self.assertLess(dispatcher.HANDLING_SECONDS, 5)
