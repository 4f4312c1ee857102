"""Codes and undo links are stored nowhere that a user without the right can read, however they were sent."""

from datetime import timedelta
from email.message import EmailMessage

from markupsafe import Markup

from odoo import fields
from odoo.exceptions import AccessError, UserError

from ..common_pictures import read_code
from ..common_push import WechatPushCase
from .test_mailing import MailingCase

TEXTS = ("char", "text", "html", "json")


class SecrecyCase(MailingCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.last_attachment_id = cls.env["ir.attachment"].sudo().search([], order="id desc", limit=1).id

    def _read_texts(self, user):
        """Return all stored texts that a user may read, with their model and field.

        :rtype: list[tuple[str, str]]
        """
        self.env.flush_all()
        self.env.invalidate_all()
        texts = []
        for name, cls in self.env.registry.items():
            records = self.env[name].with_user(user).with_context(active_test=False)
            if cls._abstract or not cls._auto or not records.has_access("read"):
                continue
            names = [
                field_name
                for field_name, description in records.fields_get(attributes=["type", "store"]).items()
                if description["type"] in TEXTS and description["store"]
            ]
            if not names or name.startswith("ir."):
                continue
            try:
                rows = records.search([]).read(names)
            except (AccessError, UserError, NotImplementedError):
                # Models that can't be searched or read as a whole have no texts to check.
                rows = []
            texts += [(f"{name}.{field_name}", str(row[field_name])) for row in rows for field_name in names]
        return texts

    def _read_pictures(self, user):
        """Return the contents of codes in all new attachments that a user may read."""
        contents = []
        for attachment in (
            self.env["ir.attachment"]
            .with_user(user)
            .search([("id", ">", self.last_attachment_id), ("res_field", "=", False)])
        ):
            try:
                contents.append(read_code(attachment.raw))
            except (OSError, ValueError):
                continue
        return contents

    def assertNotReadable(self, *secrets, contents=()):
        """Check that an employee can read none of these secrets, and no picture of these codes."""
        texts = self._read_texts(self.employee)
        self.assertIn("mail.message.body", {place for place, _text in texts}, "The chatter must be among the texts")
        for secret in secrets:
            places = {place for place, text in texts if secret in text}
            self.assertFalse(places, f"An employee reads {secret} there")
        self.assertFalse(set(self._read_pictures(self.employee)) & set(contents), "An employee has the picture")

    def assertCodeNotReadable(self, code):
        self.assertNotReadable(
            code.share_token, code.scene_str, code.ticket, code.qr_content, contents=[code.qr_content]
        )


class TestStoredCodes(SecrecyCase):
    def test_a_code_sent_by_the_composer_is_hidden(self):
        code = self._make_code()
        with self._outbox() as outbox:
            self._compose().action_send_mail()
        self.assertCarriesCode(outbox[0], code)
        self.assertCodeNotReadable(code)
        self.assertChatter(self.merchant, "b***@westlake.example.com", "wechat_user", author=self.user.partner_id)

    def test_a_code_in_an_open_composer_is_hidden(self):
        self._compose()
        self.assertCodeNotReadable(self.merchant.wechat_open_code_id)

    def test_codes_in_the_mail_queue_are_hidden(self):
        codes = [self._make_code(merchant) for merchant in (self.merchant, self.other_merchant)]
        (self.merchant + self.other_merchant).with_user(self.user).action_wechat_send_code()
        for code in codes:
            self.assertCodeNotReadable(code)
            self.assertChatter(code.partner_id, "e-mailed to", "wechat_user")
        for message in self._send_queue():
            self.assertIn("/wechat/bind/", message.get_body(("html",)).get_content())
        for code in codes:
            self.assertCodeNotReadable(code)

    def test_a_code_in_a_failed_email_is_hidden(self):
        code = self._make_code()
        self.merchant.with_user(self.user)._wechat_email_bind_codes()
        mail = self.env["mail.mail"].sudo().search([("state", "=", "outgoing")])
        mail.write({"state": "exception", "failure_reason": "Connection refused"})
        self.assertCodeNotReadable(code)
        with self.assertRaises(AccessError):
            mail.with_user(self.employee).read(["body_html"])
        mail.mark_outgoing()
        [message] = self._send_queue()
        self.assertCarriesCode(message, code)

    def test_a_code_in_a_reminder_is_hidden(self):
        code = self._make_code()
        self.merchant._wechat_queue_mails(
            self.merchant._wechat_get_template("wechat_merchant_bind.mail_template_wechat_bind_reminder")
        )
        self.assertCodeNotReadable(code)
        self.assertChatter(self.merchant, "Reminder", "b***@westlake.example.com")
        self.assertCarriesCode(self._send_queue()[0], code)

    def test_a_code_sent_by_an_automation_is_hidden(self):
        batch = self.merchant.with_user(self.employee)._wechat_generate_and_email_bind_codes()
        code = self._make_code()
        batch.sudo().line_ids.write({"state": "done", "code_id": code.id})
        batch.sudo().line_ids._email_codes(self.env)
        self.assertCodeNotReadable(code)
        self.assertCarriesCode(self._send_queue()[0], code)

    def test_prints_and_downloads_store_no_code(self):
        code = self._make_code()
        for report in ("poster", "card"):
            action = code.with_user(self.user)._get_poster_report_action(report)
            self.env["ir.actions.report"].with_user(self.user)._render_qweb_html(action["report_name"], code.ids)
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.merchant)
        batch.sudo().line_ids.write({"state": "done", "code_id": code.id})
        self.env["ir.actions.report"].with_user(self.user)._render_qweb_html(
            "wechat_merchant_bind.bind_batch_sheet", batch.ids
        )
        batch.action_download_list()
        batch.action_download_pictures()
        self.assertCodeNotReadable(code)

    def test_a_code_sent_by_a_copied_template_is_hidden(self):
        code = self._make_code()
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bind_code").copy({"auto_delete": False})
        template.send_mail(self.merchant.id)
        self.merchant.with_user(self.user).message_post_with_source(
            template, message_type="comment", subtype_xmlid="mail.mt_comment"
        )
        self.assertCodeNotReadable(code)
        for message in self._send_queue():
            self.assertIn(code.share_url, message.get_body(("html",)).get_content())

    def test_a_pasted_link_is_hidden(self):
        code = self._make_code()
        with self._outbox() as outbox:
            text = f"{code.share_url} {code.qr_content}"
            message = self.merchant.with_user(self.user).message_post(
                body=text,
                partner_ids=self.merchant.ids,
                message_type="comment",
                subtype_xmlid="mail.mt_comment",
            )
            self.env.cr.postcommit.run()
        self.assertCodeNotReadable(code)
        self.assertIn("/wechat/bind/…", message.body)
        for mail in outbox:
            self.assertIn(code.share_url, mail.get_body(("html",)).get_content())
        self.merchant.with_user(self.user)._message_update_content(message, body=f"again {code.share_url}")
        self.assertCodeNotReadable(code)

    def test_a_code_in_a_scheduled_notification_is_hidden(self):
        code = self._make_code()
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bind_code")
        template.scheduled_date = "{{ (datetime.datetime.now() + datetime.timedelta(days=1)) }}"
        self._compose().action_send_mail()
        self.assertCodeNotReadable(code)
        schedule = self.env["mail.message.schedule"].sudo().search([])
        self.assertTrue(schedule)
        with self._outbox() as outbox:
            schedule.force_send()
            self.env.cr.postcommit.run()
        self.assertCarriesCode((outbox or self._send_queue())[0], code)

    def test_a_message_with_a_code_can_not_be_scheduled(self):
        composer = self._compose()
        composer.scheduled_date = fields.Datetime.now() + timedelta(days=1)
        with self.assertRaisesRegex(UserError, "can't be sent later"):
            composer.action_schedule_message()

    def test_a_message_with_a_code_can_not_become_a_template(self):
        composer = self._compose()
        composer.template_name = "mine"
        with self.assertRaisesRegex(UserError, "every employee could read"):
            composer.create_mail_template()

    def test_a_code_quoted_in_an_answer_is_hidden(self):
        code = self._make_code()
        self._compose().action_send_mail()
        answer = EmailMessage()
        answer["From"], answer["To"], answer["Subject"] = "boss@westlake.example.com", "x@example.com", "Re: x"
        answer["Message-Id"] = "<answer@westlake.example.com>"
        content_id = f"code-{code.id}@wechat_merchant_bind"
        answer.set_content(f"OK\n> {code.share_url}")
        answer.add_alternative(f'OK <blockquote><img src="cid:{content_id}">{code.share_url}</blockquote>', "html")
        answer.get_body(("html",)).add_related(
            code._get_qr_png(), "image", "png", cid=f"<{content_id}>", filename="code.png"
        )
        self.env["mail.thread"].message_process("res.partner", answer.as_string(), thread_id=self.merchant.id)
        self.assertIn("OK", self.merchant.message_ids.sorted("id")[-1].body)
        self.assertCodeNotReadable(code)

    def test_links_of_other_sites_are_kept(self):
        body = '<p><a href="https://example.com/wechat/bind/AAAAAAAAAAAAAAAAAAAAAAAA">x</a></p>'
        message = self.merchant.message_post(body=Markup(body))
        self.assertIn("A" * 24, message.body)


class TestStoredUndoLink(WechatPushCase, SecrecyCase):
    def test_an_undo_link_in_the_mail_queue_is_hidden(self):
        self._push_scan(self._make_code(), self._make_openid())
        binding = self._get_live_binding()
        token = binding.undo_url.rpartition("/")[2]
        mail = self.env["mail.mail"].search([("model", "=", "wechat.binding")])
        self.assertIn(token, mail.body_html)
        for user in (self.user, self.employee):
            places = {place for place, text in self._read_texts(user) if token in text}
            self.assertFalse(places, f"{user.login} reads the link to undo there")
        with self._outbox() as outbox:
            mail.send()
        self.assertIn(token, outbox[0].get_body(("html",)).get_content())
