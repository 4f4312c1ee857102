from .common import SEND_PATH
from .common_outbox import OutboxCase


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
        self._drain()
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
        self._drain()
        self.assertEqual(self.wechat.count(SEND_PATH), 1)
