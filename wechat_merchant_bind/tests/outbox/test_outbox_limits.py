"""Limits of sending: number of calls, missing templates and documents, scheduled times, resending."""

import itertools
import os
from dataclasses import dataclass
from datetime import timedelta
from unittest.mock import patch

import requests
from psycopg2.errors import CheckViolation

from odoo import fields
from odoo.exceptions import UserError
from odoo.modules.migration import load_script
from odoo.tests import BaseCase, tagged
from odoo.tools import file_path, mute_logger

from ...tools.call_pool import SendCall
from ...tools.send_policy import MAX_CALLS, REPEAT_SECONDS
from ...tools.wechat_errors import ERRORS
from ..channel.test_channel import ChannelCase
from ..common import API_HOST, SEND_PATH, TOKEN_PATH, WechatCase
from ..common_outbox import SENDER_MODULE, OutboxCase

FINAL = ("sent", "delivered", "failed", "unknown", "canceled")
LOGGERS = (
    SENDER_MODULE,
    "odoo.addons.wechat_merchant_bind.models.account.wechat_account",
    "odoo.addons.wechat_merchant_bind.tools.call_pool",
    "odoo.models.unlink",
)
UNKNOWN_CODES = (1, 99999, 268487002, "45009", "no number")
STALE = (40001, 40014, 42001)
OUT_OF_REACH, TIMEOUT = requests.ConnectTimeout(), requests.ReadTimeout()
# One code of each class in the short form: the policy is tested over all of them without a database.
CODES = (
    ERRORS if os.environ.get("WECHAT_TEST_ALL") else {row.error_class: code for code, row in ERRORS.items()}.values()
)
ANSWERS = [
    *({"errcode": errcode, "errmsg": "text"} for errcode in (*CODES, *UNKNOWN_CODES)),
    *(302, 404, 429, 500, 502, 503, 504),
    *(TIMEOUT, requests.ConnectionError(), OUT_OF_REACH),
    *({"errcode": 0, "errmsg": "no msgid"}, []),
]
USED_UP = {"errcode": 45009, "errmsg": "reach max api daily quota limit"}
MIXED = [
    *({"errcode": errcode, "errmsg": "text"} for errcode in (43108, 45009, 48001, 40037, -1, 43117, 45011, 40241)),
    OUT_OF_REACH,
]


class QuietCase(WechatCase):
    """Base class in English, without the log lines of expected errors."""

    def setUp(self):
        super().setUp()
        # Reasons are translated for their reader.
        self.env.user.lang = "en_US"
        self.enterContext(mute_logger(*LOGGERS))


@dataclass
class World:
    """One message with its related records, and the answers of WeChat."""

    message: object
    account: object
    template: object
    binding: object
    document: object
    answers: list  # one for each call; the last one is repeated
    calls: int = 0


class LimitCase(QuietCase, OutboxCase):
    def setUp(self):
        super().setUp()
        self.worlds = {}

    def _create_world(self, answers):
        """Queue a message with its own account, template, merchant and document."""
        account = self._create_account(send_rate=10_000)
        merchant = self._create_merchant(account.name)
        binding = self._bind(merchant, account=account)
        template = self._create_template(account_id=account.id)
        document = self._create_merchant("订单")
        values = {"template_id": template.id, "res_model": document._name, "res_id": document.id}
        message = self._queue(merchant, **values)
        self.worlds[binding.openid] = world = World(message, account, template, binding, document, answers)
        return world

    def _answer_worlds(self, call):
        """Answer a call for the message of one of the worlds."""
        world = self.worlds[call.payload["touser"]]
        answer = world.answers[min(world.calls, len(world.answers) - 1)]
        # Trying the backup host after the first one is part of the same call.
        world.calls += call.host == API_HOST
        if isinstance(answer, dict) and answer["errcode"] in STALE:
            self.wechat.renew_token()
        return answer

    def _pass_time(self, messages):
        """Make messages due, and end all pauses."""
        self._make_due(messages)
        self.env.cr.execute(
            "UPDATE wechat_account SET send_paused_until = now() AT TIME ZONE 'UTC' - interval '1 second'"
            " WHERE send_paused_until IS NOT NULL"
        )
        self.env.invalidate_all()

    def _drain_worlds(self):
        """Run the senders repeatedly; in between, time passes and a manager resumes suspended sending."""
        self.startPatcher(patch(f"{SENDER_MODULE}.THREADS", 16))
        worlds = self.worlds.values()
        for _turn in range(MAX_CALLS + 4):
            self.wechat._answers.clear()
            self.wechat.answer(SEND_PATH, *[self._answer_worlds] * (4 * len(worlds)))
            self.began_at = fields.Datetime.now()
            self._process_queue()
            for world in worlds:
                self.assertDecided(world)
            waiting = [world for world in worlds if world.message.state not in FINAL]
            if not waiting:
                break
            for world in waiting:
                world.account.action_resume_sending()
                world.template.exists().action_resume()
            self._pass_time(self.env["wechat.message"].union(*(world.message for world in waiting)))

    def assertDecided(self, world):
        """Check that a message is final, is due later, or waits for its account or template."""
        message, account, template = world.message, world.account, world.template.exists()
        is_held = account.send_stop_reason or account.is_send_paused or not account.active or template.stop_reason
        is_later = message.next_attempt_at > self.began_at
        with self.subTest(world=world):
            self.assertTrue(
                message.state in FINAL or (message.state == "outgoing" and (is_held or is_later)), message.state
            )
            self.assertLessEqual(max(world.calls, message.attempts), MAX_CALLS)


