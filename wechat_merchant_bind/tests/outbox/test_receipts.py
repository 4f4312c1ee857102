import itertools
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.modules.migration import load_script
from odoo.tools import file_path

from ...models.outbox import wechat_event as wechat_event_receipt
from ..common import FIRST_MSGID
from ..common_push import SCAN_TIME, WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_apply_receipts"


class ReceiptCase(WechatPushCase):
    """A bound merchant, and receipts of what it was sent."""

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.object(wechat_event_receipt, "LINGER_SECONDS", 0))
        self.startPatcher(patch.object(wechat_event_receipt, "_woken_at", {}))
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)
        self._msgids = itertools.count(FIRST_MSGID)

    def _create_message(self, state="sent", msgid=None, began=timedelta(minutes=1), **values):
        """Create a message as its sender has left it: called for, and with WeChat's number if it got as far."""
        message = self.env["wechat.message"].create(
            {
                "partner_id": self.merchant.id,
                "partner_name": self.merchant.name,
                "account_id": self.account.id,
                "company_id": self.account.company_id.id,
                "openid": self.openid,
                "state": state,
                "msgid": msgid,
                "first_call_at": fields.Datetime.now() - began,
                **values,
            }
        )
        self.env.flush_all()
        return message

    def _push_receipt(self, msgid, status="success", openid=None, create_time=SCAN_TIME, **kwargs):
        answer = self._push_event(
            "TEMPLATESENDJOBFINISH", openid or self.openid, create_time, MsgID=int(msgid), Status=status, **kwargs
        )
        self.assertSilent(answer)

    def _apply(self, later=False):
        """Let the scheduled action run.

        :param bool later: so late that receipts which wait are looked at again.
        """
        if later:
            self.env.cr.execute(
                "UPDATE wechat_event SET next_attempt_at = create_date WHERE next_attempt_at IS NOT NULL"
            )
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _get_receipts(self):
        return self._get_events().filtered(lambda event: event.event == "templatesendjobfinish")

    def _age(self, records, **age):
        """Let records have been made long ago."""
        self.env.flush_all()
        self.env.cr.execute(
            f"UPDATE {records._table} SET create_date = %s WHERE id = ANY(%s)",
            [fields.Datetime.now() - timedelta(**age), records.ids],
        )
        self.env.invalidate_all()


