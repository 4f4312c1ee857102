import threading
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import patch

import requests

from odoo import fields
from odoo.tools import mute_logger

from ...models.inbox import dispatcher
from ...tools.pg_lock import LockTimeoutError
from ..common import CUSTOM_SEND_PATH
from ..common_push import WechatPushCase

RETRY_CRON = "wechat_merchant_bind.ir_cron_retry_events"
TELL_CRON = "wechat_merchant_bind.ir_cron_tell_outcomes"
DISPATCHER_LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.dispatcher"
EVENT_LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.wechat_event"
OUTCOME_LOGGER = "odoo.addons.wechat_merchant_bind.models.binding.wechat_outcome_mixin"
TOO_LATE = {"errcode": 45015, "errmsg": "response out of time limit or subscription is canceled rid: 1-2-3"}


class OutcomeCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.code, self.openid = self._make_code(), self._make_openid()
        self._keep_schedule()

    def _delay(self):
        """Let the handling of pushes fail until _retry(), because another transaction holds the merchant's lock."""
        claim = patch.object(type(self.env["wechat.event"]), "_claim_partners", side_effect=LockTimeoutError())
        claim.start()
        self.addCleanup(claim.stop)
        self._claim = claim

    def _scan_late(self, openid=None, **kwargs):
        """Scan while the merchant is locked, and check the provisional reply."""
        openid = openid or self.openid
        self.assertReply(self._push_scan(self.code, openid, **kwargs), "已收到", to=openid)

    def _retry(self):
        self._claim.stop()
        self._run(RETRY_CRON)

    def _run(self, cron):
        self.env.flush_all()
        self.env.ref(cron).method_direct_trigger()
        self.env.invalidate_all()

    def _tell(self):
        """Tell the outcomes that are due."""
        self._run(TELL_CRON)

    def _get_told(self):
        """Return the recipients and texts of the customer-service messages."""
        calls = [call.payload for call in self.wechat.calls if call.path == CUSTOM_SEND_PATH]
        self.assertEqual({payload["msgtype"] for payload in calls} - {"text"}, set())
        return [(payload["touser"], payload["text"]["content"]) for payload in calls]

    def _is_triggered(self, cron):
        return bool(
            self.env["ir.cron.trigger"].search_count(
                [("cron_id", "=", self.env.ref(cron).id), ("call_at", "<=", fields.Datetime.now())]
            )
        )

    def assertTold(self, *texts, openid=None):
        """Check that one person was told one text that contains these."""
        [(recipient, content)] = self._get_told()
        self.assertEqual(recipient, openid or self.openid)
        for text in texts:
            self.assertIn(text, content)


