from ..common import SEND_PATH
from ..common_outbox import OutboxCase


class TestOutbox(OutboxCase):
    def test_sent(self):
        message = self._queue()
        self.assertRecordValues(
            message,
            [
                {
                    "state": "outgoing",
                    "partner_name": "杭州西湖茶庄",
                    "account_id": self.account.id,
                    "template_uid": self.template.template_uid,
                    "priority": 10,
                }
            ],
        )
        self._process_queue()
        [call] = [call for call in self.wechat.calls if call.path == SEND_PATH]
        self.assertEqual(
            call.payload,
            {
                "touser": self.openid,
                "template_id": self.template.template_uid,
                "url": "https://example.com/1",
                "data": {"thing1": {"value": "一箱龙井"}},
                "client_msg_id": message.client_msg_id,
            },
        )
        self.assertRecordValues(
            message, [{"state": "sent", "attempts": 1, "openid": self.openid, "lease_until": False, "errcode": 0}]
        )
        self.assertTrue(message.sent_at and message.first_call_at)
        self.assertGreater(int(message.msgid), 2**53, "WeChat's numbers are kept to the last digit")
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 1)

    def test_repetitions_precede_notices(self):
        """Messages that WeChat may have accepted do not wait behind older notices, since WeChat soon forgets them."""
        killed_binding, other_binding = (
            self._bind(partner=self._create_merchant(name)) for name in ("绍兴黄酒行", "宁波汤圆店")
        )
        failed = self._queue()
        self.wechat.answer(SEND_PATH, 502)
        self._process_queue()
        killed, waiting = self._queue(killed_binding.partner_id, other_binding.partner_id)
        self._set(waiting, next_attempt_at="now() AT TIME ZONE 'UTC' - interval '1 hour'")
        self._set(
            killed,
            state="'sending'",
            openid=f"'{killed_binding.openid}'",
            first_call_at="now() AT TIME ZONE 'UTC'",
            lease_until="now() AT TIME ZONE 'UTC' - interval '1 second'",
        )
        self._make_due(failed)
        self._process_queue()
        *repeated, last = [call.payload["touser"] for call in self.wechat.calls if call.path == SEND_PATH][1:]
        self.assertEqual(set(repeated), {self.openid, killed_binding.openid})
        self.assertEqual(last, other_binding.openid)
