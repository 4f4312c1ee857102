import time
from datetime import timedelta
from unittest.mock import patch

import psycopg2
from psycopg2.errors import CheckViolation, DeadlockDetected, SerializationFailure, UniqueViolation

from odoo import fields, sql_db
from odoo.http import request
from odoo.sql_db import PoolError
from odoo.tools import mute_logger

from ...models.inbox import dispatcher, wechat_event
from ...tools.pg_lock import NAMESPACE, LockTimeoutError, session_locks
from ..common_push import WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_retry_events"
DISPATCHER_LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.dispatcher"
EVENT_LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.wechat_event"


class HandlingCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.code, self.openid = self._make_code(), self._make_openid()
        self.events = type(self.env["wechat.event"])

    def _fail_first(self, *errors):
        """Let the first attempts to claim the merchants fail with these errors, and the later ones succeed."""
        claim, waiting = self.events._claim_partners, list(errors)

        def fail(event, *person):
            if waiting:
                raise waiting.pop(0)
            return claim(event, *person)

        self.startPatcher(patch.object(self.events, "_claim_partners", fail))
        return waiting

    def _run_cron_later(self):
        """Run the cron after the minute that it leaves to the request."""
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s, next_attempt_at = NULL WHERE account_id = %s",
            [fields.Datetime.now() - timedelta(seconds=61), self.account.id],
        )
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()


class TestConcurrency(HandlingCase):
    def test_a_conflict_with_another_transaction_is_repeated(self):
        for error in (SerializationFailure, DeadlockDetected, UniqueViolation):
            merchant, openid = self._create_merchant(f"商家 {error.__name__}"), self._make_openid()
            waiting = self._fail_first(error(), error())
            with self.subTest(error=error.__name__), self.assertNoLogs(EVENT_LOGGER, "WARNING"):
                self.assertReply(self._push_scan(self._make_code(merchant), openid), merchant.name, to=openid)
                self.assertEqual(waiting, [])
                self.assertBound(merchant, openid)
                self.assertOperations(merchant, ["generate", "bind"])
                self.assertRecordValues(self._get_events()[-1], [{"state": "done", "attempts": 1}])

    @mute_logger(EVENT_LOGGER)
    def test_repeated_conflicts_leave_the_event_failed(self):
        waiting = self._fail_first(*[SerializationFailure()] * (wechat_event.HANDLE_ATTEMPTS + 1))
        self.assertReply(self._push_scan(self.code, self.openid), "已收到", to=self.openid)
        self.assertEqual(len(waiting), 1, "It is not tried without end")
        self.assertRecordValues(self._get_events(), [{"state": "failed", "attempts": 1}])

    def test_a_locked_merchant_leaves_the_event_to_the_cron(self):
        self._fail_first(LockTimeoutError())
        with self.assertNoLogs(EVENT_LOGGER, "WARNING"):
            self.assertReply(self._push_scan(self.code, self.openid), "已收到", to=self.openid)
        self.assertNotBound(self.merchant)
        self.assertRecordValues(
            self._get_events(), [{"state": "received", "attempts": 0, "reply": False, "error": False}]
        )
        self._run_cron_later()
        self.assertBound(self.merchant, self.openid)

    def test_a_slow_scan_leaves_the_next_one_to_the_cron(self):
        now = int(time.time())
        for number, name in enumerate((f"scene:{self.code.scene_str}", f"openid:{self.account.id}:{self.openid}")):
            with (
                self.subTest(name=name.partition(":")[0]),
                sql_db.db_connect(self.env.cr.dbname).cursor() as other,
                patch.object(wechat_event, "LOCK_TIMEOUT", "50ms"),
            ):
                with session_locks(other, [name], "50ms"):
                    self.assertReply(self._push_scan(self.code, self.openid, now + number), "已收到", to=self.openid)
                    self.assertNotBound(self.merchant)
                    self.assertEqual(set(self._get_events().mapped("state")), {"received"})
        self._run_cron_later()
        self.assertBound(self.merchant, self.openid)

    def test_locks_are_released_after_each_outcome(self):
        self._push_scan(self.code, self.openid)
        self._fail_first(LockTimeoutError(), CheckViolation())
        with mute_logger(EVENT_LOGGER):
            for _i in range(2):
                self._push_scan(self.code, self._make_openid())
        self.env.cr.execute(
            """
            SELECT count(*)
              FROM pg_locks
              JOIN pg_database ON pg_database.oid = pg_locks.database
             WHERE locktype = 'advisory' AND classid = %s AND datname = current_database()
            """,
            [NAMESPACE],
        )
        self.assertEqual(self.env.cr.fetchone(), (0,))


