import itertools
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.modules.migration import load_script
from odoo.tools import file_path

from ...models.outbox import wechat_event
from ..common import FIRST_MSGID
from ..common_push import SCAN_TIME, WechatPushCase

TEXT = "x"
CRON = "wechat_merchant_bind.ir_cron_apply_receipts"


class ReceiptCase(WechatPushCase):
    """Base class with a bound merchant and receipts of its messages."""

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.object(wechat_event, "LAST_LOOK_SECONDS", 0))
        self.startPatcher(patch.object(wechat_event, "_woken_at", {}))
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)
        self._msgids = itertools.count(FIRST_MSGID)

    def _create_message(self, state="sent", msgid=None, began=timedelta(minutes=1), **values):
        """Create a message after its call, with or without WeChat's number."""
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
        """Run the scheduled action.

        :param bool later: whether the receipts that wait are due again.
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
        """Set the creation time of records to the past."""
        self.env.flush_all()
        self.env.cr.execute(
            f"UPDATE {records._table} SET create_date = %s WHERE id = ANY(%s)",
            [fields.Datetime.now() - timedelta(**age), records.ids],
        )
        self.env.invalidate_all()


class TestReceipts(ReceiptCase):
    """Results of receipts for their messages."""

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

    def test_receipt_in_each_state(self):
        """Delivered is final; failures only apply to messages that may have been sent."""
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

    def test_repeated_and_unordered_receipts(self):
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

    def test_first_failure_is_kept(self):
        """The first failure stays, in one batch or in two."""
        for is_apart in (True, False):
            message = self._create_message(msgid=str(next(self._msgids)))
            for status in ("failed:user block", "failed:system failed"):
                self._push_receipt(message.msgid, status)
                if is_apart:
                    self._apply()
            self._apply()
            self.assertEqual(message.failure_type, "wechat_blocked")

    def test_number_has_64_bits(self):
        messages = [self._create_message(msgid=str(FIRST_MSGID + 100 + number)) for number in range(2)]
        self._push_receipt(messages[1].msgid)
        self._apply()
        self.assertEqual([message.state for message in messages], ["sent", "delivered"])

    def test_receipt_of_another_account(self):
        """Two accounts may give the same number."""
        other = self._create_account()
        message = self._create_message(msgid="42")
        self._push_receipt(42, account=other)
        self._apply(later=True)
        self.assertEqual(message.state, "sent")

    def test_receipt_of_another_recipient(self):
        """A receipt does not apply to a message with its number to another OpenID."""
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
        """WeChat has given 0 to messages of several recipients."""
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

    def test_migration_deletes_zero(self):
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

    def test_receipt_without_a_number(self):
        answer = self._push_event("TEMPLATESENDJOBFINISH", self.openid, Status="success")
        self.assertSilent(answer)
        self._apply()
        self.assertEqual(self._get_receipts().state, "ignored")


class TestEarlyReceipts(ReceiptCase):
    """Receipts before the commit of the result, or without a result because the process was killed."""

    def test_receipt_before_the_commit_of_the_result(self):
        lease = fields.Datetime.now() + timedelta(minutes=1)
        message = self._create_message("sending", lease_until=lease)
        self._push_receipt(FIRST_MSGID)
        self._apply()
        self.assertRecordValues(message, [{"state": "sending", "msgid": False}])
        self.assertEqual(self._get_receipts().state, "received")
        message.write({"state": "sent", "msgid": str(FIRST_MSGID), "lease_until": False})
        self._apply()
        self.assertEqual(message.state, "sent", "The receipt waits for its next check")
        self._apply(later=True)
        self.assertEqual(message.state, "delivered")

    def test_number_of_a_repetition_applies_its_receipt(self):
        """Storing a number after a second call applies a receipt that has waited for it."""
        message = self._create_message("sending", lease_until=fields.Datetime.now() + timedelta(minutes=1))
        self._push_receipt(FIRST_MSGID)
        for _number in range(3):
            self._apply(later=True)
        message.write({"state": "sent", "msgid": str(FIRST_MSGID), "lease_until": False})
        self._apply()
        self.assertEqual(message.state, "sent")
        self.env["wechat.event"]._retry_receipts_now(message)
        self._apply()
        self.assertEqual(message.state, "delivered")

    def test_message_of_a_killed_process_adopts_its_receipt(self):
        """In each state that a killed process can leave."""
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

    def test_ambiguous_receipts_are_not_adopted(self):
        """Two candidates, a later call, no call, a known result, another recipient."""
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
        """The first receipt is adopted, the second is not."""
        message = self._create_message("unknown")
        msgids = [str(next(self._msgids)) for _number in range(2)]
        for msgid in msgids:
            self._push_receipt(msgid)
        self._apply()
        self.assertRecordValues(message, [{"state": "delivered", "msgid": msgids[0]}])
        self.assertEqual(self._get_receipts().mapped("state"), ["received", "done"][::-1])

    def test_receipts_are_kept_three_days(self):
        self._push_receipt(FIRST_MSGID)
        for days, state in ((2.9, "received"), (3.1, "ignored")):
            self._age(self._get_receipts(), days=days)
            self._apply(later=True)
            self.assertEqual(self._get_receipts().state, state)

    def test_checks_become_less_frequent(self):
        self._push_receipt(FIRST_MSGID)
        waits = []
        for _number in range(4):
            self._apply(later=True)
            receipt = self._get_receipts()
            waits.append((receipt.next_attempt_at - receipt.write_date).total_seconds())
        for wait, expected in zip(waits, [1, 6, 36, 216], strict=True):
            self.assertAlmostEqual(wait, expected, delta=1)


class TestReceiptCost(ReceiptCase):
    """Cost of receipts, of which every message brings one."""

    def _insert_receipts(self, count, status="success"):
        """Store receipts like pushes."""
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
        with self.assertQueryCount(12):
            number, messages = events._apply_batch()
            self.env.flush_all()
        self.assertEqual((number, len(messages)), (200, 200))
        self.assertEqual(set(messages.mapped("state")), {"delivered"})

    def test_scheduled_action_is_triggered_once_a_second(self):
        triggers = self.env["ir.cron.trigger"]
        domain = [("cron_id", "=", self.env.ref(CRON).id)]
        for number in range(3):
            self._push_receipt(FIRST_MSGID + number)
        self.assertEqual(triggers.search_count(domain), 1)
        wechat_event._woken_at.clear()
        self._push_receipt(FIRST_MSGID + 3)
        self.assertEqual(triggers.search_count(domain), 2)

    def test_inbox_retry_ignores_receipts(self):
        self._push_receipt(FIRST_MSGID)
        self._age(self._get_receipts(), hours=25)
        self.env.ref("wechat_merchant_bind.ir_cron_retry_events").method_direct_trigger()
        self.assertRecordValues(self._get_receipts(), [{"state": "received", "attempts": 0}])

    def test_manager_applies_a_receipt_at_once(self):
        self._push_receipt(FIRST_MSGID)
        self._apply()
        message = self._create_message(msgid=str(FIRST_MSGID))
        self._get_receipts().with_user(self.manager).action_retry()
        self.env.invalidate_all()
        self.assertEqual((message.state, self._get_receipts().state), ("delivered", "done"))


class TestReceiptConsequences(ReceiptCase):
    """Consequences of receipts for bindings, notifications and other messages."""

    def _apply_status(self, status, **values):
        message = self._create_message(msgid=str(next(self._msgids)), **values)
        self._push_receipt(message.msgid, status)
        self._apply()
        return message

    def test_refusal_marks_and_delivery_unmarks_the_binding(self):
        self._apply_status("failed:user block")
        self.assertTrue(self.binding.is_blocked)
        self._apply_status("success", began=timedelta(hours=1))
        self.assertTrue(self.binding.is_blocked, "The delivered message was sent before the refusal")
        self._apply_status("failed: system failed")
        self.assertTrue(self.binding.is_blocked)
        self._apply_status("success", began=timedelta(seconds=-60))
        self.assertFalse(self.binding.is_blocked)

    def test_last_receipt_of_a_batch_counts(self):
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

    def test_following_again_clears_a_refusal(self):
        self.binding.last_event_at = fields.Datetime.now()
        self._apply_status("failed:user block")
        self.assertFalse(self.binding.is_blocked)

    def test_other_bindings_are_not_marked(self):
        other = self._bind(self.other_merchant)
        self._apply_status("failed:user block")
        self.assertFalse(other.is_blocked)

    def test_notifications_are_updated(self):
        note = self.merchant.message_post(body=TEXT)
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

    def test_applied_receipts_are_deleted_after_three_days(self):
        """One comes for each message; the others are kept as long as the account says."""
        self._apply_status("success")
        waiting = self._push_event("VIEW", self.openid) and self._get_events()[-1]
        receipt = self._get_receipts()
        for days, is_kept in ((2.9, True), (3.1, False)):
            self._age(receipt + waiting, days=days)
            self.env["wechat.event"]._gc_receipts()
            self.assertEqual(bool(receipt.exists()), is_kept)
        self.assertTrue(waiting.exists())
