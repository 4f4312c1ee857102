import json
import re
import time
from datetime import timedelta
from html import unescape
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tools import mute_logger

from ...models.binding.wechat_binding import UNDO_HOURS
from ..common_push import WechatPushCase

LOGGER = "odoo.addons.wechat_merchant_bind.models.binding.wechat_binding"


class UndoCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.merchant.write({"email": "owner@example.com", "tz": "Asia/Shanghai"})
        self.user.write({"email": "zhoumin@example.com", "name": "周敏"})
        self.openid = self._make_openid()

    def _bind_by_scan(self, partner=None):
        self._push_scan(self._make_code(partner), self.openid)
        return self._get_live_binding(partner)

    def _get_mails(self):
        return self.env["mail.mail"].search([("model", "=", "wechat.binding")], order="id")

    def _age(self, binding, **delta):
        binding.bound_at = fields.Datetime.now() - timedelta(**delta)
        self.env.flush_all()


class TestMail(UndoCase):
    def test_the_merchant_is_notified_by_email(self):
        binding = self._bind_by_scan()
        mail = self._get_mails()
        self.assertRecordValues(
            mail, [{"email_to": "owner@example.com", "state": "outgoing", "res_id": binding.id, "auto_delete": True}]
        )
        body = unescape(str(mail.body_html))
        self.assertIn("杭州西湖茶庄", mail.subject)
        for text in ("您好", binding.openid_masked, "周敏", "72 小时", "撤销绑定", binding.undo_url):
            self.assertIn(text, body)
        self.assertIn(
            fields.Datetime.context_timestamp(
                self.env.user.with_context(tz="Asia/Shanghai"), binding.bound_at
            ).strftime("%Y-%m-%d %H:%M"),
            body,
        )
        self.assertNotIn(self.openid, body)
        self.assertIn("zhoumin@example.com", mail.email_from)
        self.assertNotIn(binding.undo_url, "".join(self.merchant.message_ids.mapped("body")))
        self.assertTrue(
            self.env["ir.cron.trigger"].search(
                [("cron_id", "=", self.env.ref("mail.ir_cron_mail_scheduler_action").id)]
            )
        )

    def test_the_email_is_in_the_merchants_language(self):
        self.merchant.lang = "en_US"
        self._bind_by_scan()
        self.assertIn("Undo Binding", str(self._get_mails().body_html))

    def test_without_a_language_the_email_is_in_chinese(self):
        self.merchant.lang = False
        self._bind_by_scan()
        self.assertIn("撤销绑定", str(self._get_mails().body_html))

    def test_without_an_address_no_email_is_sent(self):
        self.merchant.email = False
        self._bind_by_scan()
        self.assertBound(self.merchant, self.openid)
        self.assertFalse(self._get_mails())

    def test_a_contact_without_an_address_is_notified_at_its_merchant(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        self._bind_by_scan(contact)
        self.assertEqual(self._get_mails().email_to, "owner@example.com")

    def test_a_repeated_scan_sends_no_email(self):
        code = self._make_code()
        for number in range(2):
            self._push_scan(code, self.openid, create_time=1_790_000_000 + number)
        self.assertEqual(len(self._get_mails()), 1)

    def test_an_approval_sends_the_email(self):
        self.account.bind_confirmation = "approval"
        self._push_scan(self._make_code(), self.openid)
        self.assertFalse(self._get_mails())
        self.env["wechat.bind.request"].search([("openid", "=", self.openid)]).with_user(self.user).action_accept()
        self.assertEqual(len(self._get_mails()), 1)

    @mute_logger("odoo.addons.mail.models.mail_render_mixin")
    def test_a_broken_template_does_not_prevent_the_binding(self):
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bound")
        template.with_context(lang="zh_CN").subject = "{{ object.no_such_field }}"
        with self.assertLogs(LOGGER, "ERROR"):
            self._bind_by_scan()
        self.assertBound(self.merchant, self.openid)
        self.assertFalse(self._get_mails())

    def test_a_deleted_template_does_not_prevent_the_binding(self):
        self.env.ref("wechat_merchant_bind.mail_template_wechat_bound").unlink()
        self._bind_by_scan()
        self.assertBound(self.merchant, self.openid)


class TestToast(UndoCase):
    def setUp(self):
        super().setUp()
        self.sent = []
        users = type(self.env["res.users"])
        self.startPatcher(
            patch.object(users, "_bus_send", lambda users, kind, message: self.sent.append((users, kind, message)))
        )

    def test_the_user_of_the_code_gets_a_toast(self):
        binding = self._bind_by_scan()
        [(user, kind, message)] = self.sent
        self.assertEqual((user, kind), (self.user, "wechat_merchant_bind/toast"))
        self.assertEqual(message, {"model": "wechat.binding", "id": binding.id}, "Only the id is sent")

    def test_a_request_raises_a_toast(self):
        self.account.bind_confirmation = "approval"
        self._push_scan(self._make_code(), self.openid)
        request = self.env["wechat.bind.request"].search([("openid", "=", self.openid)])
        toasts = [message for _user, kind, message in self.sent if kind == "wechat_merchant_bind/toast"]
        self.assertEqual(toasts, [{"model": request._name, "id": request.id}])

    def test_a_user_without_the_right_gets_no_toast(self):
        code = self._make_code()
        self.user.group_ids = [(6, 0, self.env.ref("base.group_user").ids)]
        self._push_scan(code, self.openid)
        self.assertBound(self.merchant, self.openid)
        self.assertFalse(self.sent)


class TestUndo(UndoCase):
    def test_the_user_of_the_code_undoes_the_binding(self):
        binding = self._bind_by_scan()
        self.assertTrue(self.merchant.with_user(self.user).wechat_can_undo)
        self.assertTrue(self.merchant.with_user(self.user).action_wechat_undo_bind())
        self.assertNotBound(self.merchant)
        self.assertIn("周敏", binding.reason)
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])
        self.assertChatter(self.merchant, binding.reason, author=self.user.partner_id)
        with self.assertRaisesRegex(UserError, "no longer bound"):
            self.merchant.with_user(self.user).action_wechat_undo_bind()

    def test_a_manager_undoes_the_binding(self):
        self._bind_by_scan()
        self.merchant.with_user(self.manager).action_wechat_undo_bind()
        self.assertNotBound(self.merchant)

    def test_other_users_can_not_undo(self):
        self._bind_by_scan()
        colleague = self._create_user("wechat_colleague", "wechat_merchant_bind.group_user")
        self.assertFalse(self.merchant.with_user(colleague).wechat_can_undo)
        for user in (colleague, self.employee, self.portal, self.public):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.merchant.with_user(user).action_wechat_undo_bind()
        self.assertBound(self.merchant, self.openid)

    def test_undoing_is_refused_after_72_hours(self):
        binding = self._bind_by_scan()
        self._age(binding, hours=UNDO_HOURS, seconds=1)
        self.assertFalse(self.merchant.with_user(self.manager).wechat_can_undo)
        for user in (self.user, self.manager):
            with self.subTest(user=user.login), self.assertRaisesRegex(UserError, "72 hours"):
                self.merchant.with_user(user).action_wechat_undo_bind()
        self.assertBound(self.merchant, self.openid)