class TestCallLimit(LimitCase):
    """A message has 8 calls at most, with any answers."""

    def _answer(self, answer):
        """Set one answer for all following calls."""
        self.wechat._answers.clear()
        self.wechat.answer(SEND_PATH, *[answer] * (2 * MAX_CALLS))

    def test_every_answer_leads_to_an_end(self):
        for answer in ANSWERS:
            self._create_world([answer])
        self._drain_worlds()
        for world in self.worlds.values():
            with self.subTest(world=world):
                self.assertIn(world.message.state, FINAL)

    def test_changing_answers_lead_to_an_end(self):
        for turn in range(len(MIXED)):
            self._create_world((MIXED[turn:] + MIXED[:turn]) * 2)
        self._drain_worlds()
        for world in self.worlds.values():
            with self.subTest(world=world):
                self.assertIn(world.message.state, FINAL)

    def test_changes_between_calls_lead_to_an_end(self):
        """Template, account, binding and document change between two calls."""
        changes = {
            "template": (
                lambda _world: None,
                lambda world: world.template.action_archive(),
                lambda world: world.template.unlink(),
                lambda world: world.template._suspend("40037"),
            ),
            "account": (lambda _world: None, lambda world: world.account.action_archive()),
            "binding": (
                lambda _world: None,
                lambda world: world.binding._set_subscribed(False, fields.Datetime.now()),
                lambda world: world.binding._unbind("x"),
            ),
            "document": (lambda _world: None, lambda world: world.document.unlink()),
        }
        combinations = list(itertools.product(*changes.values()))
        for number in range(len(combinations)):
            turn = number % len(MIXED)
            self._create_world((MIXED[turn:] + MIXED[:turn]) * 2)
        self.wechat.answer(SEND_PATH, *[self._answer_worlds] * (4 * len(combinations)))
        self._process_queue()
        for world, combination in zip(self.worlds.values(), combinations, strict=True):
            for change in combination:
                change(world)
        self.env.flush_all()
        self._drain_worlds()
        for world in self.worlds.values():
            if world.account.active and world.binding.is_subscribed:
                with self.subTest(world=world):
                    self.assertIn(world.message.state, FINAL)

    def test_calls_are_spread_over_hours(self):
        """A message survives a night without a network."""
        message = self._queue()
        waited = timedelta()
        for _call in range(MAX_CALLS):
            self._answer(OUT_OF_REACH)
            self._process_queue()
            waited += max(timedelta(), message.next_attempt_at - fields.Datetime.now())
            self._pass_time(message)
        self.assertGreater(waited, timedelta(hours=5))
        self.assertRecordValues(message, [{"state": "failed", "failure_type": "wechat_system", "attempts": MAX_CALLS}])
        self.assertIn("8 times", message.failure_reason)

    def test_ambiguous_result_becomes_unknown(self):
        message = self._queue()
        for answer in [*[OUT_OF_REACH] * (MAX_CALLS - 2), TIMEOUT, OUT_OF_REACH]:
            self._answer(answer)
            self._process_queue()
            self._pass_time(message)
        self.assertRecordValues(
            message, [{"state": "unknown", "failure_type": "wechat_unknown", "attempts": MAX_CALLS}]
        )

    def test_claim_ends_messages_without_calls_left(self):
        """Calls that killed processes have announced count too."""
        for first_call_at, state in (("NULL", "canceled"), ("now() AT TIME ZONE 'UTC'", "unknown")):
            message = self._queue()
            self._set(message, attempts=str(MAX_CALLS), first_call_at=first_call_at)
            self._process_queue()
            self.assertEqual((message.state, self.wechat.count(SEND_PATH)), (state, 0))
            self.assertIn("8 times", message.failure_reason)

    def test_repetitions_with_another_token_are_counted(self):
        message = self._queue()

        def answer(_call):
            self.wechat.renew_token()
            return {"errcode": 40001, "errmsg": "invalid credential"}

        for _turn in range(MAX_CALLS):
            self._answer(answer)
            self._process_queue()
            self.assertEqual(message.attempts, self.wechat.count(SEND_PATH))
            self._pass_time(message)
        self.assertEqual((message.state, message.attempts), ("failed", MAX_CALLS))

    def test_call_is_counted_without_another_token(self):
        message = self._queue()
        self.wechat.answer(SEND_PATH, {"errcode": 40001, "errmsg": "invalid credential"})
        self.wechat.answer(TOKEN_PATH, {"access_token": self.wechat.token, "expires_in": 7200}, 502, 502, 502)
        self._process_queue()
        self.assertEqual((message.state, message.attempts), ("outgoing", self.wechat.count(SEND_PATH)))

    def test_failing_suspension_of_a_template_causes_few_calls(self):
        message = self._queue()
        self._answer({"errcode": 43116, "errmsg": "This template_id is banned"})
        with patch.object(type(self.template), "_suspend", lambda _template, _reason: 1 / 0):
            for _turn in range(MAX_CALLS + 2):
                self._process_queue()
                self._make_due(message)
        self.assertEqual((message.state, self.wechat.count(SEND_PATH)), ("failed", MAX_CALLS))

    def test_paused_account_is_not_called(self):
        """A used-up daily quota costs a message few of its calls."""
        message, other = self._queue(count=2)
        self._answer(USED_UP)
        self._process_queue()
        self._process_queue()
        self.assertEqual((message.attempts, other.attempts, self.wechat.count(SEND_PATH)), (1, 0, 1))
        waits = []
        for _turn in range(3):
            waits.append(message.next_attempt_at - fields.Datetime.now())
            self._pass_time(message)
            self._process_queue()
        self.assertGreater(sum(waits, timedelta()), timedelta(hours=8))

    def test_end_of_a_pause_reschedules_messages(self):
        for end in (
            self.account.action_resume_sending,
            self.account._end_pause,
        ):
            message, later = self._queue(), self._queue(next_attempt_at=fields.Datetime.now() + timedelta(days=1))
            self.wechat.answer(SEND_PATH, USED_UP)
            self._process_queue()
            self.assertEqual(message.state, "outgoing")
            end()
            self.env.cr.execute("UPDATE wechat_account SET send_paused_until = now() AT TIME ZONE 'UTC'")
            self._process_queue()
            self.assertEqual((message.state, later.state), ("sent", "outgoing"))
            self.assertGreater(later.next_attempt_at, fields.Datetime.now() + timedelta(hours=23))

    def test_answer_reschedules_messages_after_an_outage(self):
        self._bind(self.other_merchant)
        message, other = self._queue(self.merchant, self.other_merchant)
        self._answer(OUT_OF_REACH)
        self._process_queue()
        self.account._pause_sending(60, "x")
        self.wechat._answers.clear()
        self._set(message, next_attempt_at="now() AT TIME ZONE 'UTC' + interval '5 hours'")
        self._pass_time(other)
        self._process_queue()
        self._process_queue()
        self.assertEqual((message.state, other.state), ("sent", "sent"))


