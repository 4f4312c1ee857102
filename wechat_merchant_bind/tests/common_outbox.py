"""Base class for the tests of the outbox."""

from unittest.mock import patch

from .common import WechatCase

MESSAGES_MODULE = "odoo.addons.wechat_merchant_bind.models.outbox.wechat_message"
SENDER_MODULE = "odoo.addons.wechat_merchant_bind.models.outbox.sender"
SENDER = "wechat_merchant_bind.ir_cron_send_1"


class OutboxCase(WechatCase):
    """Provide a bound merchant and a template, and methods to queue and send messages."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.account.send_rate = 10_000
        cls.template = cls._create_template()

    def setUp(self):
        super().setUp()
        # One call after the other, so that each call gets the answer that the test expects.
        self.startPatcher(patch(f"{SENDER_MODULE}.THREADS", 1))
        self.startPatcher(patch(f"{SENDER_MODULE}.WINDOW", 1))
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)

    def _queue(self, *partners, count=1, **values):
        """Queue as many messages as count says to each of these merchants."""
        messages = self.env["wechat.message"]._queue(
            [
                {
                    "partner_id": partner.id,
                    "template_id": self.template.id,
                    "card": {"data": {"thing1": {"value": "一箱龙井"}}, "url": "https://example.com/1"},
                    "body": "一箱龙井",
                    **values,
                }
                for partner in partners or [self.merchant]
                for _number in range(count)
            ]
        )
        self.env.flush_all()
        return messages

    def _process_queue(self):
        """Run the sender once."""
        self.env.flush_all()
        self.env.ref(SENDER).method_direct_trigger()
        self.env.invalidate_all()

    def _set(self, messages, **columns):
        """Write columns of messages by SQL, such as a date in the past."""
        self.env.flush_all()
        for name, value in columns.items():
            self.env.cr.execute(f'UPDATE wechat_message SET "{name}" = {value} WHERE id = ANY(%s)', [messages.ids])
        self.env.invalidate_all()

    def _make_due(self, messages):
        """Make messages due."""
        self._set(messages, next_attempt_at="now() AT TIME ZONE 'UTC' - interval '1 second'")
