import base64
import io
import json
import re
from datetime import timedelta
from html import unescape

import zxingcpp
from PIL import Image

from odoo import fields

from ..common_push import WechatPushCase

CODE_TEXT = "二维码"
WECHAT = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 MicroMessenger/8.0.49"
WECHAT_ON_COMPUTER = "Mozilla/5.0 (Windows NT 10.0) MicroMessenger/7.0.20.1781 MiniProgramEnv/Windows WindowsWechat"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36"
DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"
PROPERTY = re.compile(r'<meta property="([^"]+)" content="([^"]*)"')


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
        """Check the page, its picture and its state."""
        page = self._open()
        self.assertEqual(page.status_code, status)
        self.assertIn(f'data-state="{state}"', page.text)
        self.assertIn(text, unescape(page.text))
        self.assertEqual('class="code"' in page.text, has_picture)
        self.assertEqual("share.js" in page.text, has_picture, "Only the page of an open code polls")
        picture = self._open("/code.png")
        self.assertEqual(picture.status_code, 200 if has_picture else 404)
        self.assertEqual(self._get_state(), state)

    def test_an_open_code_is_shown(self):
        self.assertPage("waiting", CODE_TEXT, has_picture=True)

    def test_a_scanned_code_is_shown_as_bound(self):
        openid = self._make_openid()
        self._push_scan(self.code, openid)
        self.assertPage("bound", "已绑定")

    def test_an_expired_code_is_shown_as_expired(self):
        self.code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_a_revoked_code_is_shown_as_expired(self):
        self.code._revoke("test")
        self.assertPage("expired", "已过期")

    def test_a_code_of_an_unbound_merchant_is_shown_as_expired(self):
        self._push_scan(self.code, self._make_openid())
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.assertPage("expired", "已过期")

    def test_the_link_is_valid_for_seven_days(self):
        self.assertAlmostEqual(
            (self.code.share_expires_at - fields.Datetime.now()).total_seconds(), 7 * 86400, delta=60
        )
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_an_expired_link_names_no_merchant(self):
        self._push_scan(self.code, self._make_openid())
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")
        page = unescape(self._open().text)
        for name in ("杭州", self.merchant._wechat_mask_name()):
            self.assertNotIn(name, page)

    def test_a_merchant_bound_by_another_code_is_not_named(self):
        self.merchant.with_user(self.user)._wechat_regenerate_bind_code()
        self._push_scan(self.merchant.wechat_bind_code_ids[0], self._make_openid())
        self.assertTrue(self.merchant.is_wechat_bound)
        self.assertPage("expired", "已过期")

    def test_a_merchant_bound_by_import_is_not_named(self):
        self._bind()
        self.code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertPage("expired", "已过期")

    def test_a_new_link_replaces_the_former(self):
        self.code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        former = self.path
        self.path = f"/wechat/bind/{self._make_code().share_token}"
        self.assertNotEqual(self.path, former)
        self.assertPage("waiting", CODE_TEXT, has_picture=True)
        self.assertEqual(self._get_state(former), "unknown")

    def test_unknown_tokens_get_404(self):
        for token in ("unknown-token", self.code.scene_str, str(self.code.id), "%25", "a%00b", "é", "None", "False"):
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

    def test_the_page_has_no_personal_data(self):
        self.merchant.write({"email": "owner@example.com", "phone": "13900001111"})
        self._push_scan(self.code, self._make_openid())
        texts = self._open().text + self._open("/state").text
        binding = self._get_live_binding()
        for secret in ("owner@example.com", "13900001111", binding.openid, binding.openid_masked, self.code.scene_str):
            self.assertNotIn(secret, texts)

    def test_the_name_is_escaped(self):
        self.merchant.name = "<script>alert(1)</script>" * 2
        self.assertNotIn("<script>alert", self._open().text)

    def test_headers_forbid_storing_and_embedding(self):
        for suffix in ("", "/code.png", "/state"):
            with self.subTest(suffix=suffix):
                headers = self._open(suffix).headers
                self.assertIn("no-store", headers["Cache-Control"])
                self.assertIn("noindex", headers["X-Robots-Tag"])
                self.assertEqual(headers["Referrer-Policy"], "no-referrer")
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
                self.assertNotIn("Set-Cookie", headers)

    def test_the_picture_has_a_url_and_can_be_scanned(self):
        page = self._open()
        self.assertIn(f'src="{self.path}/code.png"', page.text)
        self.assertNotIn("data:image", page.text)
        response = self._open("/code.png")
        self.assertEqual(response.headers["Content-Type"], "image/png")
        picture = Image.open(io.BytesIO(response.content))
        self.assertGreaterEqual(min(picture.size), 280)
        found = zxingcpp.read_barcodes(picture.convert("L"))
        self.assertEqual([code.text for code in found], [self.code.qr_content])

    def test_the_page_accepts_get_only(self):
        for suffix in ("", "/code.png", "/state"):
            self.assertEqual(self.url_open(self.path + suffix, data={"x": "y"}).status_code, 405)

    def test_the_page_is_in_the_merchants_language_or_chinese(self):
        self.opener.headers["Accept-Language"] = "en-US"
        self.assertIn(CODE_TEXT, self._open().text)
        self.merchant.lang = "en_US"
        page = self._open().text
        self.assertIn("Scan the code with WeChat", page)
        self.assertIn('lang="en-US"', page)

    def _get_preview(self):
        """Return the Open Graph properties, which chats show for a link."""
        head = self._open().text.partition("</head>")[0]
        return {name: unescape(value) for name, value in PROPERTY.findall(head)}

    def test_the_page_names_the_sender_and_its_contact(self):
        self.account.name = "西湖茶业服务号"
        self.env.company.write(
            {"name": "西湖茶业有限公司", "phone": "0571-88880000", "email": "hi@westlake.example.com"}
        )
        page = unescape(self._open().text)
        purpose = "西湖茶业有限公司通过微信公众号“西湖茶业服务号”向商家发送通知，绑定微信后即可接收。"
        for text in ("公众号：", purpose, "0571-88880000", "hi@westlake.example.com"):
            self.assertIn(text, page)
        self.assertIn("<title>绑定微信 - 西湖茶业有限公司</title>", page)
        self.assertNotIn(self.code.user_id.name, page)

    def test_the_page_names_the_user_if_the_company_has_no_contact(self):
        self.env.company.write({"phone": False, "email": False})
        self.code.user_id = self.user
        self.assertIn(self.user.name, unescape(self._open().text))
        self.code.user_id = self.env.ref("base.user_root")
        self.assertNotIn('class="contact"', self._open().text)

    def test_an_ended_code_names_the_contact(self):
        self.env.company.phone = "0571-88880000"
        self.code._revoke("test")
        page = unescape(self._open().text)
        self.assertIn("0571-88880000", page)
        self.assertNotIn(self.merchant._wechat_mask_name(), page)

    def test_the_sender_is_the_merchants_company(self):
        company = self.env["res.company"].create({"name": "绍兴分公司"})
        self.account.company_id = False
        self.merchant.company_id = company
        self.assertIn("绍兴分公司", unescape(self._open().text))

    def test_the_instructions_suit_the_device(self):
        for agent, text in (
            (WECHAT, "长按"),
            (WECHAT_ON_COMPUTER, "请用手机微信扫描二维码"),
            (PHONE, "保存图片"),
            (DESKTOP, "请用手机微信扫描二维码"),
        ):
            with self.subTest(agent=agent):
                self.opener.headers["User-Agent"] = agent
                page = unescape(self._open().text)
                self.assertIn(text, page)
                self.assertEqual("长按" in page, agent == WECHAT)
                self.assertEqual("download=" in page, agent == PHONE)

    def test_the_preview_names_the_sender_and_no_secret(self):
        self.env.company.name = "西湖茶业有限公司"
        preview = self._get_preview()
        self.assertEqual(preview["og:title"], "绑定微信 - 西湖茶业有限公司")
        self.assertEqual(preview["og:site_name"], "西湖茶业有限公司")
        self.assertIn("通过微信公众号", preview["og:description"])
        self.assertTrue(preview["og:image"].startswith(self.account.get_base_url()))
        for value in preview.values():
            for secret in (self.code.share_token, self.merchant.name, self.merchant._wechat_mask_name()):
                self.assertNotIn(secret, value)
        picture = self.url_open(preview["og:image"].removeprefix(self.account.get_base_url()))
        self.assertEqual(picture.headers["Content-Type"], "image/png")

    def test_the_companys_own_logo_is_shown(self):
        self.assertNotIn('class="logo"', self._open().text, "Odoo's default logo is hidden")
        picture = io.BytesIO()
        Image.new("RGB", (200, 100), "#07C160").save(picture, "PNG")
        self.env.company.logo = base64.b64encode(picture.getvalue())
        address = f"/logo.png?company={self.env.company.id}"
        self.assertIn(f'src="{address}"', self._open().text)
        self.assertTrue(self._get_preview()["og:image"].endswith(address))
        self.assertTrue(self.url_open(address).headers["Content-Type"].startswith("image/"))

    def test_an_unknown_link_names_no_sender(self):
        self.path = "/wechat/bind/unknown-token"
        page = self._open().text
        self.assertNotIn(self.env.company.name, page)
        self.assertEqual(self._get_preview(), {})

    def test_the_expiry_is_in_the_merchants_time_zone(self):
        self.code.write({"expires_at": "2040-12-31 20:32:00", "share_expires_at": "2041-01-02 00:00:00"})
        self.merchant.tz = "America/New_York"
        self.assertIn("2040-12-31 15:32", self._open().text)
        self.merchant.tz = False
        self.assertIn("2041-01-01 04:32", self._open().text)

    def test_the_earlier_expiry_is_shown(self):
        self.code.write({"expires_at": "2041-01-02 00:00:00", "share_expires_at": "2040-12-31 20:32:00"})
        self.merchant.tz = "Asia/Shanghai"
        self.assertIn("2041-01-01 04:32", self._open().text)

    def test_the_state_is_json(self):
        response = self._open("/state")
        self.assertEqual(json.loads(response.text), {"state": "waiting"})