class TestUndoPage(UndoCase):
    def setUp(self):
        super().setUp()
        self.binding = self._bind_by_scan()
        self.path = "/wechat/undo/" + self.binding.undo_url.rpartition("/")[2]
        self.opener.cookies.clear()

    def _open(self, path=None):
        page = self.url_open(path or self.path)
        self.env.invalidate_all()
        return page

    def _press(self, page):
        token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]
        answer = self.url_open(self.path, data={"csrf_token": token})
        self.env.invalidate_all()
        return answer

    def assertPage(self, page, state, text, status=200):
        """Check the page's state and text, and that it has a button only for a live binding."""
        self.assertEqual(page.status_code, status)
        self.assertIn(f'data-state="{state}"', page.text)
        self.assertIn(text, unescape(page.text))
        self.assertEqual("<button" in page.text, state == "bound")

    def test_opening_the_link_changes_nothing(self):
        for _time in range(3):
            page = self._open()
        self.assertPage(page, "bound", "要撤销微信绑定吗")
        self.assertIn(self.binding.openid_masked, page.text)
        self.assertIn("杭州西**庄", page.text)
        self.assertNotIn("杭州西湖", page.text)
        self.assertBound(self.merchant, self.openid)

    def test_the_button_undoes_the_binding(self):
        page = self._press(self._open())
        self.assertPage(page, "unbound", "绑定已撤销")
        self.assertNotBound(self.merchant)
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])
        self.assertChatter(self.merchant, "link in the e-mail", author=self.env.ref("base.partner_root"))
        self.assertTrue(self.binding.reason)
        self.assertTrue(self._get_operations()[-1].ip_address, "The visitor's address is recorded")
        self.assertPage(self._open(), "unbound", "绑定已撤销")

    def test_pressing_twice_undoes_once(self):
        page = self._open()
        for _time in range(2):
            self.assertPage(self._press(page), "unbound", "绑定已撤销")
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])

    @mute_logger("odoo.http")
    def test_posts_of_other_sites_are_refused(self):
        self._open()
        for data in ({}, {"csrf_token": "x"}):
            self.assertEqual(self.url_open(self.path, data=data, method="POST").status_code, 400)
        self.assertBound(self.merchant, self.openid)

    def test_the_link_expires_after_72_hours(self):
        page = self._open()
        self._age(self.binding, hours=UNDO_HOURS, seconds=1)
        self.assertPage(self._open(), "expired", "已过期")
        self._press(page)
        self.assertBound(self.merchant, self.openid)

    def test_the_link_does_not_undo_a_later_binding(self):
        page = self._open()
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self._push_scan(self._make_code(), self.openid, create_time=int(time.time()) + 1)
        self._press(page)
        self.assertBound(self.merchant, self.openid)

    def test_the_link_of_a_deleted_merchant_shows_the_unbinding(self):
        self.merchant.unlink()
        self.assertPage(self._open(), "unbound", "绑定已撤销")

    def test_forged_links_are_unknown(self):
        token = self.path.rpartition("/")[2]
        for number, wrong in enumerate(
            (
                "x",
                token[:-2],
                token[:12] + ("A" if token[12] != "A" else "B") + token[13:],
                "%00",
                f"{token}%00",
                "%ED",
                "=" * 9,
            )
        ):
            with self.subTest(number=number):
                page = self._open(f"/wechat/undo/{wrong}")
                if number == 4:
                    # Some characters can't be part of a token.
                    self.assertIn(page.status_code, (200, 404))
                else:
                    self.assertPage(page, "unknown", "链接无效", status=404)
        self.assertBound(self.merchant, self.openid)

    def test_headers_forbid_storing_and_embedding(self):
        headers = self._open().headers
        self.assertIn("no-store", headers["Cache-Control"])
        self.assertIn("noindex", headers["X-Robots-Tag"])
        self.assertEqual(headers["Referrer-Policy"], "no-referrer")
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertIn("form-action 'self'", headers["Content-Security-Policy"])

    def test_only_managers_read_the_link(self):
        with self.assertRaises(AccessError):
            self.binding.with_user(self.user).read(["undo_url"])