@tagged("post_install", "-at_install", "wechat_tools")
class TestSendCall(BaseCase):
    """SendCall keeps the limits of a message."""

    def _make(self, **values):
        """Make a call; return whether WeChat was called."""
        calls = []

        class Client:
            def send_template(self, *_args):
                calls.append(1)
                return {"msgid": "1"}

        now = fields.Datetime.now()
        values = {"first_call_at": now, "lease_until": now + timedelta(minutes=1), **values}
        call = SendCall(1, 1, "send_template", ({},), client=Client(), **values)
        call.make()
        self.assertEqual(bool(call.answer), bool(calls))
        return bool(calls), call

    def test_called(self):
        self.assertTrue(self._make()[0])

    @mute_logger(LOGGERS[3])
    def test_no_call_beyond_the_limit(self):
        self.assertTrue(self._make(number=MAX_CALLS)[0])
        self.assertFalse(self._make(number=MAX_CALLS + 1)[0])

    @mute_logger(LOGGERS[3])
    def test_no_second_call(self):
        _is_called, call = self._make()
        call.answer = None
        call.make()
        self.assertIsNone(call.answer)

    @mute_logger(LOGGERS[3])
    def test_no_call_after_the_repeat_time(self):
        begun_at = fields.Datetime.now() - timedelta(seconds=REPEAT_SECONDS)
        self.assertTrue(self._make(first_call_at=begun_at + timedelta(seconds=5))[0])
        self.assertFalse(self._make(first_call_at=begun_at)[0])


