import os
import random
import time

from ..common_push import Push, WechatPushCase, to_xml

# The long form runs 10,000 pushes: ./setup/test --all
PUSHES = 10_000 if os.environ.get("WECHAT_TEST_ALL") else 400
SEED = 20261122


class TestFuzzWebhook(WechatPushCase):
    """A mutated push causes no server error, no traceback and no binding."""

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.plain_account = self._create_test_account(sequence=99)
        self.code = self._make_code()
        self.bound_openid = self._make_openid()
        self.binding = self._bind(self.other_merchant, self.bound_openid)

    def _make_fields(self, account):
        """Return the fields of a valid push without a code of the addon."""
        openid = self.random.choice((self.bound_openid, self._make_openid()))
        now = int(time.time())
        return self.random.choice(
            (
                self._event_fields("SCAN", openid, now, account, EventKey="mb_" + "x" * 32, Ticket="gQH47joAAAA=="),
                self._event_fields("subscribe", openid, now, account, EventKey="qrscene_mb_" + "x" * 32),
                self._event_fields("subscribe", openid, now, account, EventKey=""),
                self._event_fields("unsubscribe", openid, now, account, EventKey=""),
                self._event_fields("TEMPLATESENDJOBFINISH", openid, now, account, MsgID=7, Status="success"),
                {**self._event_fields("", openid, now, account, Content="你好", MsgId=now), "MsgType": "text"},
            )
        )

    # === MUTATIONS === #

    def _garbage(self):
        return self.random.choice(
            (
                "",
                "0",
                "-1",
                "9" * 400,
                "\u202e" * 3,
                "😀" * 40,
                "\ud7ff\ue000\ufffd",
                "%00%s%n{0}{merchant}",
                "'; DROP TABLE res_partner; --",
                "]]]]><![CDATA[>",
                "qrscene_" * 30,
                "mb_",
                "".join(chr(self.random.randrange(32, 0x3000)) for _i in range(self.random.randrange(60))),
                "x" * 5000,
            )
        )

    def _mutate_fields(self, fields):
        fields = dict(fields)
        for _i in range(self.random.randrange(1, 4)):
            name = self.random.choice([*fields, "Event", "EventKey", "Unknown", "ScanCodeInfo"])
            if self.random.random() < 0.3:
                fields.pop(name, None)
            else:
                fields[name] = self._garbage()
        return fields

    def _mutate_bytes(self, body):
        data = bytearray(body.encode("utf-8", "replace") if isinstance(body, str) else body)
        for _i in range(self.random.randrange(1, 8)):
            position = self.random.randrange(len(data) + 1)
            action = self.random.randrange(4)
            if action == 0:
                data[position:position] = self.random.randbytes(self.random.randrange(1, 6))
            elif action == 1:
                del data[position : position + self.random.randrange(1, 30)]
            elif action == 2 and position < len(data):
                data[position] ^= 1 << self.random.randrange(8)
            else:
                data[position:position] = self.random.choice(
                    (b"<", b">", b"]]>", b"&", b"&x;", b"<!DOCTYPE a>", b"<?x?>", b"<a>" * 20, b"\x00", b"\xed\xa0\x80")
                )
        return bytes(data)

    def _mutate_query(self, query):
        query = dict(query)
        name = self.random.choice([*query, "openid", "lang", "db", "debug"])
        if self.random.random() < 0.3:
            query.pop(name, None)
        else:
            query[name] = self.random.choice((self._garbage(), "\x00", "\x00".join("ab")))
        return query

    def _make_sealed_push(self):
        """Return a correctly signed and encrypted push with a mutated content."""
        fields = self._make_fields(self.account)
        if self.random.random() < 0.6:
            xml = to_xml(self._mutate_fields(fields))
        else:
            # The SDK encrypts text only.
            xml = self._mutate_bytes(to_xml(fields)).decode("utf-8", "ignore")
        return Push(self.account, xml.encode("utf-8", "ignore").decode())

    def _make_open_push(self):
        """Return a push with a mutated body, query, or both."""
        account = self.random.choice((self.account, self.plain_account))
        fields = self._make_fields(account)
        if self.random.random() < 0.5:
            fields = self._mutate_fields(fields)
        push = Push(account, fields, mode=self.random.choice(("plain", "safe", "compatible")))
        if self.random.random() < 0.7:
            push.body = self._mutate_bytes(push.body)
        if self.random.random() < 0.5:
            push.query = self._mutate_query(push.query)
        push.headers["Content-Type"] = self.random.choice(
            ("text/xml", "application/xml; charset=gbk", "application/json", "multipart/form-data", "")
        )
        return push

    def test_mutated_pushes_bind_no_merchant(self):
        urls = {account: self._get_url(account) for account in (self.account, self.plain_account)}
        with self.assertNoLogs("odoo", "ERROR"):
            for number in range(PUSHES):
                push = self._make_sealed_push() if number % 2 else self._make_open_push()
                body = push.body.encode("utf-8", "replace") if isinstance(push.body, str) else push.body
                response = self.url_open(
                    urls[push.account], data=body, params=push.query, headers=push.headers, method="POST"
                )
                self.assertLess(response.status_code, 500, f"Push {number}: {push.query} {body!r}")
        self.env.invalidate_all()
        self.assertNotBound(self.merchant)
        self.assertEqual(self.code.state, "active")
        self.assertEqual(self._get_live_binding(self.other_merchant), self.binding)
        self.assertEqual(self.binding.openid, self.bound_openid)
        bindings = self.env["wechat.binding"].search([("account_id", "in", (self.account + self.plain_account).ids)])
        self.assertEqual(bindings, self.binding)
        states = set(self._get_events().mapped("state"))
        self.assertNotIn("failed", states, self._get_events().filtered("error").mapped("error"))
        self.assertTrue({"done", "ignored"} <= states, "The pushes must reach the handlers to prove anything")