class TestTypedUnbind(UndoCase):
    def setUp(self):
        super().setUp()
        self._msg_ids = iter(range(24_000_000_000_000_000, 25_000_000_000_000_000))

    def _type(self, content="解绑", openid=None):
        return self._push_text(openid or self.openid, content, next(self._msg_ids))

    def test_a_typed_command_unbinds(self):
        binding = self._bind_by_scan()
        self.assertReply(self._type(), "已解除绑定", "新的绑定码", to=self.openid)
        self.assertNotBound(self.merchant)
        self.assertIn("解绑", binding.reason)
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])
        self.assertChatter(self.merchant, "解绑", author=self.env.ref("base.partner_root"))

    def test_a_formerly_bound_openid_gets_an_explanation(self):
        self._bind_by_scan()
        self._type()
        self.assertReply(self._type(), "未绑定任何商家")
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])

    def test_an_unknown_openid_is_handed_to_customer_service(self):
        self.assertEqual(self._type().reply["MsgType"], "transfer_customer_service")
        self.account.transfer_customer_service = False
        self.assertReply(self._type(), "未绑定任何商家")

    def test_longer_texts_are_no_command(self):
        self._bind_by_scan()
        for content in ("怎么解绑", "解绑？"):
            self.assertEqual(self._type(content).reply["MsgType"], "transfer_customer_service")
        self.assertBound(self.merchant, self.openid)

    def test_the_reply_is_in_the_merchants_language(self):
        self.merchant.lang = "en_US"
        self._bind_by_scan()
        self.assertReply(self._type(), "no longer bound")

    def test_a_failed_command_is_not_retried_after_a_new_scan(self):
        self._bind_by_scan()
        bindings = type(self.env["wechat.binding"])
        with (
            patch.object(bindings, "_unbind", side_effect=ValueError("the third party fails")),
            mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.wechat_event"),
        ):
            self.assertReply(self._type(), "几分钟内处理")
        event = self._get_events()[-1]
        self.assertEqual(event.state, "failed")
        self.assertIsNone(event._get_retry_obstacle(fields.Datetime.now()))
        self._type("什么时候发货")
        self.assertIsNone(event._get_retry_obstacle(fields.Datetime.now()))
        self._push_scan(self.merchant.wechat_bind_code_ids, self.openid, create_time=int(time.time()) + 1)
        self.assertTrue(event._get_retry_obstacle(fields.Datetime.now()))

    def test_a_scan_is_not_retried_after_a_later_command(self):
        self._bind_by_scan()
        event = self._get_events()[-1]
        self._type()
        self.assertTrue(event._get_retry_obstacle(fields.Datetime.now()))

    def test_the_payload_is_kept_unchanged(self):
        self._bind_by_scan()
        self._type()
        self.assertEqual(json.loads(self._get_events()[-1].payload)["Content"], "解绑")
