import io
from datetime import timedelta
from html import unescape

import zxingcpp
from PIL import Image

from odoo import fields, http
from odoo.tests import new_test_user
from odoo.tools import mute_logger

from ...models.binding.wechat_portal_attempt import ATTEMPTS_AN_HOUR
from ..common import QR_PATH
from ..common_push import WechatPushCase

PAGE = "/my/wechat"
LOGGER = "odoo.addons.wechat_merchant_bind.models.binding.res_partner"
WECHAT = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 MicroMessenger/8.0.49"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148 Safari/604.1"


class PortalCase(WechatPushCase):
    """Set up a merchant with a portal user, and another one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["ir.default"].set("res.partner", "lang", "zh_CN")
        cls.portal, cls.other_portal = (
            new_test_user(
                cls.env, login, groups="base.group_portal", partner_id=merchant.id, name=merchant.name, lang="zh_CN"
            )
            for login, merchant in (("xihu", cls.merchant), ("huangjiu", cls.other_merchant))
        )
        cls.merchant.tz = cls.other_merchant.tz = "Asia/Shanghai"

    def setUp(self):
        super().setUp()
        self.authenticate("xihu", "xihu")

    def _open(self, path="", **kwargs):
        response = self.url_open(PAGE + path, **kwargs)
        self.env.invalidate_all()
        return response

    def _post(self, path, token=True, **values):
        self.env.flush_all()
        if token:
            values["csrf_token"] = http.Request.csrf_token(self)
        response = self.url_open(PAGE + path, data=values, method="POST")
        self.env.invalidate_all()
        return response

    def _get_version(self):
        return self._open("/state").json()["version"]

    def assertPage(self, state, *texts, page=None):
        """Check the state and the texts of the page."""
        page = page or self._open()
        self.assertEqual(page.status_code, 200)
        self.assertIn(f'data-state="{state}"', page.text)
        for text in texts:
            self.assertIn(text, unescape(page.text))
        return unescape(page.text)


class TestPortalPage(PortalCase):
    def test_a_merchant_binds_and_unbinds_itself(self):
        self.assertPage("unbound", "未绑定", "生成绑定码")
        version = self._get_version()
        page = self._post("/code")
        self.assertPage("waiting", "请用微信扫一扫", "有效期至", page=page)
        self.assertNotEqual(self._get_version(), version)
        code = self.merchant.wechat_bind_code_ids
        self.assertEqual((code.state, code.user_id), ("active", self.portal))
        operation = self._get_operations()
        self.assertEqual((operation.operation, operation.user_id), ("generate", self.portal))
        self.assertTrue(operation.ip_address)
        picture = Image.open(io.BytesIO(self._open("/code.png").content)).convert("L")
        self.assertEqual([found.text for found in zxingcpp.read_barcodes(picture)], [code.qr_content])
        openid = self._make_openid()
        self._push_scan(code, openid)
        text = self.assertPage("bound", "已绑定", self.account.name, self._get_live_binding().openid_masked)
        self.assertNotIn(openid, text)
        self.assertEqual(self._open("/code.png").status_code, 404)
        page = self._post("/unbind")
        self.assertPage("unbound", "已解除绑定", page=page)
        self.assertNotBound(self.merchant)
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])
        self.assertEqual(self._get_operations()[-1:].user_id, self.portal)
        self.assertChatter(self.merchant, "商家在门户中自行解除绑定", author=self.merchant)

    def test_an_unfollowed_merchant_is_asked_to_follow(self):
        self._bind(is_subscribed=False)
        self.assertPage("unfollowed", "已取关", "重新关注")

    def test_a_contact_of_a_disabled_merchant_gets_no_code(self):
        contact = self.env["res.partner"].create({"name": "徐丽", "parent_id": self.merchant.id})
        new_test_user(self.env, "xuli", groups="base.group_portal", partner_id=contact.id, lang="zh_CN")
        self.portal.active = False
        self.merchant.active = False
        self.authenticate("xuli", "xuli")
        self.assertPage("disabled", "禁用")
        self._post("/code")
        self.assertFalse(self.wechat.count(QR_PATH))

    def test_a_contact_acts_for_its_merchant(self):
        contact = self.env["res.partner"].create({"name": "徐丽", "parent_id": self.merchant.id})
        new_test_user(self.env, "xuli", groups="base.group_portal", partner_id=contact.id, lang="zh_CN")
        self.authenticate("xuli", "xuli")
        self._post("/code")
        self.assertTrue(self.merchant.wechat_bind_code_ids)
        self.assertFalse(contact.wechat_bind_code_ids)

    def test_a_scan_waiting_for_confirmation_is_shown(self):
        code = self._make_code()
        for method, text in (("approval", "等待我们确认"), ("phone", "回复您手机号的后 4 位")):
            self.merchant.phone = "+86 138 0000 1234"
            self.account.bind_confirmation = method
            version = self._get_version()
            self._push_scan(code, self._make_openid())
            self.assertPage("waiting", text)
            self.assertNotEqual(self._get_version(), version)
            self.env["wechat.bind.request"].search([("code_id", "=", code.id)]).state = "expired"

    def test_the_instructions_suit_the_device(self):
        self._make_code()
        self.assertPage("waiting", "请用微信扫一扫")
        self.assertPage("waiting", "长按识别二维码", page=self._open(headers={"User-Agent": WECHAT}))
        self.assertPage("waiting", "请在微信中打开本页面", page=self._open(headers={"User-Agent": PHONE}))

    def test_responses_are_not_cached(self):
        self._make_code()
        for path in ("", "/state", "/code.png"):
            self.assertEqual(self._open(path).headers["Cache-Control"], "no-store")

    def test_a_new_code_changes_the_version(self):
        code = self._make_code()
        version = self._get_version()
        code.expires_at += timedelta(seconds=1)
        self.assertNotEqual(self._get_version(), version)

    def test_the_portal_home_has_a_card(self):
        self.assertIn('href="/my/wechat"', self.url_open("/my").text)
        self.authenticate(self.user.login, self.user.login)
        self.assertNotIn("/my/wechat", self.url_open("/my").text)

    def test_an_empty_list_of_notices_is_hidden(self):
        self.assertNotIn("最近通知", self._open().text)

    def test_the_last_notices_of_the_merchant_are_listed(self):
        self._bind()
        template, other = (self._create_template(title=title) for title in ("新订单通知", "对账单提醒"))
        self.merchant._message_wechat_with_template(template)
        self.env["wechat.message"].search([]).state = "delivered"
        # Unsent messages and those of other merchants are not listed.
        self.merchant._message_wechat_with_template(other)
        self.other_merchant._message_wechat_with_template(other)
        page = self._open().text
        for text in ("最近通知", "新订单通知", "已送达"):
            self.assertIn(text, page)
        self.assertNotIn("对账单提醒", page)


class TestPortalLimits(PortalCase):
    def test_the_open_code_is_shown_again(self):
        for _number in range(ATTEMPTS_AN_HOUR + 2):
            self.assertPage("waiting", page=self._post("/code"))
        self.assertEqual(self.wechat.count(QR_PATH), 1)

    def test_attempts_are_limited_to_five_per_hour(self):
        for _number in range(ATTEMPTS_AN_HOUR):
            self._post("/code")
            self.merchant.wechat_bind_code_ids._revoke("test")
        page = self._post("/code")
        self.assertPage("unbound", "尝试次数过多", page=page)
        self.assertEqual(self.wechat.count(QR_PATH), ATTEMPTS_AN_HOUR)
        # The other merchant has its own limit.
        self.authenticate("huangjiu", "huangjiu")
        self.assertPage("waiting", page=self._post("/code"))
        self.env["wechat.portal.attempt"].search([("partner_id", "=", self.merchant.id)]).unlink()
        self.authenticate("xihu", "xihu")
        self.assertPage("waiting", page=self._post("/code"))

    @mute_logger(LOGGER)
    def test_failed_attempts_count(self):
        self.wechat.answer(QR_PATH, *[{"errcode": -1, "errmsg": "system error"}] * (ATTEMPTS_AN_HOUR + 3))
        for _number in range(ATTEMPTS_AN_HOUR):
            self.assertPage("unbound", "暂时无法从微信获取绑定码", page=self._post("/code"))
        calls = len(self.wechat.calls)
        self.assertPage("unbound", "尝试次数过多", page=self._post("/code"))
        self.assertEqual(len(self.wechat.calls), calls)

    def test_wechats_error_is_logged_and_not_shown(self):
        self.wechat.answer(QR_PATH, {"errcode": 40164, "errmsg": "invalid ip 1.2.3.4, not in whitelist rid: x"})
        with self.assertLogs(LOGGER, "WARNING") as logs:
            text = self.assertPage("unbound", "暂时无法从微信获取绑定码", page=self._post("/code"))
        self.assertNotIn("1.2.3.4", text)
        self.assertIn("1.2.3.4", logs.output[0])

    @mute_logger(LOGGER)
    def test_a_missing_account_is_explained(self):
        self.account.active = False
        self.assertPage("unbound", "微信通知尚未开通", page=self._post("/code"))

    def test_a_bound_merchant_gets_no_code(self):
        self._bind()
        self.assertPage("bound", page=self._post("/code"))
        self.assertFalse(self.wechat.count(QR_PATH))


class TestPortalRights(PortalCase):
    def test_parameters_reach_no_other_merchant(self):
        """Ids in the request are ignored."""
        other_code = self._make_code(self.other_merchant)
        foreign = {
            "partner_id": self.other_merchant.id,
            "merchant": self.other_merchant.id,
            "id": other_code.id,
            "code": other_code.id,
            "access_token": other_code.share_token,
        }
        page = self._open(params=foreign)
        self.assertPage("unbound", self.merchant.name, page=page)
        self.assertNotIn(self.other_merchant.name, page.text)
        self.assertEqual(self._open("/code.png", params=foreign).status_code, 404)
        self.assertEqual(self._open("/state", params=foreign).json(), {"version": "unbound"})
        binding = self._bind(self.other_merchant)
        self._post("/unbind", **foreign)
        self.assertEqual(binding.state, "bound")
        self._post("/code", **foreign)
        self.assertEqual(self.merchant.wechat_bind_code_ids.partner_id, self.merchant)
        self.assertEqual(self.other_merchant.wechat_bind_code_ids, other_code)
        for path in (f"/{self.other_merchant.id}", f"/code/{other_code.id}", f"/{other_code.id}/code.png"):
            self.assertEqual(self._open(path).status_code, 404)

    def test_actions_require_post_and_a_csrf_token(self):
        self._bind()
        with mute_logger("odoo.http"):
            for path in ("/code", "/unbind"):
                self.assertEqual(self._post(path, token=False).status_code, 400)
                self.assertEqual(self._open(path).status_code, 405)
        self.assertTrue(self.merchant.is_wechat_bound)

    def test_internal_users_have_no_page(self):
        self.authenticate(self.manager.login, self.manager.login)
        for path in ("", "/state", "/code.png"):
            self.assertEqual(self._open(path).status_code, 404)
        for path in ("/code", "/unbind"):
            self.assertEqual(self._post(path).status_code, 404)
        self.assertFalse(self.wechat.calls)

    def test_visitors_are_redirected_to_the_login(self):
        self.authenticate(None, None)
        for path in ("", "/state", "/code.png"):
            self.assertIn("/web/login", self._open(path).url)
        self.assertFalse(self.wechat.calls)

    def test_attempts_expire_after_an_hour(self):
        attempts = self.env["wechat.portal.attempt"]
        for _number in range(ATTEMPTS_AN_HOUR):
            self.assertTrue(attempts._count_attempt(self.merchant))
        self.assertFalse(attempts._count_attempt(self.merchant))
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_portal_attempt SET create_date = %s", [fields.Datetime.now() - timedelta(minutes=61)]
        )
        self.assertTrue(attempts._count_attempt(self.merchant))
