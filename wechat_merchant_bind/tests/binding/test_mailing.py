from datetime import timedelta

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import Form
from odoo.tools import mute_logger

from ..common import QR_PATH, WechatCase
from ..common_pictures import read_code


class MailingCase(WechatCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.merchant.email = "boss@westlake.example.com"
        cls.other_merchant.email = "shaoxing@example.com"
        cls.env.company.email = "hello@ourselves.example.com"
        cls.user.email = "xiaoyun@ourselves.example.com"
        cls.env["mail.mail"].search([("state", "=", "outgoing")]).state = "cancel"

    def _compose(self, partner=None, user=None):
        """Press 发送邮件 as a user does and return the composer."""
        user = user or self.user
        action = (partner or self.merchant).with_user(user).action_wechat_send_code()
        self.assertEqual((action["res_model"], action["target"]), ("mail.compose.message", "new"))
        return Form(self.env[action["res_model"]].with_user(user).with_context(**action["context"])).save()

    def _send_queue(self):
        """Send the queued e-mails, as Odoo's scheduled action does, and return them."""
        self.env.flush_all()
        with self._outbox() as outbox:
            self.env["mail.mail"].sudo().search([("state", "=", "outgoing")]).send()
        return outbox

    def assertCarriesCode(self, message, code):
        """Check that an e-mail has the code embedded and as a file, and the link."""
        html = message.get_body(("html",)).get_content()
        related = {part["Content-ID"]: part for part in message.walk() if part["Content-ID"]}
        [content_id] = related
        self.assertIn(f'src="cid:{content_id.strip("<>")}"', html)
        self.assertNotIn("code.png", html)
        self.assertEqual(related[content_id].get_content_disposition(), "inline")
        self.assertEqual(read_code(related[content_id].get_content()), code.qr_content)
        [attachment] = [part for part in message.iter_attachments() if part.get_content_disposition() == "attachment"]
        self.assertEqual(attachment.get_content_type(), "image/png")
        self.assertIn(code.partner_id.name, attachment.get_filename())
        self.assertEqual(read_code(attachment.get_content()), code.qr_content)
        self.assertIn(f'href="{code.share_url}"', html)
        self.assertIn(code.share_url, message.get_body(("plain",)).get_content())
        return html


class TestComposer(MailingCase):
    def test_the_composer_sends_the_code(self):
        composer = self._compose()
        code = self.merchant.wechat_open_code_id
        self.assertIn(f"{code.share_url}/code.png", composer.body)
        self.assertEqual(composer.partner_ids, self.merchant)
        self.assertFalse(composer.attachment_ids, "The picture is drawn when the e-mail is sent")
        with self._outbox() as outbox:
            composer.action_send_mail()
        [message] = outbox
        self.assertCarriesCode(message, code)
        self.assertIn("boss@westlake.example.com", message["To"])
        self.assertIn("xiaoyun@ourselves.example.com", message["From"])
        self.assertOperations(self.merchant, ["generate", "send"])
        self.assertRecordValues(
            self._get_operations()[-1],
            [
                {
                    "user_id": self.user.id,
                    "account_id": self.account.id,
                    "note": "By e-mail to b***@westlake.example.com.",
                }
            ],
        )
        posted = self.merchant.message_ids.sorted("id")[-1]
        self.assertEqual((posted.author_id, posted.partner_ids), (self.user.partner_id, self.merchant))
        self.assertIn("e-mailed to b***@westlake.example.com by wechat_user", posted.body)

    def test_the_email_is_in_the_merchants_language(self):
        code = self._make_code()
        code.write({"expires_at": "2040-12-31 20:32:00"})
        self.merchant.tz = "Asia/Shanghai"
        with self._outbox() as outbox:
            self._compose().action_send_mail()
        html = self.assertCarriesCode(outbox[0], code)
        self.assertEqual(outbox[0]["Subject"], "请扫码绑定微信，接收我们的通知")
        self.assertIn("杭州西湖茶庄", html)
        self.assertIn("2041-01-01 04:32", html)
        self.assertIn("长按二维码", html)
        self.assertNotRegex(html, "Please|Dear|valid")

    def test_followers_get_no_copy(self):
        self.merchant.message_subscribe(self.manager.partner_id.ids)
        with self._outbox() as outbox:
            self._compose().action_send_mail()
        self.assertEqual(len(outbox), 1)

    def test_the_dialog_sends_its_code(self):
        show = self.env["wechat.bind.code.show"].browse(
            self.merchant.with_user(self.user).action_wechat_bind_code()["res_id"]
        )
        action = show.with_user(self.user).action_send()
        self.assertEqual(action["context"]["default_res_ids"], self.merchant.ids)
        self.assertEqual(self.wechat.count(QR_PATH), 1, "The shown code is sent")

    def test_a_link_that_expires_soon_is_renewed(self):
        code = self._make_code()
        token = code.share_token
        for days, renewed in ((6, False), (4, True)):
            code.share_expires_at = fields.Datetime.now() + timedelta(days=days)
            self._compose()
            self.assertEqual(code.share_token != token, renewed)
        self.assertGreater(code.share_expires_at, fields.Datetime.now() + timedelta(days=6, hours=23))

    def test_an_outdated_code_is_not_sent(self):
        composer = self._compose()
        self.merchant.with_user(self.user)._wechat_regenerate_bind_code()
        with self._outbox() as outbox, self.assertRaisesRegex(UserError, "no longer valid"):
            composer.action_send_mail()
        self.assertFalse(outbox)
        self.assertNotIn("send", self._get_operations().mapped("operation"))

    def test_bound_and_disabled_merchants_and_other_users_are_refused(self):
        self._bind(self.other_merchant)
        with self.assertRaisesRegex(UserError, "already bound"):
            self._compose(self.other_merchant)
        self.merchant.active = False
        with self.assertRaisesRegex(UserError, "disabled"):
            self._compose()
        for user in (self.employee, self.portal, self.public):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.merchant.with_user(user).action_wechat_send_code()
        self.assertFalse(self.wechat.calls)

    def test_the_template_reveals_no_code_to_employees(self):
        self._make_code()
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bind_code")
        composer = self.env["mail.compose.message"].with_user(self.employee)
        with mute_logger("odoo.addons.mail.models.mail_render_mixin"), self.assertRaisesRegex(UserError, "AccessError"):
            composer.with_context(default_model="res.partner", default_res_ids=self.merchant.ids).create(
                {"template_id": template.id}
            ).mapped("body")

    def test_a_deleted_template_is_explained(self):
        self.env.ref("wechat_merchant_bind.mail_template_wechat_bind_code").unlink()
        with self.assertRaisesRegex(UserError, "Upgrade"):
            self._compose()


class TestQueue(MailingCase):
    def test_several_emails_are_queued(self):
        codes = [self._make_code(merchant) for merchant in (self.merchant, self.other_merchant)]
        calls = len(self.wechat.calls)
        trigger = self.env["ir.cron.trigger"].search([])
        with self._outbox() as at_once:
            action = (self.merchant + self.other_merchant).with_user(self.user).action_wechat_send_code()
        self.assertEqual((action["tag"], action["params"]["type"]), ("display_notification", "success"))
        self.assertIn("2", action["params"]["title"])
        self.assertFalse(at_once, "E-mails are queued")
        self.assertEqual(len(self.wechat.calls), calls)
        triggered = (self.env["ir.cron.trigger"].search([]) - trigger).cron_id
        self.assertIn(self.env.ref("mail.ir_cron_mail_scheduler_action"), triggered)
        outbox = self._send_queue()
        self.assertEqual(len(outbox), 2)
        for message, code in zip(sorted(outbox, key=lambda message: "shaoxing" in message["To"]), codes, strict=True):
            self.assertCarriesCode(message, code)
            self.assertIn(code.partner_id.email, message["To"])
            self.assertOperations(code.partner_id, ["generate", "send"])
            self.assertEqual(self._get_operations(code.partner_id)[-1].user_id, self.user)
            self.assertChatter(code.partner_id, "e-mailed to", "by wechat_user", author=self.user.partner_id)

    def test_merchants_without_an_email_are_named_with_the_reason(self):
        merchants = {
            "Already bound": self._create_merchant("已绑定的", email="a@example.com"),
            "Disabled": self._create_merchant("已禁用的", email="b@example.com"),
            "No valid binding code": self._create_merchant("没有码的", email="c@example.com"),
            "No valid e-mail": self._create_merchant("没有邮箱的"),
            "blacklist": self._create_merchant("退订的", email="d@example.com"),
        }
        for words in ("No valid e-mail", "blacklist"):
            self._make_code(merchants[words])
        self._bind(merchants["Already bound"])
        merchants["Disabled"].active = False
        self.env["mail.blacklist"]._add("d@example.com")
        self._make_code()
        selection = self.merchant.union(*merchants.values())
        obstacles = selection.with_user(self.user)._wechat_email_bind_codes()
        self.assertEqual(set(obstacles), {merchant.id for merchant in merchants.values()})
        for words, merchant in merchants.items():
            self.assertIn(words, obstacles[merchant.id])
            self.assertNotIn("send", self._get_operations(merchant).mapped("operation"))
        self.assertChatter(merchants["No valid e-mail"], "not e-mailed", "No valid e-mail")
        [message] = self._send_queue()
        self.assertIn(self.merchant.email, message["To"])
        action = selection.with_user(self.user).action_wechat_send_code()
        self.assertTrue(action["params"]["sticky"])
        for words, merchant in merchants.items():
            self.assertRegex(action["params"]["message"], rf"{words}[^;]*\(1\): {merchant.name}")

    def test_odoobot_sends_in_the_name_of_the_company(self):
        """As called by an automation or a scheduled action: OdooBot has no address for answers."""
        code = self._make_code()
        self.assertEqual(self.merchant.with_user(self.env.ref("base.user_root"))._wechat_email_bind_codes(), {})
        [message] = self._send_queue()
        self.assertCarriesCode(message, code)
        self.assertIn("hello@ourselves.example.com", message["From"])

    def test_queries_do_not_grow_with_the_merchants(self):
        merchants = self.env["res.partner"].union(
            *(self._create_merchant(f"商家{n}", email=f"m{n}@example.com") for n in range(12))
        )
        for merchant in merchants:
            self._make_code(merchant)
        counts = []
        for chosen in (merchants[:1], merchants[1:2], merchants[2:12]):
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            chosen._wechat_email_bind_codes()
            self.env.flush_all()
            counts.append(self.env.cr.sql_log_count - before)
        self.assertLess(counts[2] - counts[1], 9 * 20, f"queries for one (cold, warm) and ten merchants: {counts}")


class TestPicture(MailingCase):
    def test_other_emails_are_unchanged(self):
        for body in (
            "<p>nothing</p>",
            '<img src="https://example.com/wechat/bind/AAAAAAAAAAAAAAAAAAAAAAAA/code.png">',
            '<img src="/web/image/1">',
        ):
            message = self.env["ir.mail_server"]._build_email__(
                "a@example.com", ["b@example.com"], "x", body, subtype="html"
            )
            self.assertIn(body, message.get_body(("html",)).get_content())
            self.assertFalse([part for part in message.walk() if part["Content-ID"]])

    def test_the_picture_of_a_revoked_code_is_not_drawn(self):
        code = self._make_code()
        body = f'<img src="{code.share_url}/code.png">'
        self.assertTrue(self.env["ir.mail_server"]._wechat_embed_pictures(body)[1])
        code._revoke("x")
        self.assertEqual(self.env["ir.mail_server"]._wechat_embed_pictures(body), (body, {}))
