import socket
import time
from datetime import timedelta

from odoo import fields
from odoo.exceptions import AccessError
from odoo.tools import mute_logger

from ..common import CALLBACK_IPS_PATH, QR_PATH, TEMPLATES_PATH, TOKEN_PATH
from ..common_push import WechatPushCase

OWN_ADDRESS = "Address of this Odoo"
API_ADDRESS = "API address"
CREDENTIALS = "App Secret and IP allow-list"
QR_RIGHT = "Right to make QR codes"
TEMPLATES = "Template messages"
PUSHES = "Pushes from WeChat"
REFUSED = "Refused pushes"


class TestAccountCheck(WechatPushCase):
    def setUp(self):
        super().setUp()
        self._set_base_url("https://erp.example.com")

    def _set_base_url(self, url):
        self.env["ir.config_parameter"].set_param("web.base.url", url)

    def _check(self, user=None):
        """Press 测试连接 and return result and message by subject."""
        account = self.account.with_user(user or self.manager)
        action = account.action_test_connection()
        check = self.env[action["res_model"]].with_user(user or self.manager).browse(action["res_id"])
        self.lines = {line.subject: (line.result, line.message or "") for line in check.line_ids}
        return check

    def assertLine(self, subject, result, *texts):
        """Check the result of one step."""
        self.assertEqual(self.lines[subject][0], result, self.lines)
        for text in texts:
            self.assertIn(text, self.lines[subject][1])

    def test_a_connected_account_passes(self):
        self._push_event("VIEW", self._make_openid(), EventKey="x")
        check = self._check()
        self.assertTrue(check.is_ok)
        self.assertEqual(
            list(self.lines), [OWN_ADDRESS, API_ADDRESS, CREDENTIALS, QR_RIGHT, TEMPLATES, PUSHES, REFUSED]
        )
        self.assertEqual({result for result, _message in self.lines.values()}, {"ok"})
        self.assertLine(CREDENTIALS, "ok", socket.gethostname())
        self.assertLine(TEMPLATES, "ok", "1 templates")
        self.assertEqual(
            [call.path for call in self.wechat.calls], [TOKEN_PATH, CALLBACK_IPS_PATH, QR_PATH, TEMPLATES_PATH]
        )
        self.assertEqual(self.wechat.calls[2].payload["expire_seconds"], 60, "It leaves no code behind")

    def test_only_managers_check(self):
        for user in (self.user, self.employee, self.portal):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self._check(user)
        self.assertEqual(self.wechat.calls, [])

    def test_unreachable_addresses_are_errors(self):
        for url, text in (
            ("http://localhost:8069", "only be reached from inside"),
            ("https://127.0.0.1", "only be reached from inside"),
            ("https://192.168.1.10", "only be reached from inside"),
            ("https://[::1]", "only be reached from inside"),
            ("https://odoo", "only be reached from inside"),
            ("https://erp.local", "only be reached from inside"),
            ("http://erp.example.com", "not https"),
            ("https://erp.example.com:8443", "ports 80 and 443"),
        ):
            with self.subTest(url=url):
                self._set_base_url(url)
                self.assertFalse(self._check().is_ok)
                self.assertLine(OWN_ADDRESS, "error", url, text)

    def test_a_wrong_secret_is_an_error(self):
        self.wechat.answer(TOKEN_PATH, {"errcode": 40125, "errmsg": "invalid appsecret rid: 6-7"})
        self._check()
        self.assertLine(CREDENTIALS, "error", "AppSecret is wrong", "40125 invalid appsecret rid: 6-7", "Copy the")
        self.assertLine(QR_RIGHT, "skipped")
        self.assertLine(TEMPLATES, "skipped")
        self.assertEqual(len(self.wechat.calls), 1, "What depends on it is not tried")

    def test_a_missing_ip_is_named(self):
        self.wechat.answer(
            TOKEN_PATH,
            {"errcode": 40164, "errmsg": "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 1"},
        )
        self._check()
        self.assertLine(
            CREDENTIALS, "error", "Address to add to the IP allow-list: 203.0.113.7", socket.gethostname(), "40164"
        )

    def test_a_missing_right_is_an_error(self):
        self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1"})
        self._check()
        self.assertLine(CREDENTIALS, "ok")
        self.assertLine(QR_RIGHT, "error", "48001", "verified Service Account")
        self.assertLine(TEMPLATES, "ok")

    def test_an_unreachable_wechat_is_an_error(self):
        self.wechat.answer(TOKEN_PATH, 502)
        self._check()
        self.assertLine(CREDENTIALS, "error", "502")

    def test_an_unsafe_api_address_is_an_error(self):
        self.env.cr.execute(
            "UPDATE wechat_account SET api_base_url = 'http://192.0.2.1' WHERE id = %s", [self.account.id]
        )
        self.env.invalidate_all()
        self._check()
        self.assertLine(API_ADDRESS, "error", "https")
        self.assertNotIn(CREDENTIALS, self.lines)
        self.assertEqual(self.wechat.calls, [])

    def test_an_account_without_pushes_is_a_warning(self):
        self._check()
        self.assertLine(PUSHES, "warning", "never reached", "EncodingAESKey")

    def test_the_time_of_the_last_push_is_shown(self):
        self._push_event("VIEW", self._make_openid(), EventKey="x")
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = '2026-01-02 20:04:05' WHERE account_id = %s", [self.account.id]
        )
        self.env.invalidate_all()
        self._check()
        self.assertLine(PUSHES, "ok", "2026", "4:04")

    @mute_logger("odoo.addons.wechat_merchant_bind.controllers.webhook")
    def test_the_last_refusal_is_shown_with_its_clock_skew(self):
        for offset, words in ((-3600, "3600 seconds behind"), (7200, "7200 seconds ahead")):
            self._push_event(
                "VIEW",
                self._make_openid(),
                push_options={"timestamp": int(time.time()) + offset},
                EventKey="x",
            )
            event = self._get_events()[-1]
            # The test itself takes some seconds.
            event.skew = -offset
            self._check()
            self.assertLine(REFUSED, "error", "too far from this server's clock", words, "NTP")
        self.assertLine(PUSHES, "warning", "never reached")

    @mute_logger("odoo.addons.wechat_merchant_bind.controllers.webhook")
    def test_an_old_refusal_is_not_shown(self):
        self._push_event("VIEW", self._make_openid(), push_options={"key": "B" * 42 + "A"}, EventKey="x")
        self._check()
        self.assertLine(REFUSED, "error", "EncodingAESKey or the App ID differs")
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s WHERE account_id = %s",
            [fields.Datetime.now() - timedelta(days=4), self.account.id],
        )
        self.env.invalidate_all()
        self._check()
        self.assertLine(REFUSED, "ok")