class TestTemplateGone(QuietCase, ChannelCase):
    """A message without its template is not sent, and its failure is in the chatter."""

    def setUp(self):
        super().setUp()
        self._bind()

    def assertEnded(self, message, words, state="canceled"):
        """Check that a message has visibly ended for lack of a template, without a call."""
        row = self.assertWechatNotification(message, self.merchant, state, "wechat_template")
        self.assertIn(words, row.failure_reason)
        notification = message.notification_ids
        self.assertEqual(notification._wechat_get_failure_reasons(), {notification.id: row.failure_reason})
        self.assertEqual(notification.notification_status, "exception")

    def test_deleted(self):
        message = self._send(scheduled_at=fields.Datetime.now() + timedelta(days=6))
        self.template.unlink()
        self.assertEnded(message, "deleted")

    def test_deleted_by_the_database(self):
        """The database deletes the templates of a removed model."""
        message = self._send()
        self.env.flush_all()
        self.env.cr.execute("DELETE FROM wechat_template WHERE id = %s", [self.template.id])
        self.env.invalidate_all()
        self.send_wechat_outbox()
        self.assertEnded(message, "deleted")
        self.assertFalse(self.wechat.count(SEND_PATH))

    def test_deleted_after_wechat_has_refused_it(self):
        message = self._send()
        self.wechat.answer(SEND_PATH, *[{"errcode": 40037, "errmsg": "invalid template_id"}] * 20)
        self.send_wechat_outbox()
        self.assertTrue(self.template.stop_reason)
        self.template.unlink()
        for _turn in range(3):
            self.send_wechat_outbox()
        self.assertEnded(message, "deleted")
        self.assertEqual(self.wechat.count(SEND_PATH), 1)

    def test_archived(self):
        message = self._send()
        self.template.action_archive()
        self.send_wechat_outbox()
        self.assertEnded(message, "archived")
        self.assertFalse(self.wechat.count(SEND_PATH))

    def test_archived_after_it_was_stopped(self):
        message = self._send()
        self.template._suspend("40037")
        self.template.action_archive()
        self.send_wechat_outbox()
        self.assertEnded(message, "archived")

    def test_nothing_is_queued_with_an_archived_template(self):
        self.template.action_archive()
        self.assertEnded(self._send(), "archived", "failed")
        cards = self.template._prepare_cards(self.merchant)
        self.assertEnded(self.merchant._message_wechat(self.template, cards), "archived", "failed")
        queued = self.env["wechat.message"]._queue(
            [{"partner_id": self.merchant.id, "template_id": self.template.id, "card": {}, "body": ""}]
        )
        self.assertEqual((queued.state, queued.failure_type), ("failed", "wechat_template"))
        composer = self.env["wechat.composer"].create(
            {"template_id": self.template.id, "res_model": "res.partner", "res_ids": f"[{self.merchant.id}]"}
        )
        with self.assertRaisesRegex(UserError, "archived"):
            composer.action_send()
        test = self.env["wechat.template.test"].with_user(self.manager)
        test = test.create({"template_id": self.template.id, "partner_id": self.merchant.id})
        with self.assertRaisesRegex(UserError, "archived"):
            test.action_send()
        self.account.welcome_template_id = self.template
        self.env["wechat.binding"].search([("partner_id", "=", self.merchant.id)])._queue_welcome()
        self.assertFalse(self.env["wechat.message"].search([("kind", "=", "welcome")]))

    def test_nothing_is_queued_without_a_template(self):
        queued = self.env["wechat.message"]._queue([{"partner_id": self.merchant.id, "card": {}, "body": ""}])
        self.assertEqual((queued.state, queued.failure_type), ("failed", "wechat_template"))

    def test_negative_valid_hours_are_refused(self):
        with self.assertRaises(CheckViolation), mute_logger("odoo.sql_db"), self.cr.savepoint():
            self.template.valid_hours = -1
            self.env.flush_all()

    def test_update_replaces_negative_valid_hours(self):
        self.env.flush_all()
        self.env.cr.execute("ALTER TABLE wechat_template DROP CONSTRAINT wechat_template_valid_hours_positive")
        self.env.cr.execute("UPDATE wechat_template SET valid_hours = -1 WHERE id = %s", [self.template.id])
        path = file_path("wechat_merchant_bind/migrations/19.0.1.4.0/pre-valid_hours.py")
        load_script(path, "pre_valid_hours").migrate(self.env.cr, "19.0.1.3.0")
        self.env.invalidate_all()
        self.assertEqual(self.template.valid_hours, 24)


