import json
from pathlib import Path
from unittest.mock import patch

from wechatpy.utils import check_signature

from odoo.tools import mute_logger

from ...controllers import webhook
from ..common_push import Push, WechatPushCase, to_xml

VECTORS = json.loads((Path(__file__).parent / "wechat_vectors.json").read_text(encoding="utf-8"))


class TestPublishedVectors(WechatPushCase):
    """WeChat's own samples, sent to the route."""

    def _get_vector(self, kind, vector_id):
        return next(vector for vector in VECTORS[kind] if vector["id"] == vector_id)

    def test_server_checks(self):
        for vector in VECTORS["signatures"]:
            with self.subTest(id=vector["id"]):
                account = self._create_account(webhook_token=vector["token"])
                query = {name: vector[name] for name in ("signature", "timestamp", "nonce")}
                check_signature(vector["token"], *(query[name] for name in ("signature", "timestamp", "nonce")))
                response = self.url_open(self._get_url(account), params={**query, "echostr": "4375120948345356249"})
                self.assertEqual((response.status_code, response.text), (200, "4375120948345356249"))

    @mute_logger("odoo.addons.wechat_merchant_bind.controllers.webhook")
    def test_safe_mode_push(self):
        """The push is authentic and can be decrypted. Its content is JSON, which no official account gets."""
        vector = self._get_vector("encrypted", "official-safe-mode-json")
        account = self._create_account(
            webhook_token=vector["token"],
            encoding_aes_key=vector["encoding_aes_key"],
            app_id=vector["appid"],
            original_id="gh_97417a04a28d",
        )
        push = Push(account, "<xml/>")
        push.body = to_xml({"ToUserName": "gh_97417a04a28d", "Encrypt": vector["encrypt"]})
        push.query = {
            "encrypt_type": "aes",
            **{name: vector[name] for name in ("signature", "timestamp", "nonce", "msg_signature")},
        }
        with patch.object(webhook.time, "time", return_value=int(vector["timestamp"]) + 1):
            self.assertSilent(self._send(push))
            self.assertEqual(self._get_events(account).refusal, "malformed")
            push.query["msg_signature"] = "1" + vector["msg_signature"][1:]
            self.assertForbidden(self._send(push))
        push.query["msg_signature"] = vector["msg_signature"]
        self.assertForbidden(self._send(push))
        self.assertEqual(self._get_events(account).mapped("refusal"), ["malformed", "clock_skew"])


class TestSdk(WechatPushCase):
    """An independent SDK encrypts the pushes and decrypts the replies."""

    def test_messages_with_every_padding(self):
        for length in range(1, 33):
            with self.subTest(length=length):
                fields = self._event_fields("subscribe", self._make_openid(), EventKey="")
                self.account.follow_reply = "x" * length
                answer = self._send(Push(self.account, {**fields, "Latitude": "1" * length}))
                self.assertReply(answer)
                self.assertEqual(answer.reply["Content"], "x" * length)

    def test_chinese_and_markup(self):
        text = "您好！<&>\n\"'😀 " + "中" * 200
        self.account.follow_reply = text
        answer = self._push_subscribe(self._make_openid())
        self.assertEqual(answer.reply["Content"], text)

    def test_key_with_spare_bits_set(self):
        """Two bits of the 43rd character of a key have no meaning."""
        self.account.encoding_aes_key = "A" * 42 + "B"
        code, openid = self._make_code(), self._make_openid()
        self.assertReply(self._push_scan(code, openid), "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)

    def test_long_reply_is_cut_at_a_character(self):
        self.account.follow_reply = "中" * 1000
        content = self._push_subscribe(self._make_openid()).reply["Content"]
        self.assertEqual(content, "中" * (2048 // 3))
