import io
import json
from datetime import timedelta
from html import unescape

import zxingcpp
from PIL import Image

from odoo import fields

from .common_push import WechatPushCase

CODE_TEXT = "长按"


class TestShare(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.code = self._make_code()
        self.path = f"/wechat/bind/{self.code.share_token}"
        self.opener.cookies.clear()

    def _open(self, suffix="", path=None):
        response = self.url_open((path or self.path) + suffix)
        self.env.invalidate_all()
        return response

    def _get_state(self, path=None):
        return self._open("/state", path).json()["state"]

    def assertPage(self, state, text, has_picture=False, status=200):
        """Check what the page, its picture and its state say."""
        page = self._open()
        self.assertEqual(page.status_code, status)
        self.assertIn(f'data-state="{state}"', page.text)
        self.assertIn(text, unescape(page.text))
        self.assertEqual("<img" in page.text, has_picture)
        self.assertEqual("share.js" in page.text, has_picture, "Only an open code asks how it goes on")
        picture = self._open("/code.png")
        self.assertEqual(picture.status_code, 200 if has_picture else 404)
        self.assertEqual(self._get_state(), state)

    def test_waiting(self):
        self.assertPage("waiting", CODE_TEXT, has_picture=True)

    def test_bound(self):
        openid = self._make_openid()
        self._push_scan(self.code, openid)
        self.assertPage("bound", "已绑定")

    def test_expired(self):
        self.code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_revoked(self):
        self.code._revoke("test")
        self.assertPage("expired", "已过期")

    def test_used_and_unbound_again(self):
        self._push_scan(self.code, self._make_openid())
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.assertPage("expired", "已过期")

    def test_the_link_lives_seven_days(self):
        self.assertAlmostEqual(
            (self.code.share_expires_at - fields.Datetime.now()).total_seconds(), 7 * 86400, delta=60
        )
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_an_expired_link_of_a_used_code(self):
        self._push_scan(self.code, self._make_openid())
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")
        page = unescape(self._open().text)
        for name in ("杭州", self.merchant._wechat_mask_name()):
            self.assertNotIn(name, page)

    def test_bound_by_another_code(self):
        self.merchant.with_user(self.user)._wechat_regenerate_bind_code()
        self._push_scan(self.merchant.wechat_bind_code_ids[0], self._make_openid())
        self.assertTrue(self.merchant.is_wechat_bound)
        self.assertPage("expired", "已过期")

    def test_bound_without_a_code(self):
        self._bind()
        self.code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_a_new_link_ends_the_former(self):
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        former = self.path
        self.path = f"/wechat/bind/{self._make_code().share_token}"
        self.assertNotEqual(self.path, former)
        self.assertPage("waiting", CODE_TEXT, has_picture=True)
        self.assertEqual(self._get_state(former), "unknown")

    def test_unknown(self):
        for token in ("nobody-has-this", self.code.scene_str, str(self.code.id), "%25", "a%00b", "é", "None", "False"):
            with self.subTest(token=token):
                self.path = f"/wechat/bind/{token}"
                page = self._open()
                self.assertEqual(page.status_code, 404)
                self.assertNotIn("西湖", page.text)
                self.assertEqual(self._open("/code.png").status_code, 404)
                self.assertEqual(self._get_state(), "unknown")

    def test_the_name_is_masked(self):
        text = unescape(self._open().text)
        self.assertIn("杭州西", text)
        self.assertNotIn("杭州西湖", text)
        for name, masked in (
            ("杭州西湖茶庄", "杭州西**庄"),
            ("张三", "张*"),
            ("李", "*"),
        ):
            self.merchant.name = name
            self.assertEqual(self.merchant._wechat_mask_name(), masked)

    def test_nothing_else_is_told(self):
        self.merchant.write({"email": "owner@example.com", "phone": "13900001111"})
        self._push_scan(self.code, self._make_openid())
        texts = self._open().text + self._open("/state").text
        binding = self._get_live_binding()
        for secret in ("owner@example.com", "13900001111", binding.openid, binding.openid_masked, self.code.scene_str):
            self.assertNotIn(secret, texts)

    def test_a_name_is_no_markup(self):
        self.merchant.name = "<script>alert(1)</script>" * 2
        self.assertNotIn("<script>alert", self._open().text)

    def test_headers(self):
        for suffix in ("", "/code.png", "/state"):
            with self.subTest(suffix=suffix):
                headers = self._open(suffix).headers
                self.assertIn("no-store", headers["Cache-Control"])
                self.assertIn("noindex", headers["X-Robots-Tag"])
                self.assertEqual(headers["Referrer-Policy"], "no-referrer")
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
                self.assertNotIn("Set-Cookie", headers)

    def test_the_picture_has_a_real_address_and_decodes(self):
        page = self._open()
        self.assertIn(f'src="{self.path}/code.png"', page.text)
        self.assertNotIn("data:image", page.text)
        response = self._open("/code.png")
        self.assertEqual(response.headers["Content-Type"], "image/png")
        picture = Image.open(io.BytesIO(response.content))
        self.assertGreaterEqual(min(picture.size), 280)
        found = zxingcpp.read_barcodes(picture.convert("L"))
        self.assertEqual([code.text for code in found], [self.code.qr_content])

    def test_only_ever_read(self):
        for suffix in ("", "/code.png", "/state"):
            self.assertEqual(self.url_open(self.path + suffix, data={"x": "y"}).status_code, 405)

    def test_language_of_the_merchant_else_chinese(self):
        self.opener.headers["Accept-Language"] = "en-US"
        self.assertIn(CODE_TEXT, self._open().text)
        self.merchant.lang = "en_US"
        page = self._open().text
        self.assertIn("Press and hold", page)
        self.assertIn('lang="en-US"', page)

    def test_expiry_in_the_merchants_time_zone(self):
        self.code.write({"expires_at": "2040-12-31 20:32:00", "share_expires_at": "2041-01-02 00:00:00"})
        self.merchant.tz = "America/New_York"
        self.assertIn("2040-12-31 15:32", self._open().text)
        self.merchant.tz = False
        self.assertIn("2041-01-01 04:32", self._open().text)

    def test_the_page_names_what_ends_first(self):
        self.code.write({"expires_at": "2041-01-02 00:00:00", "share_expires_at": "2040-12-31 20:32:00"})
        self.merchant.tz = "Asia/Shanghai"
        self.assertIn("2041-01-01 04:32", self._open().text)

    def test_state_is_json(self):
        response = self._open("/state")
        self.assertEqual(json.loads(response.text), {"state": "waiting"})