class TestDocumentGone(QuietCase, OutboxCase):
    """A message about a deleted document is not sent."""

    def _queue_about(self, **values):
        document = self.env["res.partner"].create({"name": "订单"})
        return document, self._queue(res_model="res.partner", res_id=document.id, **values)

    def test_deleted(self):
        document, message = self._queue_about()
        other = self._queue_about()[1]
        document.unlink()
        self._process_queue()
        self.assertRecordValues(
            message,
            [
                {
                    "state": "canceled",
                    "failure_type": "wechat_expired",
                    "attempts": 0,
                    "first_call_at": False,
                    "lease_until": False,
                    "failure_reason": "The document was deleted before the message was sent.",
                }
            ],
        )
        self.assertEqual((other.state, self.wechat.count(SEND_PATH)), ("sent", 1))

    def test_document_of_a_removed_model(self):
        message = self._queue(res_model="no.such.model", res_id=1)
        self._process_queue()
        self.assertEqual((message.state, self.wechat.count(SEND_PATH)), ("canceled", 0))

    def test_deleted_after_wechat_may_have_taken_it(self):
        document, message = self._queue_about()
        self.wechat.answer(SEND_PATH, 502)
        self._process_queue()
        document.unlink()
        self._make_due(message)
        self._process_queue()
        self.assertRecordValues(message, [{"state": "unknown", "failure_type": "wechat_unknown", "attempts": 1}])


class TestSentAgain(QuietCase, ChannelCase):
    """Resending renders the card again, and refuses cards with errors."""

    def setUp(self):
        super().setUp()
        self._bind()
        self.message = self._send()
        self.row = self._fail(self.message)

    def _fail(self, message, **values):
        row = self._get_rows(message)
        row.write({"state": "failed", "failure_type": "wechat_value", "failure_reason": "47003", **values})
        row._sync_notifications()
        self.env.flush_all()
        return row

    def _resend(self, rows=None):
        return (rows or self.row).with_user(self.user).action_resend()

    def assertRefused(self, words):
        with self.assertRaisesRegex(UserError, words):
            self._resend()
        self.assertFalse(self.row.resent_ids)

    def test_card_is_rendered_again(self):
        self.merchant.name = "杭州龙井茶庄"
        self.template.line_ids[1].value = "NO{{ object.id }}"
        self._resend()
        again = self.row.resent_ids
        self.assertEqual(
            {key: datum["value"] for key, datum in again.card["data"].items()},
            {"thing1": "杭州龙井茶庄", "character_string2": f"NO{self.merchant.id}"},
        )
        self.assertIn("杭州龙井茶庄", again.body)
        self.assertEqual((again.state, again.template_uid), ("outgoing", self.template.template_uid))
        self.assertEqual(self.message.notification_ids.notification_status, "ready")
        self.assertIn("杭州龙井茶庄", str(self.message.body), "The chatter shows the new card")

    def test_refused_with_a_value_that_is_still_wrong(self):
        self.template.line_ids[1].write({"key": "amount2", "value": "无"})
        self.assertRefused("编号")
        self.template.line_ids[1].value = "{{ object.no_such_field }}"
        self.assertRefused("no_such_field")

    def test_refused_without_its_document(self):
        rows = self.row
        rows.write({"res_id": self.env["res.partner"].search([], order="id desc", limit=1).id + 1000})
        self.assertRefused("deleted")

    def test_refused_for_an_unreadable_document(self):
        self.row.write({"res_model": "ir.config_parameter", "res_id": 1})
        self.template.model_id = self.env["ir.model"]._get("ir.config_parameter")
        self.assertRefused("may not read")

    def test_refused_without_its_template(self):
        self.template.action_archive()
        self.assertRefused("archived")
        self.template.action_unarchive()
        self.template.is_vanished = True
        self.assertRefused("any more")
        self.template.unlink()
        self.assertRefused("deleted")

    def test_refused_for_an_unreachable_recipient(self):
        binding = self._get_live_binding()
        binding._set_subscribed(False, fields.Datetime.now())
        self.assertRefused("unfollowed")
        binding._unbind("x")
        self.assertRefused("not bound")

    def test_refused_with_a_wrong_value_and_no_document(self):
        self.row.write({"res_model": False, "res_id": False})
        self.assertRefused("47003")

    def test_refusals_do_not_stop_other_messages(self):
        self.other_merchant.name = "一" * 5
        self._bind(self.other_merchant)
        other = self._fail(self._send(self.other_merchant))
        self._get_live_binding(self.other_merchant)._unbind("x")
        action = self._resend(self.row + other)
        self.assertEqual(action["params"]["type"], "warning")
        self.assertIn("not bound", action["params"]["message"])
        self.assertTrue(self.row.resent_ids)
        self.assertFalse(other.resent_ids)

    def test_each_contact_gets_its_own_language(self):
        contact = self._create_merchant("Accountant", lang="en_US", is_company=False)
        self._bind(contact)
        self.template.line_ids[0].value = "{{ object.env.context.get('lang') }}"
        rows = self._fail(self._send(partner_ids=(self.merchant + contact).ids))
        self._resend(rows)
        values = {row.partner_id: row.card["data"]["thing1"]["value"] for row in rows.resent_ids}
        self.assertEqual(values, {self.merchant: "zh_CN", contact: "en_US"})