class TestReceipts(ReceiptCase):
    """What a receipt makes of its message."""

    def test_each_status(self):
        for status, state, failure_type in (
            ("success", "delivered", False),
            ("failed:user block", "failed", "wechat_blocked"),
            ("failed: user block", "failed", "wechat_blocked"),
            ("failed:system failed", "failed", "wechat_system"),
            ("failed: system failed", "failed", "wechat_system"),
            ("failed:freq limit", "failed", "wechat_frequency"),
            ("failed: the moon was full", "failed", "wechat_receipt"),
            ("", "failed", "wechat_receipt"),
        ):
            with self.subTest(status=status):
                msgid = str(next(self._msgids))
                message = self._create_message(msgid=msgid)
                self._push_receipt(msgid, status)
                self.assertEqual(message.state, "sent", "A push only stores its receipt")
                self._apply()
                self.assertRecordValues(message, [{"state": state, "failure_type": failure_type}])
                self.assertEqual(message.receipt_status or "", status)
                self.assertEqual(bool(message.delivered_at), state == "delivered")
                self.assertEqual(bool(message.failure_reason), bool(failure_type))
                if failure_type:
                    self.assertIn(status, message.failure_reason)
                self.assertEqual(self._get_receipts()[-1].state, "done")

    def test_from_each_state(self):
        """Delivered is final, and no failure undoes what was not sent by us."""
        states = ("outgoing", "sending", "sent", "delivered", "unknown", "failed", "canceled")
        for status, expected in (
            ("success", ("delivered",) * 6 + ("canceled",)),
            ("failed: system failed", ("failed",) * 3 + ("delivered",) + ("failed",) * 2 + ("canceled",)),
        ):
            messages = [self._create_message(state, str(next(self._msgids))) for state in states]
            for message in messages:
                self._push_receipt(message.msgid, status)
            self._apply()
            self.assertEqual(tuple(message.state for message in messages), expected, status)

    def test_three_times_and_out_of_order(self):
        for order in itertools.permutations(["success", "failed:system failed", "success"]):
            with self.subTest(order=order):
                message = self._create_message(msgid=str(next(self._msgids)))
                for second, status in enumerate(order):
                    self._push_receipt(message.msgid, status, create_time=SCAN_TIME - second)
                    self._push_receipt(message.msgid, status, create_time=SCAN_TIME - second)
                    self._apply()
                    self._push_receipt(message.msgid, status, create_time=SCAN_TIME - second)
                self._apply()
                self.assertRecordValues(message, [{"state": "delivered", "receipt_status": "success"}])
        self.assertEqual(set(self._get_receipts().mapped("state")), {"done"})

    def test_a_failure_and_then_another(self):
        """The first one stays, whichever is applied together."""
        for is_apart in (True, False):
            message = self._create_message(msgid=str(next(self._msgids)))
            for status in ("failed:user block", "failed:system failed"):
                self._push_receipt(message.msgid, status)
                if is_apart:
                    self._apply()
            self._apply()
            self.assertEqual(message.failure_type, "wechat_blocked")

    def test_the_number_has_64_bits(self):
        messages = [self._create_message(msgid=str(FIRST_MSGID + 100 + number)) for number in range(2)]
        self._push_receipt(messages[1].msgid)
        self._apply()
        self.assertEqual([message.state for message in messages], ["sent", "delivered"])

    def test_of_another_account(self):
        """Two accounts may give the same number."""
        other = self._create_account()
        message = self._create_message(msgid="42")
        self._push_receipt(42, account=other)
        self._apply(later=True)
        self.assertEqual(message.state, "sent")

    def test_of_another_person(self):
        """A number that was given to two people tells nothing of the message to the other one."""
        message = self._create_message(msgid="42")
        other = self._create_message("unknown", openid=self._make_openid())
        self._push_receipt(42, "failed:user block", openid=other.openid)
        self._apply(later=True)
        expected = [{"state": "sent", "msgid": "42"}, {"state": "unknown", "msgid": False}]
        self.assertRecordValues(message + other, expected)
        self.assertFalse(self.binding.is_blocked)
        self.assertEqual(self._get_receipts().state, "received")
        self._push_receipt(42)
        self._apply()
        self.assertEqual(message.state, "delivered")
        self.assertEqual(self._get_receipts().mapped("state"), ["received", "done"])

    def test_zero_is_no_number(self):
        """WeChat has sent it for messages of several people."""
        message = self._create_message("unknown")
        for number, msgid in enumerate(("0", "000")):
            self.assertSilent(
                self._push_event(
                    "TEMPLATESENDJOBFINISH", self.openid, SCAN_TIME + number, MsgID=msgid, Status="success"
                )
            )
        self._apply(later=True)
        self.assertRecordValues(message, [{"state": "unknown", "msgid": False}])
        self.assertRecordValues(self._get_receipts(), [{"state": "ignored", "msgid": False}] * 2)

    def test_the_migration_forgets_zero(self):
        message, other = self._create_message(msgid="0"), self._create_message(msgid="10")
        self._push_receipt(10)
        receipts = self._get_receipts()
        receipts += receipts.copy({"dedupe_key": "zero", "signature": False, "msgid": "0", "state": "received"})
        self.env.flush_all()
        load_script(file_path("wechat_merchant_bind/migrations/19.0.1.4.0/post-msgid.py"), "post-msgid").migrate(
            self.env.cr, "19.0.1.3.0"
        )
        self.env.invalidate_all()
        self.assertEqual((message + other).mapped("msgid"), [False, "10"])
        self.assertEqual(receipts.mapped("msgid"), ["10", False])
        self.assertEqual(receipts.mapped("state"), ["received", "ignored"])

    def test_a_receipt_without_a_number(self):
        answer = self._push_event("TEMPLATESENDJOBFINISH", self.openid, Status="success")
        self.assertSilent(answer)
        self._apply()
        self.assertEqual(self._get_receipts().state, "ignored")