class TestDelayedScans(OutcomeCase):
    def test_winner_and_losers_of_one_code_are_told(self):
        openids = [self._make_openid() for _i in range(50)]
        self._delay()
        for openid in openids:
            self._scan_late(openid)
        self.assertTrue(self._is_triggered(RETRY_CRON), "WeChat lets us tell it for a minute only")
        self._retry()
        self.assertTrue(self._is_triggered(TELL_CRON))
        self.assertFalse(self._get_told(), "WeChat is not called in the transaction that binds")
        self._tell()
        told = dict(self._get_told())
        self.assertEqual(sorted(told), sorted(openids))
        winner = self.merchant.wechat_openid
        self.assertIn("绑定成功", told.pop(winner))
        for text in told.values():
            self.assertIn("已绑定其他微信", text)
        self._tell()
        self.assertEqual(len(self._get_told()), 50, "Each is told once")

    def test_a_scan_that_is_answered_in_time_is_not_told(self):
        self._push_scan(self.code, self.openid)
        self._push_scan(self.code, self._make_openid())
        self._tell()
        self.assertFalse(self._get_told())

    def test_an_expired_code_is_told(self):
        self._delay()
        self._scan_late()
        self.code.expires_at = fields.Datetime.now() - timedelta(minutes=10)
        self._retry()
        self._tell()
        self.assertTold("已过期")

    def test_the_words_are_in_the_merchants_language(self):
        self.merchant.lang = "en_US"
        self._bind()
        self._delay()
        self._scan_late()
        self._retry()
        self._tell()
        self.assertTold("already bound to another WeChat")

    def test_a_locked_event_waits_longer_after_its_second_attempt(self):
        self._delay()
        self._scan_late()
        self._run(RETRY_CRON)
        self.assertGreater(self._get_events().next_attempt_at, fields.Datetime.now() + timedelta(minutes=1))

    def test_a_command_that_is_handled_later_is_told(self):
        self._bind(openid=self.openid)
        self._delay()
        self.assertReply(self._push_text(self.openid, "解绑"), "几分钟内处理")
        self._retry()
        self._tell()
        self.assertTold("已解除绑定")

    def test_an_ordinary_message_is_not_told(self):
        self._push_text(self.openid, "你好")
        event = self._get_events()
        event.state = "received"
        event.next_attempt_at = fields.Datetime.now()
        self._run(RETRY_CRON)
        self.assertEqual(event.state, "done")
        self._tell()
        self.assertFalse(self._get_told())

    @mute_logger(EVENT_LOGGER)
    def test_a_failed_scan_is_told_once_it_is_handled(self):
        with patch.object(type(self.env["wechat.binding"]), "_create_from_scan", side_effect=ValueError("fails")):
            self._scan_late()
        self._tell()
        self.assertFalse(self._get_told(), "The outcome is not known")
        self._get_events().next_attempt_at = fields.Datetime.now()
        self._run(RETRY_CRON)
        self._tell()
        self.assertTold("绑定成功")

    @mute_logger(EVENT_LOGGER)
    def test_a_scan_that_is_given_up_is_told(self):
        with patch.object(type(self.env["wechat.binding"]), "_create_from_scan", side_effect=ValueError("fails")):
            self._scan_late()
        self._get_events().next_attempt_at = fields.Datetime.now()
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s", [fields.Datetime.now() - timedelta(hours=24, minutes=1)]
        )
        self._run(RETRY_CRON)
        self.wechat.answer(CUSTOM_SEND_PATH, TOO_LATE)
        self._tell()
        self.assertEqual(len(self._get_told()), 1)
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_events().outcome_state, "untold")
        self.assertChatter(self.merchant, "did not let us tell", author=self.env.ref("base.partner_root"))


class TestSlowHandling(OutcomeCase):
    @mute_logger(DISPATCHER_LOGGER)
    def test_handling_that_ends_after_the_provisional_reply_is_told(self):
        told, release = [], threading.Event()

        def call(_registry, event_id, method):
            told.append((event_id, method))
            finished.set()
            return "<xml/>"

        finished = threading.Event()
        with (
            patch.object(dispatcher, "module", SimpleNamespace(current_test=None)),
            patch.object(dispatcher, "HANDLING_SECONDS", 0.1),
            patch.object(dispatcher, "process_event", lambda *_args: release.wait(10)),
            patch.object(dispatcher, "_call", call),
        ):
            dispatcher.dispatch(self.env.registry, 7, is_slow=True)
            self.assertEqual(told, [(7, "_get_provisional_reply")])
            finished.clear()
            release.set()
            self.assertTrue(finished.wait(5))
        self.assertEqual(told[1:], [(7, "_tell_if_handled")])

    def test_only_a_handled_scan_is_told(self):
        self._push_scan(self.code, self.openid)
        event = self._get_events()
        event._tell_if_handled()
        self._tell()
        self.assertTold("绑定成功")
        event.write({"state": "failed", "outcome_state": False})
        event._tell_if_handled()
        self.assertFalse(event.outcome_state)

    @mute_logger(DISPATCHER_LOGGER)
    def test_a_scan_without_a_free_thread_is_handled_at_once_by_the_cron(self):
        with (
            patch.object(dispatcher, "module", SimpleNamespace(current_test=None)),
            patch.object(dispatcher, "HANDLING_SECONDS", 0.1),
            patch.object(dispatcher, "_free_threads", threading.BoundedSemaphore(1)) as threads,
        ):
            threads.acquire()
            self._scan_late()
        self.assertTrue(self._is_triggered(RETRY_CRON))
        self._run(RETRY_CRON)
        self._tell()
        self.assertTold("绑定成功")