class TestConnections(HandlingCase):
    """A push takes one connection of Odoo's pool, which all requests of a process share."""

    def test_a_request_holds_no_connection_while_its_push_is_handled(self):
        process, held = dispatcher.process_event, []

        def process_event(*args):
            held.append(not request.env.cr._closed)
            return process(*args)

        with patch.object(dispatcher, "process_event", process_event):
            self.assertReply(self._push_scan(self.code, self.openid), "杭州西湖茶庄", to=self.openid)
            self.assertReply(self._push_text(self.openid, "解绑"), to=self.openid)
            self.account.transfer_customer_service = True
            self.assertEqual(self._push_text(self.openid, msg_id=1).reply["MsgType"], "transfer_customer_service")
        self.assertEqual(held, [False] * 3)

    def test_a_push_that_finds_no_free_connection_is_handled_later(self):
        """It is stored, so WeChat gets a provisional reply instead of an error."""
        with (
            patch.object(dispatcher, "process_event", side_effect=PoolError("The Connection Pool Is Full")),
            self.assertLogs(DISPATCHER_LOGGER, "ERROR"),
        ):
            self.assertReply(self._push_scan(self.code, self.openid), "已收到", to=self.openid)
            full = PoolError("The Connection Pool Is Full")
            with patch.object(self.events, "_get_provisional_reply", side_effect=full):
                self.assertSilent(self._push_scan(self.code, self.openid, create_time=int(time.time()) + 1))
        self.assertEqual(self._get_events().mapped("state"), ["received"] * 2)
        self._run_cron_later()
        self.assertBound(self.merchant, self.openid)


class TestLogs(HandlingCase):
    """No full OpenID gets into the log."""

    def assertUnnamed(self, logs, *texts):
        """Check that the captured logs have these texts, and no full OpenID."""
        output = "\n".join(logs.output)
        for text in texts:
            self.assertIn(text, output)
        self.assertNotIn(self.openid, output)

    def test_a_failing_statement_is_logged_without_openid(self):
        bindings = type(self.env["wechat.binding"])
        for error in (UniqueViolation, CheckViolation, psycopg2.OperationalError):
            detail = f"Key (account_id, openid)=(1, {self.openid}) already exists."
            with (
                self.subTest(error=error.__name__),
                patch.object(bindings, "_create_from_scan", side_effect=error(detail)),
                self.assertLogs("odoo", "INFO") as logs,
            ):
                self.assertReply(self._push_scan(self.code, self.openid), "已收到", to=self.openid)
                self.assertUnnamed(logs, "could not be handled", error.__name__)
            event = self._get_events()[-1]
            self.assertEqual(event.state, "failed")
            self.assertIn(error.__name__, event.error)
            self.assertNotBound(self.merchant)
            event.unlink()

    def test_a_failing_automation_is_logged_with_its_traceback(self):
        partners = type(self.env["res.partner"])
        with (
            patch.object(partners, "_wechat_notify_changed", side_effect=ValueError("the third party fails")),
            self.assertLogs("odoo", "INFO") as logs,
        ):
            self._push_scan(self.code, self.openid)
        self.assertUnnamed(logs, "could not be handled", "error=ValueError", "the third party fails", "Traceback")
        self.assertEqual(self._get_events().state, "failed")

    def test_a_failing_database_leaves_the_event_to_the_cron(self):
        error = psycopg2.OperationalError(f"the server is gone, it was asked for {self.openid}")
        with patch.object(dispatcher, "process_event", side_effect=error), self.assertLogs("odoo", "INFO") as logs:
            self.assertReply(self._push_scan(self.code, self.openid), "已收到", to=self.openid)
        self.assertUnnamed(logs, "left to the cron", "error=OperationalError")
        self.assertEqual(self._get_events().state, "received")
        self._run_cron_later()
        self.assertBound(self.merchant, self.openid)

    def test_an_unwritable_inbox_is_logged_without_openid(self):
        error = psycopg2.OperationalError(f"disk full at {self.openid}")
        with patch.object(self.events, "_execute_insert", side_effect=error), self.assertLogs("odoo", "INFO") as logs:
            self.assertEqual(self._push_scan(self.code, self.openid).status, 503)
        self.assertUnnamed(logs, "inbox not written error=OperationalError")

    def test_bindings_and_refusals_are_logged_without_openid(self):
        with self.assertLogs("odoo", "INFO") as logs:
            self._push_scan(self.code, self.openid)
            self._push_scan(self._make_code(self.other_merchant), self.openid)
            self._push_unsubscribe(self.openid)
            self._push_scan(self.code, self.openid, push_options={"timestamp": 1})
        self.assertOperations(self.other_merchant, ["generate", "refuse"])
        self.assertUnnamed(logs, "clock_skew")


