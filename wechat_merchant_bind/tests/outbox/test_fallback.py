from datetime import datetime, timedelta
from unittest.mock import patch

from odoo import fields
from odoo.tools import mute_logger

from odoo.addons.mail.models.mail_thread import MailThread

from ..channel.test_channel import ChannelCase


class TestFallback(ChannelCase):
    """Recipients that WeChat does not reach get an e-mail or SMS, where the template has a fallback."""

    def setUp(self):
        super().setUp()
        self.merchant.write({"email": "owner@example.com", "phone": "+86 571 8700 0000"})
        self.template.fallback = "email"
        self.cron = self.env.ref("wechat_merchant_bind.ir_cron_apply_fallbacks")

    def _run_cron(self):
        self.env.flush_all()
        self.cron.method_direct_trigger()
        self.env.invalidate_all()

    def _assertInstead(self, message, notification_type):
        """Check that the only notification of the message is of another channel, also in the outbox."""
        self.assertRecordValues(
            message.notification_ids,
            [
                {
                    "notification_type": notification_type,
                    "res_partner_id": self.merchant.id,
                    "notification_status": "ready",
                }
            ],
        )
        self.assertRecordValues(self._get_rows(message), [{"fallback": notification_type, "state": "failed"}])

    def test_email(self):
        message = self._send()
        # The fallback is sent later.
        self.assertWechatNotification(message, self.merchant, "failed", "wechat_unbound")
        self._run_cron()
        self._assertInstead(message, "email")
        mail = message.notification_ids.mail_mail_id
        self.assertEqual((mail.recipient_ids, mail.state), (self.merchant, "outgoing"))
        self.assertIn("新订单通知", mail.body_html)

    def test_sms(self):
        self.template.fallback = "sms"
        message = self._send()
        self._run_cron()
        self._assertInstead(message, "sms")
        sms = self.env["sms.sms"].search([("mail_message_id", "=", message.id)])
        self.assertEqual((sms.body, sms.state), (self._get_rows(message).body, "outgoing"))

    def test_message_that_ends_while_waiting(self):
        """The fallback is sent for each way to end."""
        for failure_type, end in (
            ("wechat_expired", lambda row: row.write({"valid_until": fields.Datetime.now() - timedelta(hours=1)})),
            ("wechat_template", lambda _row: self.template.action_archive()),
            ("wechat_unbound", lambda _row: self._get_live_binding()._unbind("x")),
        ):
            with self.subTest(failure_type):
                self.template.action_unarchive()
                if not self._get_live_binding():
                    self._bind()
                message = self._send()
                row = self._get_rows(message)
                end(row)
                self.send_wechat_outbox()
                self.assertWechatNotification(message, self.merchant, "canceled", failure_type)
                self.assertTrue(message.has_wechat_error)
                self._run_cron()
                self.assertEqual((row.fallback, message.notification_ids.notification_type), ("email", "email"))

    def test_no_fallback_after_canceling_by_a_user(self):
        self._bind()
        message = self._send()
        self._get_rows(message).with_user(self.user).action_cancel()
        self._run_cron()
        self.assertWechatNotification(message, self.merchant, "canceled")
        self.assertFalse(message.has_wechat_error)

    def test_fallback_is_sent_once(self):
        message = self._send()
        self._run_cron()
        self._get_rows(message)._apply_fallback()
        self._run_cron()
        self.assertEqual(len(self.env["mail.mail"].search([("mail_message_id", "=", message.id)])), 1)

    def test_unreachable_after_sending(self):
        self._bind()
        message = self._send()
        row = self._get_rows(message)
        row._change_states({row: {"state": "failed", "failure_type": "wechat_blocked"}})
        self._run_cron()
        self._assertInstead(message, "email")

    def test_no_fallback(self):
        for values, failure_type in (
            ({"fallback": "none"}, "wechat_unbound"),
            ({"fallback": "sms"}, "wechat_unbound"),
        ):
            self.merchant.phone = False
            self.template.write(values)
            with self.subTest(values=values):
                message = self._send()
                self._run_cron()
                self.assertWechatNotification(message, self.merchant, "failed", failure_type)

    def test_value_that_wechat_refuses_falls_back(self):
        self._bind()
        self.template.line_ids[1].write({"key": "amount2", "value": "{{ -5 }}"})
        message = self._send()
        self._run_cron()
        self.assertRecordValues(self._get_rows(message), [{"failure_type": "wechat_value", "fallback": "email"}])
        self.assertEqual(message.notification_ids.notification_type, "email")

    def test_other_failures(self):
        self._bind()
        message = self._send()
        row = self._get_rows(message)
        row.write({"state": "failed", "failure_type": False})
        row._apply_fallback()
        self.assertFalse(row.fallback_due_at)
        self.template.line_ids[1].value = "{{ object.no_such_field }}"
        self.assertFalse(self._get_rows(self._send()).fallback_due_at, "An expression has failed")
        self.merchant.active = False
        self.assertFalse(self._get_rows(self._send()).fallback_due_at)

    def test_scheduled(self):
        """The fallback of a scheduled message keeps its time."""
        moment = fields.Datetime.now() + timedelta(days=1)
        message = self._send(scheduled_at=moment)
        self._run_cron()
        self.assertWechatNotification(message, self.merchant, "failed", "wechat_unbound")
        trigger = self.env["ir.cron.trigger"].search([("cron_id", "=", self.cron.id)], order="call_at desc", limit=1)
        self.assertEqual(trigger.call_at, moment.replace(microsecond=0))
        self._get_rows(message).fallback_due_at = datetime(2026, 1, 1)
        self._run_cron()
        self._assertInstead(message, "email")

    @mute_logger("odoo.addons.wechat_merchant_bind.models.outbox.wechat_message")
    def test_failing_fallback_does_not_stop_others(self):
        self.other_merchant.email = "other@example.com"
        message, other = self._send(self.merchant + self.other_merchant)
        original = MailThread._notify_thread_by_email

        def notify(thread, mail_message, *args, **kwargs):
            if thread == self.merchant:
                raise ValueError("a third party's layout")
            return original(thread, mail_message, *args, **kwargs)

        with patch.object(MailThread, "_notify_thread_by_email", notify):
            self._run_cron()
        self.assertWechatNotification(message, self.merchant, "failed", "wechat_unbound")
        self.assertEqual(other.notification_ids.notification_type, "email")
        self.assertFalse((self._get_rows(message) + self._get_rows(other)).filtered("fallback_due_at"))