class TestWeChatRefuses(OutcomeCase):
    def _scan_and_refuse(self, answer):
        self._delay()
        self._scan_late()
        self._retry()
        self.wechat.answer(CUSTOM_SEND_PATH, answer)
        self._tell()

    def test_a_binding_that_can_not_be_told_is_noted(self):
        self._scan_and_refuse(TOO_LATE)
        self.assertBound(self.merchant, self.openid)
        self.assertEqual(len(self._get_told()), 1)
        note = self.merchant.message_ids.sorted("id")[-1:].body
        self.assertIn("绑定成功", note)
        self.assertNotIn(self.openid, note)
        self._tell()
        self.assertEqual(len(self._get_told()), 1, "It is not tried again")

    def test_a_welcome_message_tells_it_instead(self):
        self.account.welcome_template_id = self._create_template()
        self._scan_and_refuse({"errcode": 45047, "errmsg": "out of response count limit rid: 1-2-3"})
        self.assertWechat(self.merchant)
        self.assertNotIn("did not let us tell", "".join(self.merchant.message_ids.mapped("body")))

    def test_a_welcome_message_that_failed_tells_nothing(self):
        self.account.welcome_template_id = self._create_template()
        self._delay()
        self._scan_late()
        self._retry()
        self.env.flush_all()
        self.env.cr.execute("UPDATE wechat_message SET state = 'canceled' WHERE partner_id = %s", [self.merchant.id])
        self.env.invalidate_all()
        self.wechat.answer(CUSTOM_SEND_PATH, TOO_LATE)
        self._tell()
        self.assertChatter(self.merchant, "did not let us tell")

    def test_a_loser_that_can_not_be_told_is_noted(self):
        self._bind()
        self.account.welcome_template_id = self._create_template()
        self._scan_and_refuse(TOO_LATE)
        self.assertChatter(self.merchant, "did not let us tell", "已绑定其他微信")

    def test_two_days_after_the_scan_wechat_is_not_called(self):
        self._delay()
        self._scan_late()
        self._retry()
        self._get_events().create_time = fields.Datetime.now() - timedelta(hours=49)
        self._tell()
        self.assertFalse(self._get_told())
        self.assertChatter(self.merchant, "did not let us tell")

    @mute_logger(OUTCOME_LOGGER)
    def test_a_call_that_wechat_did_not_serve_is_repeated(self):
        self._scan_and_refuse({"errcode": 45011, "errmsg": "api minute-quota reach limit rid: 1-2-3"})
        self.assertEqual(self._get_events().outcome_state, "due")
        self._tell()
        self.assertEqual(self._get_events().outcome_state, "told")
        self.assertEqual(len(self._get_told()), 2)

    @mute_logger(OUTCOME_LOGGER)
    def test_a_paused_account_is_called_once_a_run(self):
        self._delay()
        for _i in range(3):
            self._scan_late(self._make_openid())
        self._retry()
        self.wechat.answer(CUSTOM_SEND_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit"})
        self._tell()
        self.assertEqual(len(self._get_told()), 1)

    def test_a_killed_run_repeats_at_most_one_call(self):
        self._delay()
        for _i in range(3):
            self._scan_late(self._make_openid())
        self._retry()
        crons, counts = type(self.env["ir.cron"]), []

        def commit(cron, *_args, **_kwargs):
            due = cron.env["wechat.event"].search_count([("outcome_state", "=", "due")])
            counts.append((self.wechat.count(CUSTOM_SEND_PATH), due))
            return 1

        with patch.object(crons, "_commit_progress", commit):
            self._tell()
        self.assertEqual(counts[:3], [(1, 2), (2, 1), (3, 0)], "Each call is committed before the next one")

    def test_a_call_without_an_answer_is_not_repeated(self):
        self._scan_and_refuse(requests.exceptions.ReadTimeout())
        self._tell()
        self.assertEqual(len(self._get_told()), 1)
        self.assertBound(self.merchant, self.openid)
        self.assertChatter(self.merchant, "did not let us tell")


class TestApproval(OutcomeCase):
    def setUp(self):
        super().setUp()
        self.account.bind_confirmation = "approval"

    def _ask(self, openid=None):
        openid = openid or self.openid
        self._push_scan(self.code, openid)
        return self.env["wechat.bind.request"].search([("openid", "=", openid)])

    def test_an_approval_is_told(self):
        self._ask().with_user(self.user).action_accept()
        self.assertFalse(self._get_told(), "WeChat is not called in the transaction that binds")
        self.assertTrue(self._is_triggered(TELL_CRON))
        self._tell()
        self.assertTold("绑定成功", self.merchant.name)
        self._tell()
        self.assertEqual(len(self._get_told()), 1)

    def test_a_rejection_is_told(self):
        self._ask().with_user(self.user).action_reject("不认识此人")
        self._tell()
        self.assertTold("未通过")
        self.assertNotIn("不认识此人", self._get_told()[0][1])

    def test_the_losers_of_an_approval_are_told(self):
        loser = self._make_openid()
        self._ask(loser)
        self._ask().with_user(self.user).action_accept()
        self._tell()
        told = dict(self._get_told())
        self.assertIn("绑定成功", told[self.openid])
        self.assertIn("未通过", told[loser])

    def test_the_end_of_the_code_is_told(self):
        self._ask()
        self.code._revoke("x")
        self._tell()
        self.assertTold("已失效")

    def test_a_rejection_that_can_not_be_told_is_noted(self):
        self._ask().with_user(self.user).action_reject()
        self.wechat.answer(CUSTOM_SEND_PATH, TOO_LATE)
        self._tell()
        self.assertChatter(self.merchant, "did not let us tell", "未通过")

    def test_a_binding_that_was_undone_is_not_told(self):
        self._ask().with_user(self.user).action_accept()
        self._get_live_binding()._unbind("x")
        self._tell()
        self.assertFalse(self._get_told())

    def test_a_late_request_and_its_decision_are_told_in_order(self):
        self._delay()
        self._scan_late()
        self._retry()
        self.env["wechat.bind.request"].search([("openid", "=", self.openid)]).with_user(self.user).action_accept()
        self._tell()
        texts = [text for _openid, text in self._get_told()]
        self.assertEqual(len(texts), 2)
        self.assertIn("我们确认后", texts[0])
        self.assertIn("绑定成功", texts[1])

    def test_digits_are_answered_and_not_told(self):
        self.account.bind_confirmation = "phone"
        self.merchant.phone = "+86 138 5710 2368"
        self._ask()
        self.assertReply(self._push_text(self.openid, "2368"), "绑定成功")
        self._tell()
        self.assertFalse(self._get_told())

    def test_unanswered_digits_are_not_told(self):
        self.account.bind_confirmation = "phone"
        self.merchant.phone = "+86 138 5710 2368"
        self._ask()
        self.code._revoke("x")
        self._tell()
        self.assertFalse(self._get_told())

    def test_a_failing_call_keeps_the_binding(self):
        self._ask().with_user(self.user).action_accept()
        self.wechat.answer(CUSTOM_SEND_PATH, 500)
        self._tell()
        self.assertBound(self.merchant, self.openid)