class TestScheduled(OutboxCase):
    """Scheduled messages keep their time."""

    def test_following_again_reschedules_waiting_messages(self):
        moment = fields.Datetime.now() + timedelta(days=6)
        waiting, soon, scheduled = (
            self._queue(),
            self._queue(next_attempt_at=fields.Datetime.now() + timedelta(minutes=10)),
            self._queue(next_attempt_at=moment),
        )
        self.binding._set_subscribed(False, fields.Datetime.now())
        self._process_queue()
        self.assertEqual(waiting.state, "outgoing")
        self.binding._set_subscribed(True, fields.Datetime.now())
        self._process_queue()
        self.assertEqual((waiting + soon + scheduled).mapped("state"), ["sent", "outgoing", "outgoing"])
        self.assertEqual(scheduled.next_attempt_at, moment)

    def test_following_again_keeps_other_delays(self):
        message = self._queue()
        self.wechat.answer(SEND_PATH, {"errcode": 43117, "errmsg": "too frequently"})
        self._process_queue()
        held_until = message.next_attempt_at
        self.binding._set_subscribed(False, fields.Datetime.now())
        self.binding._set_subscribed(True, fields.Datetime.now())
        self.assertEqual(message.next_attempt_at, held_until)

    def test_resuming_keeps_scheduled_times(self):
        moment = fields.Datetime.now() + timedelta(days=6)
        scheduled = self._queue(next_attempt_at=moment)
        self.template._suspend("40037")
        self.account._suspend("48001")
        self.template.action_resume()
        self.account.action_resume_sending()
        self.account._end_pause()
        self._process_queue()
        self.assertEqual((scheduled.state, scheduled.next_attempt_at), ("outgoing", moment))

    def test_enabling_keeps_scheduled_times(self):
        """Messages queued for an enabled merchant after its disabling keep their time."""
        self.merchant.action_archive()
        self.merchant.action_unarchive()
        moment = fields.Datetime.now() + timedelta(days=6)
        scheduled = self._queue(next_attempt_at=moment)
        self.merchant.action_archive()
        self.assertEqual(scheduled.failure_type, "wechat_disabled")
        self.merchant.action_unarchive()
        self.assertEqual((scheduled.state, scheduled.next_attempt_at), ("canceled", moment))

    def test_daily_limit_is_reset_the_next_day(self):
        self.account.daily_limit = 1
        messages = self._queue(count=2)
        scheduled = self._queue(next_attempt_at=fields.Datetime.now() + timedelta(days=6))
        moment = scheduled.next_attempt_at
        self._process_queue()
        self.assertEqual(messages.mapped("state").count("sent"), 1)
        self.assertEqual(scheduled.next_attempt_at, moment)
