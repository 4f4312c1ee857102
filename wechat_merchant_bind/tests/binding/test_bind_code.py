import base64
import io
from datetime import timedelta
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import requests
import zxingcpp
from PIL import Image

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tools import format_datetime

from ..common import QR_PATH, TOKEN_PATH, WechatCase, WechatHttpBase


class BindCodeCase(WechatCase):
    def _open_dialog(self, partner=None, user=None):
        """Press the button as a user does and return the dialog's record."""
        user = user or self.user
        action = (partner or self.merchant).with_user(user).action_wechat_bind_code()
        self.assertEqual((action["res_model"], action["target"]), ("wechat.bind.code.show", "new"))
        return self.env[action["res_model"]].with_user(user).browse(action["res_id"])


class TestGenerate(BindCodeCase):
    def test_the_call_has_a_random_scene_and_the_validity(self):
        self.account.code_validity_days = 7
        before = fields.Datetime.now()
        code = self._open_dialog().code_id.sudo()
        call = self.wechat.calls[-1]
        self.assertEqual((call.path, call.payload["action_name"]), (QR_PATH, "QR_STR_SCENE"))
        self.assertEqual(call.payload["expire_seconds"], 7 * 86400)
        self.assertEqual(call.payload["action_info"]["scene"]["scene_str"], code.scene_str)
        self.assertRegex(code.scene_str, r"^mb_[A-Za-z0-9_-]{22,61}$")
        self.assertGreaterEqual(code.expires_at, before + timedelta(days=7))
        self.assertLess(code.expires_at, before + timedelta(days=7, minutes=1))
        self.assertRecordValues(
            code,
            [
                {
                    "state": "active",
                    "partner_id": self.merchant.id,
                    "account_id": self.account.id,
                    "user_id": self.user.id,
                    "company_id": self.account.company_id.id,
                }
            ],
        )

    def test_a_code_is_valid_for_30_days_by_default(self):
        self._open_dialog()
        self.assertEqual(self.wechat.calls[-1].payload["expire_seconds"], 2592000)

    def test_a_shorter_validity_granted_by_wechat_counts(self):
        self.wechat.answer(QR_PATH, {"ticket": "t", "url": "http://weixin.qq.com/q/x", "expire_seconds": 3600})
        code = self._open_dialog().code_id.sudo()
        self.assertLess(code.expires_at, fields.Datetime.now() + timedelta(hours=1, seconds=1))

    def test_no_two_codes_share_a_secret(self):
        codes = [self._make_code(partner) for partner in (self.merchant, self.other_merchant)]
        for name in ("scene_str", "share_token", "qr_content"):
            self.assertEqual(len({code[name] for code in codes}), 2, name)
        for code in codes:
            self.assertGreaterEqual(len(base64.urlsafe_b64decode(code.scene_str[3:])), 16)
            self.assertGreaterEqual(len(base64.urlsafe_b64decode(code.share_token)), 16)
            self.assertNotIn(code.scene_str, code.share_url)

    def test_a_generated_code_is_recorded(self):
        code = self._make_code()
        expiry = format_datetime(self.env, code.expires_at, tz="Asia/Shanghai", dt_format="short")
        self.assertChatter(self.merchant, "generated", expiry, author=self.user.partner_id)
        self.assertOperations(self.merchant, ["generate"])
        self.assertRecordValues(
            self._get_operations(),
            [{"user_id": self.user.id, "user_name": "wechat_user", "partner_name": "杭州西湖茶庄"}],
        )

    def test_the_open_code_is_shown_again(self):
        first = self._open_dialog()
        second = self._open_dialog(user=self.manager)
        self.assertEqual(second.code_id, first.code_id)
        self.assertEqual(self.wechat.count(QR_PATH), 1)
        self.assertOperations(self.merchant, ["generate"])

    def test_an_expired_code_is_replaced(self):
        first = self._make_code()
        first.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        second = self._make_code()
        self.assertNotEqual(second, first)
        self.assertEqual((first.state, second.state), ("expired", "active"))
        self.assertOperations(self.merchant, ["generate", "generate"])

    def test_an_expired_link_is_renewed(self):
        code = self._make_code()
        token = code.share_token
        code.share_expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertEqual(self._make_code(), code)
        self.assertNotEqual(code.share_token, token)
        self.assertGreater(code.share_expires_at, fields.Datetime.now() + timedelta(days=6, hours=23))

    def test_regenerating_revokes_the_former_code(self):
        dialog = self._open_dialog()
        first = dialog.code_id.sudo()
        action = dialog.action_regenerate()
        self.assertEqual((action["res_model"], action["res_id"]), (dialog._name, dialog.id))
        second = dialog.code_id.sudo()
        self.assertNotEqual(second, first)
        self.assertEqual((first.state, second.state), ("revoked", "active"))
        self.assertOperations(self.merchant, ["generate", "revoke", "generate"])
        self.assertEqual(dialog.state, "waiting")

    def test_the_code_is_kept_if_wechat_refuses_a_new_one(self):
        dialog = self._open_dialog()
        code = dialog.code_id.sudo()
        self.wechat.answer(QR_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 6"})
        with self.assertRaises(UserError):
            dialog.action_regenerate()
        self.assertEqual(code.state, "active")
        self.assertEqual(dialog.code_id.sudo(), code)

    def test_a_bound_merchant_gets_no_code(self):
        self._bind(openid="oTest-1234567890-abcdefgh")
        dialog = self._open_dialog()
        self.assertEqual((dialog.state, dialog.openid_masked), ("bound", "oTes…efgh"))
        self.assertTrue(dialog.bound_on)
        self.assertFalse(dialog.code_id)
        self.assertEqual(self.wechat.calls, [])
        with self.assertRaisesRegex(UserError, "already bound"):
            dialog.action_regenerate()

    def test_a_disabled_merchant_gets_no_code(self):
        self.merchant.active = False
        with self.assertRaisesRegex(UserError, "杭州西湖茶庄.*disabled"):
            self.merchant.with_user(self.user).action_wechat_bind_code()
        self.assertEqual(self.wechat.calls, [])

    def test_a_code_needs_an_account(self):
        self.account.active = False
        with self.assertRaisesRegex(UserError, "No WeChat Official Account"):
            self._open_dialog()

    def test_other_addons_get_the_open_code(self):
        code = self.merchant.with_user(self.user)._wechat_get_bind_code()
        self.assertEqual((code._name, code.sudo().partner_id), ("wechat.bind.code", self.merchant))
        self.assertEqual(self.merchant.with_user(self.user)._wechat_get_bind_code(), code)

    def test_expired_codes_change_their_state(self):
        code = self._make_code()
        self.env["wechat.bind.code"]._cron_expire()
        self.assertEqual(code.state, "active")
        code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        with patch.object(type(self.env["res.groups"]), "_bus_send", autospec=True) as send:
            self.env["wechat.bind.code"]._cron_expire()
        self.assertEqual(code.state, "expired")
        (_group, *message), _kwargs = send.call_args
        self.assertEqual(message, ["wechat_merchant_bind/partner", {"ids": self.merchant.ids}])


class TestAccountChoice(BindCodeCase):
    def test_the_account_is_chosen_by_company_and_sequence(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        self.user.company_ids += company
        shared = self._create_account(company_id=False, sequence=1)
        own_late = self._create_account(sequence=20)
        foreign = self._create_account(company_id=company.id, sequence=1)
        merchant = self._create_merchant("外地商家", company_id=company.id)
        accounts = self.env["wechat.account"].with_user(self.user)
        self.assertEqual(accounts._get_for_partner(self.merchant), self.account, "The current company's first")
        self.assertEqual(accounts._get_for_partner(merchant), foreign, "The merchant's company's")
        self.account.sequence = 30
        self.assertEqual(accounts._get_for_partner(self.merchant), own_late)
        (self.account + own_late).active = False
        self.assertEqual(accounts._get_for_partner(self.merchant), shared)
        foreign.active = False
        self.assertEqual(accounts._get_for_partner(merchant), shared)


class TestRights(BindCodeCase):
    def test_only_users_generate_codes(self):
        for user in (self.employee, self.portal, self.public):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    self.merchant.with_user(user).action_wechat_bind_code()
                with self.assertRaises(AccessError):
                    (self.merchant + self.other_merchant).with_user(user).action_wechat_bind_code()
                with self.assertRaises(AccessError):
                    self.env["wechat.bind.code.show"].with_user(user).create({"partner_id": self.merchant.id})
        self.assertEqual(self.wechat.calls, [])
        for user, partner in ((self.user, self.merchant), (self.manager, self.other_merchant)):
            self.assertEqual(self._open_dialog(partner, user).state, "waiting")

    def test_only_users_regenerate_codes(self):
        dialog = self._open_dialog()
        code = dialog.code_id.sudo()
        self.user.group_ids -= self.env.ref("wechat_merchant_bind.group_user")
        with self.assertRaises(AccessError):
            dialog.action_regenerate()
        with self.assertRaisesRegex(AccessError, "not allowed to generate"):
            self.merchant.with_user(self.employee)._wechat_regenerate_bind_code()
        self.assertEqual(self.wechat.count(QR_PATH), 1)
        self.assertEqual(code.state, "active")

    def test_system_administrators_are_managers(self):
        admin = self._create_user("wechat_admin", "base.group_system")
        self.assertTrue(admin.has_group("wechat_merchant_bind.group_manager"))

    def test_codes_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        merchant = self._create_merchant("外地商家", company_id=company.id)
        with self.assertRaises(AccessError):
            merchant.with_user(self.user).action_wechat_bind_code()
        self.assertEqual(self.wechat.calls, [])


class TestErrors(BindCodeCase):
    def _get_error(self, lang="en_US"):
        self.user.lang = lang
        with self.assertRaises(UserError) as error:
            self.merchant.with_user(self.user).with_context(lang=lang).action_wechat_bind_code()
        self.assertFalse(self.merchant.wechat_bind_code_ids)
        self.assertOperations(self.merchant, [])
        return str(error.exception)

    def test_refusals_are_explained(self):
        for errcode, errmsg, words in (
            (45009, "reach max api daily quota limit rid: 61-2-3", "quota of this API is used up"),
            (48001, "api unauthorized rid: 61-2-3", "no right to use this API"),
            (-1, "system error", "WeChat is busy"),
            (45029, "qrcode count out of limit", ""),
            (99999, "something new rid: 61-2-3", ""),
        ):
            with self.subTest(errcode=errcode):
                self.wechat.answer(QR_PATH, {"errcode": errcode, "errmsg": errmsg})
                message = self._get_error()
                self.assertIn("could not be generated", message)
                self.assertIn(f"{errcode} {errmsg}", message)
                self.assertIn(words, message)
                self.assertGreaterEqual(len(message.splitlines()), 4, "Meaning, remedy and WeChat's own text")

    def test_a_missing_ip_address_is_named(self):
        self.wechat.answer(
            TOKEN_PATH,
            {"errcode": 40164, "errmsg": "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 1"},
        )
        message = self._get_error()
        self.assertIn("40164", message)
        self.assertRegex(message, r"(?m)^Address to add.*: 203\.0\.113\.7$")

    def test_network_failures_are_explained(self):
        for failure in (
            requests.exceptions.ReadTimeout("read timed out"),
            requests.exceptions.ConnectionError("connection aborted"),
            502,
        ):
            with self.subTest(failure=failure):
                self.wechat.answer(QR_PATH, failure)
                message = self._get_error()
                self.assertIn("could not be generated", message)
                self.assertNotIn("access-token", message)
                self.assertNotIn("Traceback", message)

    def test_errors_are_translated(self):
        self.wechat.answer(QR_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 61-2-3"})
        message = self._get_error("zh_CN")
        self.assertRegex(message, r"[\u4e00-\u9fff]")
        self.assertNotIn("quota of this API", message)
        self.assertIn("45009 reach max api daily quota limit rid: 61-2-3", message)


class TestDialog(BindCodeCase):
    def test_the_picture_is_sharp_and_can_be_scanned(self):
        dialog = self._open_dialog()
        picture = Image.open(io.BytesIO(base64.b64decode(dialog.qr_image)))
        self.assertEqual(picture.format, "PNG")
        self.assertGreaterEqual(min(picture.size), 600)
        self.assertEqual({color for _count, color in picture.convert("L").getcolors()}, {0, 255})
        found = zxingcpp.read_barcodes(picture.convert("L"))
        self.assertEqual([code.text for code in found], [dialog.code_id.sudo().qr_content])

    def test_the_expiry_is_in_the_users_time_zone(self):
        code = self._make_code()
        code.expires_at = "2040-12-31 20:32:00"
        for tz, expected in (("Asia/Shanghai", "2041-01-01 04:32"), ("America/New_York", "2040-12-31 15:32")):
            self.user.tz = tz
            dialog = self._open_dialog()
            self.assertIn(expected, dialog.with_context(tz=tz).expiry)

    def test_the_remaining_days_are_shown(self):
        code = self._make_code()
        for delta, expected in (
            (timedelta(days=30, seconds=-60), "30 days left"),
            (timedelta(days=1, seconds=60), "1 days left"),
            (timedelta(hours=23), "less than a day left"),
            (timedelta(seconds=-1), "expired"),
        ):
            dialog = self._open_dialog()
            code.expires_at = fields.Datetime.now() + delta
            self.assertIn(expected, dialog.expiry)
            code.write({"expires_at": fields.Datetime.now() + timedelta(days=1), "state": "active"})

    def test_the_dialog_shows_the_state(self):
        dialog = self._open_dialog()
        code = dialog.code_id.sudo()
        self.assertEqual(dialog.state, "waiting")
        code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        dialog.invalidate_recordset()
        self.assertEqual(dialog.state, "expired")
        code.state = "revoked"
        dialog.invalidate_recordset()
        self.assertEqual(dialog.state, "revoked")
        self._bind()
        dialog.invalidate_recordset()
        self.assertEqual(dialog.state, "bound")

    def test_an_unbinding_updates_the_dialog(self):
        self._bind()
        dialog = self._open_dialog()
        self.assertEqual(dialog.state, "bound")
        self.merchant.with_user(self.manager).action_wechat_unbind()
        dialog.invalidate_recordset()
        self.assertEqual((dialog.state, dialog.openid_masked), ("expired", False))
        dialog.action_regenerate()
        self.assertEqual(dialog.state, "waiting")

    def test_the_link_has_the_share_token(self):
        self.env["ir.config_parameter"].set_param("web.base.url", "https://erp.example.com")
        dialog = self._open_dialog()
        token = dialog.code_id.sudo().share_token
        self.assertEqual(dialog.share_url, f"https://erp.example.com/wechat/bind/{token}")

    def test_the_file_name_is_safe(self):
        for name, expected in (
            ("杭州西湖茶庄", "杭州西湖茶庄"),
            ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("甲\r\nX-Header: y", "甲 X-Header_ y"),
            (" . ", ""),
            ("长" * 300, "长" * 70),
        ):
            with self.subTest(name=name):
                partner = self._create_merchant(name)
                file_name = self.env["wechat.bind.code"].new({"partner_id": partner.id})._get_file_name()
                self.assertTrue(file_name.startswith(f"{expected or partner.id} - "), file_name)
                self.assertTrue(file_name.endswith(".png"))

    def test_the_download_has_the_merchants_name(self):
        dialog = self._open_dialog()
        url = urlsplit(dialog.action_download()["url"])
        self.assertEqual(url.path, f"/web/content/wechat.bind.code/{dialog.code_id.id}/qr_image")
        self.assertEqual(parse_qs(url.query)["filename"], ["杭州西湖茶庄 - WeChat binding code.png"])

    def test_all_users_are_notified_of_changes(self):
        with patch.object(type(self.env["res.groups"]), "_bus_send", autospec=True) as send:
            self._make_code()._revoke("x")
        (group, kind, message), _kwargs = send.call_args
        self.assertEqual(group, self.env.ref("wechat_merchant_bind.group_user"))
        self.assertEqual((kind, message), ("wechat_merchant_bind/partner", {"ids": self.merchant.ids}))


class TestDownload(WechatHttpBase):
    def _download(self, user):
        action = self.merchant.with_user(self.user).action_wechat_bind_code()
        url = self.env[action["res_model"]].with_user(self.user).browse(action["res_id"]).action_download()["url"]
        self.authenticate(user.login, user.login)
        return self.url_open(url)

    def test_a_user_downloads_the_picture(self):
        response = self._download(self.user)
        self.assertEqual(response.status_code, 200)
        self.assertIn("filename*=UTF-8''%E6%9D%AD%E5%B7%9E", response.headers["Content-Disposition"])
        found = zxingcpp.read_barcodes(Image.open(io.BytesIO(response.content)).convert("L"))
        self.assertEqual([code.text for code in found], self.merchant.wechat_bind_code_ids.mapped("qr_content"))

    def test_a_portal_user_does_not_download_the_picture(self):
        response = self._download(self.portal)
        self.assertNotIn(b"PNG", response.content[:8])
        self.assertNotEqual(response.headers.get("Content-Type"), "image/png")