class TestEarlyReceipts(ReceiptCase):
    """Receipts that come before their sender's commit, or whose sender died before it."""

    def test_before_the_senders_commit(self):
        lease = fields.Datetime.now() + timedelta(minutes=1)
        message = self._create_message("sending", lease_until=lease)
        self._push_receipt(FIRST_MSGID)
        self._apply()
        self.assertRecordValues(message, [{"state": "sending", "msgid": False}])
        self.assertEqual(self._get_receipts().state, "received")
        message.write({"state": "sent", "msgid": str(FIRST_MSGID), "lease_until": False})
        self._apply()
        self.assertEqual(message.state, "sent", "It is looked at again after a while")
        self._apply(later=True)
        self.assertEqual(message.state, "delivered")

    def test_a_repetition_brings_the_number(self):
        """Whoever stores a number after a second call has a receipt applied that has waited for it for long."""
        message = self._create_message("sending", lease_until=fields.Datetime.now() + timedelta(minutes=1))
        self._push_receipt(FIRST_MSGID)
        for _number in range(3):
            self._apply(later=True)
        message.write({"state": "sent", "msgid": str(FIRST_MSGID), "lease_until": False})
        self._apply()
        self.assertEqual(message.state, "sent")
        self.env["wechat.event"]._hurry_receipts([(self.account.id, str(FIRST_MSGID))])
        self._apply()
        self.assertEqual(message.state, "delivered")

    def test_of_a_dead_sender(self):
        """Whatever the sender has left the message as."""
        lease = fields.Datetime.now() - timedelta(seconds=1)
        for state, values in (
            ("sending", {"lease_until": lease}),
            ("outgoing", {}),
            ("unknown", {"failure_type": "wechat_unknown"}),
            ("sent", {}),
        ):
            for status, expected in (("success", "delivered"), ("failed:system failed", "failed")):
                with self.subTest(state=state, status=status):
                    self.openid = self._make_openid()
                    message = self._create_message(state, **values)
                    msgid = str(next(self._msgids))
                    self._push_receipt(msgid, status)
                    self._push_receipt(msgid, status, create_time=SCAN_TIME + 1)
                    self._apply()
                    self.assertRecordValues(message, [{"state": expected, "msgid": msgid, "lease_until": False}])
                    self.assertEqual(self._get_receipts()[-2:].mapped("state"), ["done"] * 2)

    def test_nobody_adopts_what_may_be_anothers(self):
        """Two may have sent it; it began later; nothing was sent; its fate is known; it is another's."""
        other_openid = self._make_openid()
        for name, prepare in (
            ("two", lambda: self._create_message("unknown") + self._create_message("unknown")),
            (
                "busy",
                lambda: (
                    self._create_message("unknown")
                    + self._create_message("sending", lease_until=fields.Datetime.now() + timedelta(minutes=1))
                ),
            ),
            ("later", lambda: self._create_message("unknown", began=timedelta(minutes=-5))),
            ("long ago", lambda: self._create_message("unknown", began=timedelta(days=4))),
            ("not called", lambda: self._create_message("outgoing", first_call_at=False)),
            ("refused", lambda: self._create_message("failed")),
            ("numbered", lambda: self._create_message("sent", msgid="7")),
            ("another", lambda: self._create_message("unknown", openid=other_openid)),
        ):
            with self.subTest(name):
                self.openid = self._make_openid()
                messages = prepare()
                states, msgids = messages.mapped("state"), messages.mapped("msgid")
                self._push_receipt(next(self._msgids))
                self._apply(later=True)
                self.assertEqual((messages.mapped("state"), messages.mapped("msgid")), (states, msgids))
                self.assertEqual(self._get_receipts()[-1].state, "received")

    def test_one_message_adopts_one_receipt(self):
        """The first one; the other is somebody else's."""
        message = self._create_message("unknown")
        msgids = [str(next(self._msgids)) for _number in range(2)]
        for msgid in msgids:
            self._push_receipt(msgid)
        self._apply()
        self.assertRecordValues(message, [{"state": "delivered", "msgid": msgids[0]}])
        self.assertEqual(self._get_receipts().mapped("state"), ["received", "done"][::-1])

    def test_kept_three_days(self):
        self._push_receipt(FIRST_MSGID)
        for days, state in ((2.9, "received"), (3.1, "ignored")):
            self._age(self._get_receipts(), days=days)
            self._apply(later=True)
            self.assertEqual(self._get_receipts().state, state)

    def test_they_are_looked_at_less_and_less(self):
        self._push_receipt(FIRST_MSGID)
        waits = []
        for _number in range(4):
            self._apply(later=True)
            receipt = self._get_receipts()
            waits.append(round((receipt.next_attempt_at - receipt.write_date).total_seconds()))
        self.assertEqual(waits, [1, 6, 36, 216])


