import time
from unittest.mock import patch

from ..models.outbox import wechat_event as wechat_event_receipt
from .common_push import SCAN_TIME, Push, WechatPushCase

# Queries of whole requests with warm caches. WeChat waits 5 seconds for an answer, and an account that sends R messages
# a second receives R receipts a second.
BINDING = 24
# Also creates the e-mail to the merchant and notifies the user that generated the code.
BINDING_WITH_MAIL = 37
# The INSERT and the end of the request. The account is cached.
REPEATED = 2
IGNORED = 2
RECEIPT = 2
# Wakes the scheduled action, in a savepoint: a failure must not lose the receipt.
RECEIPT_OF_A_SECOND = 10
MESSAGE = 6
# Four digits may answer a request for the phone number.
MESSAGE_OF_DIGITS = MESSAGE + 1


class TestQueryCounts(WechatPushCase):
    def setUp(self):
        super().setUp()
        # The first push fills the caches.
        self._push_scan(self._make_code(self._create_merchant("第一家")), self._make_openid())
        self._push_event("VIEW", self._make_openid(), EventKey="x")

    def _count(self, expected, fields):
        """Send a push, check its number of queries and return the response."""
        push = Push(self.account, fields)
        url = self._get_url(self.account)
        with self.assertQueryCount(expected):
            response = self.url_open(url, data=push.body.encode(), params=push.query, headers=push.headers)
        self.env.invalidate_all()
        self.assertEqual(response.status_code, 200)
        return response

    def test_binding_push_takes_few_queries(self):
        code, openid = self._make_code(), self._make_openid()
        self._count(BINDING, self._event_fields("SCAN", openid, EventKey=code.scene_str, Ticket=code.ticket))
        self.assertBound(self.merchant, openid)

    def test_binding_push_with_mail_takes_few_queries(self):
        self._push_scan(self._make_code(self._create_merchant("第二家", email="b@example.com")), self._make_openid())
        self.merchant.email = "owner@example.com"
        code, openid = self._make_code(), self._make_openid()
        fields = self._event_fields("SCAN", openid, EventKey=code.scene_str, Ticket=code.ticket)
        self._count(BINDING_WITH_MAIL, fields)
        self.assertBound(self.merchant, openid)
        self.assertEqual(self.env["mail.mail"].search([("model", "=", "wechat.binding")], limit=1).state, "outgoing")

    def test_text_messages_take_few_queries(self):
        for content, expected in (("你好", MESSAGE), ("2368", MESSAGE_OF_DIGITS)):
            fields = self._event_fields("", self._make_openid(), MsgType="text", Content=content, MsgId=int(SCAN_TIME))
            del fields["Event"]
            with self.subTest(content=content):
                self._count(expected, fields)

    def test_repeated_push_takes_two_queries(self):
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid, create_time=SCAN_TIME)
        fields = self._event_fields("SCAN", openid, SCAN_TIME, EventKey=code.scene_str, Ticket=code.ticket)
        response = self._count(REPEATED, fields)
        self.assertIn("<Encrypt>", response.text)

    def test_ignored_event_takes_two_queries(self):
        response = self._count(IGNORED, self._event_fields("VIEW", self._make_openid(), EventKey="y"))
        self.assertEqual(response.text, "success")

    def test_receipt_takes_few_queries(self):
        """A receipt adds one INSERT to the cost of a push. The first of a second also triggers the scheduled action."""
        for number, (woken_at, expected) in enumerate([(0, RECEIPT_OF_A_SECOND), (time.monotonic(), RECEIPT)], 1):
            self.startPatcher(patch.object(wechat_event_receipt, "_woken_at", {self.env.cr.dbname: woken_at}))
            fields = self._event_fields("TEMPLATESENDJOBFINISH", self._make_openid(), MsgID=number, Status="success")
            with self.subTest(number):
                response = self._count(expected, fields)
                self.assertEqual(response.text, "success")