class TestOrder(HandlingCase):
    """Events count in the order of CreateTime, not of their arrival."""

    def setUp(self):
        super().setUp()
        self.now = int(time.time())

    def test_an_unsubscribe_that_overtook_its_scan_counts(self):
        self._push_unsubscribe(self.openid, create_time=self.now - 10)
        self.assertReply(self._push_scan(self.code, self.openid, create_time=self.now - 20), "杭州西湖茶庄")
        self.assertRecordValues(self.merchant, [{"wechat_state": "unfollowed", "is_wechat_bound": True}])
        self.assertOperations(self.merchant, ["generate", "bind", "unfollow"])
        self._push_subscribe(self.openid, create_time=self.now - 15)
        self.assertEqual(self.merchant.wechat_state, "unfollowed", "It counts with the time when it happened")
        self._push_subscribe(self.openid, create_time=self.now - 5)
        self.assertBound(self.merchant, self.openid)

    def test_an_unsubscribe_before_the_scan_does_not_count(self):
        self._push_unsubscribe(self.openid, create_time=self.now - 30)
        self._push_scan(self.code, self.openid, create_time=self.now - 20)
        self.assertBound(self.merchant, self.openid)

    def test_unsubscribes_of_other_accounts_and_people_do_not_count(self):
        other = self._create_account()
        self._push_unsubscribe(self.openid, create_time=self.now - 10, account=other)
        self._push_unsubscribe(self._make_openid(), create_time=self.now - 10)
        self._push_scan(self.code, self.openid, create_time=self.now - 20)
        self.assertBound(self.merchant, self.openid)

    def test_a_later_follow_outdates_an_unsubscribe(self):
        self._push_unsubscribe(self.openid, create_time=self.now - 10)
        self._push_subscribe(self.openid, create_time=self.now - 5)
        self._push_scan(self.code, self.openid, create_time=self.now - 20)
        self.assertBound(self.merchant, self.openid)

    def test_create_time_ahead_of_the_clock_is_limited(self):
        tolerance = self.account.clock_tolerance * 60
        self._bind(openid=self.openid)
        for number, scene in enumerate(("", self.code.scene_str)):
            self._push_subscribe(self.openid, scene, create_time=self.now + 10 * 86400 + number)
            last = self._get_live_binding().last_event_at
            self.assertAlmostEqual((last - fields.Datetime.now()).total_seconds(), tolerance, delta=60)
            self._push_unsubscribe(self.openid, create_time=self.now + tolerance + 120 + number)
            self.assertEqual(self.merchant.wechat_state, "unfollowed", "What really comes later still counts")

    def test_an_unsubscribe_far_ahead_is_outdated_by_a_later_follow(self):
        self._push_unsubscribe(self.openid, create_time=self.now + 10 * 86400)
        self._push_scan(self.code, self.openid, create_time=self.now)
        self.assertEqual(self.merchant.wechat_state, "unfollowed")
        self._push_subscribe(self.openid, create_time=self.now + 86400)
        self.assertBound(self.merchant, self.openid)