class TestReceiptCost(ReceiptCase):
    """What receipts cost: as many come back as messages are sent."""

    def _insert_receipts(self, count, status="success"):
        """Store receipts as pushes do."""
        for number in range(count):
            message = {
                "FromUserName": self.openid, "MsgType": "event", "Event": "TEMPLATESENDJOBFINISH",
                "CreateTime": str(SCAN_TIME), "MsgID": str(FIRST_MSGID + number), "Status": status,
            }  # fmt: skip
            self.env["wechat.event"]._receive(self.account.sudo()._get_webhook(), message)

    def test_a_batch_takes_few_queries(self):
        self.env["wechat.message"].create(
            [
                {
                    "account_id": self.account.id,
                    "company_id": self.account.company_id.id,
                    "openid": self.openid,
                    "msgid": str(FIRST_MSGID + number),
                    "state": "sent",
                    "first_call_at": fields.Datetime.now(),
                }
                for number in range(200)
            ]
        )
        self._insert_receipts(200)
        events = self.env["wechat.event"]
        with self.assertQueryCount(5):
            receipts = events._claim_receipts()
            messages = self.env["wechat.message"]._apply_receipts(receipts)
            events._close_receipts(receipts)
        self.assertEqual(len(messages), 200)
        self.assertEqual(set(messages.mapped("state")), {"delivered"})

    def test_a_second_wakes_the_scheduled_action_once(self):
        triggers = self.env["ir.cron.trigger"]
        domain = [("cron_id", "=", self.env.ref(CRON).id)]
        for number in range(3):
            self._push_receipt(FIRST_MSGID + number)
        self.assertEqual(triggers.search_count(domain), 1)
        wechat_event_receipt._woken_at.clear()
        self._push_receipt(FIRST_MSGID + 3)
        self.assertEqual(triggers.search_count(domain), 2)

    def test_other_scheduled_actions_leave_them_alone(self):
        self._push_receipt(FIRST_MSGID)
        self._age(self._get_receipts(), hours=25)
        self.env.ref("wechat_merchant_bind.ir_cron_retry_events").method_direct_trigger()
        self.assertRecordValues(self._get_receipts(), [{"state": "received", "attempts": 0}])

    def test_a_manager_applies_one_at_once(self):
        self._push_receipt(FIRST_MSGID)
        self._apply()
        message = self._create_message(msgid=str(FIRST_MSGID))
        self._get_receipts().with_user(self.manager).action_retry()
        self.env.invalidate_all()
        self.assertEqual((message.state, self._get_receipts().state), ("delivered", "done"))


class TestWhatReceiptsMean(ReceiptCase):
    """What receipts change beside their messages."""

    def _apply_status(self, status, **values):
        message = self._create_message(msgid=str(next(self._msgids)), **values)
        self._push_receipt(message.msgid, status)
        self._apply()
        return message

    def test_a_refusal_marks_the_binding_and_a_delivery_unmarks_it(self):
        self._apply_status("failed:user block")
        self.assertTrue(self.binding.is_blocked)
        self._apply_status("success", began=timedelta(hours=1))
        self.assertTrue(self.binding.is_blocked, "It was sent before the refusal")
        self._apply_status("failed: system failed")
        self.assertTrue(self.binding.is_blocked)
        self._apply_status("success", began=timedelta(seconds=-60))
        self.assertFalse(self.binding.is_blocked)

    def test_the_last_of_a_batch_counts(self):
        for statuses, expected in (
            (("success", "failed:user block"), True),
            (("failed:user block", "success"), False),
        ):
            messages = [
                self._create_message(msgid=str(next(self._msgids)), began=timedelta(minutes=2 - number))
                for number in range(2)
            ]
            for message, status in reversed(list(zip(messages, statuses, strict=True))):
                self._push_receipt(message.msgid, status)
            self._apply()
            self.assertEqual(self.binding.is_blocked, expected)
            self.binding._mark_reachable()

    def test_following_again_outdates_a_refusal(self):
        self.binding.last_event_at = fields.Datetime.now()
        self._apply_status("failed:user block")
        self.assertFalse(self.binding.is_blocked)

    def test_other_people_are_not_marked(self):
        other = self._bind(self.other_merchant)
        self._apply_status("failed:user block")
        self.assertFalse(other.is_blocked)

    def test_notifications_are_told(self):
        note = self.merchant.message_post(body="x")
        for status, expected, failure_type in (
            ("success", "sent", False),
            ("failed:freq limit", "exception", "wechat_frequency"),
        ):
            note = self.merchant.message_post(body=status)
            notification = self.env["mail.notification"].create(
                {
                    "mail_message_id": note.id,
                    "res_partner_id": self.merchant.id,
                    "notification_type": "wechat",
                    "notification_status": "pending",
                }
            )
            self._apply_status(status, notification_id=notification.id)
            self.assertRecordValues(notification, [{"notification_status": expected, "failure_type": failure_type}])

    def test_what_waits_behind_a_message_is_sent_next(self):
        """A message that would be repeated is known to have arrived: the next one of its merchant is due."""
        waiting = self._create_message("outgoing", first_call_at=False, is_parked=True)
        message = self._create_message("outgoing", openid=self.openid)
        self._push_receipt(next(self._msgids))
        self._apply()
        self.assertEqual((message.state, waiting.is_parked), ("delivered", False))
