"""Migrations of data that the dumps of tests/upgrade do not hold."""

import importlib.util

from odoo.modules.module import get_module_path
from odoo.tools import SQL

from .binding.test_disabling import DisablingCase
from .binding.test_mail_secrecy import SecrecyCase
from .common_outbox import SENDER, OutboxCase


def run_migration(env, version, script):
    """Run a script of migrations/ as an update does."""
    env.flush_all()
    path = f"{get_module_path('wechat_merchant_bind')}/migrations/{version}/{script}.py"
    spec = importlib.util.spec_from_file_location(script.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.migrate(env.cr, "19.0.1.3.0")
    env.invalidate_all()


class TestMailSecrecy(SecrecyCase):
    def setUp(self):
        super().setUp()
        self.code = self._make_code()

    def _store(self, record, **texts):
        """Write texts by SQL, since the ORM would mask the codes. Earlier versions did not."""
        self.env.flush_all()
        for name, text in texts.items():
            self.env.cr.execute(
                SQL(
                    "UPDATE %s SET %s = %s WHERE id = %s",
                    SQL.identifier(record._table),
                    SQL.identifier(name),
                    text,
                    record.id,
                )
            )
        record.invalidate_recordset()
        return record

    def _migrate(self):
        run_migration(self.env, "19.0.1.4.0", "post-mail_secrecy")

    def _post(self):
        """Post a message with a code and its picture, as version 1.3 did for a mailed code."""
        url = self.code.share_url
        message = self.merchant.message_post(
            body="x", partner_ids=self.merchant.ids, attachments=[(self.code._get_file_name(), self.code._get_qr_png())]
        )
        return self._store(
            message,
            body=f'<p>Dear <img width="220" src="{url}/code.png" alt="x"/>Scan: <a href="{url}">{url}</a> '
            f"{self.code.qr_content} https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket={self.code.ticket}</p>",
        )

    def test_codes_in_messages_and_pictures_are_removed(self):
        message = self._post()
        texts = [text for _place, text in self._read_texts(self.employee)]
        self.assertTrue(any(self.code.share_token in text for text in texts), "It could be read")
        self.assertIn(self.code.qr_content, self._read_pictures(self.employee))
        self._migrate()
        self.assertCodeNotReadable(self.code)
        self.assertIn("Dear", message.body)
        self.assertIn("/wechat/bind/…", message.body)
        self.assertNotIn("<img", message.body)
        self.assertEqual(message.partner_ids, self.merchant)
        self._migrate()

    def test_other_messages_are_unchanged(self):
        body = '<p><a href="https://example.com/wechat/bind/AAAAAAAAAAAAAAAAAAAAAAAA">x</a></p>'
        message = self._store(self.merchant.message_post(body="x", attachments=[("photo.png", b"x")]), body=body)
        self._migrate()
        self.assertEqual((message.body, len(message.attachment_ids)), (body, 1))

    def test_waiting_mail_is_sent_with_its_code(self):
        self.merchant.with_user(self.user)._wechat_email_bind_codes()
        mail = self.env["mail.mail"].sudo().search([("state", "=", "outgoing")])
        self._store(mail.mail_message_id, body=mail.body_html)
        self._migrate()
        self.assertCodeNotReadable(self.code)
        [message] = self._send_queue()
        self.assertCarriesCode(message, self.code)

    def test_codes_in_sent_mails_are_removed(self):
        mail = self.env["mail.mail"].sudo().create({"state": "sent", "body_html": self.code.share_url})
        self._migrate()
        self.assertNotIn(self.code.share_token, mail.body_html)

    def test_undo_links_are_removed(self):
        binding = self._bind(self.other_merchant)
        token = binding.undo_url.rpartition("/")[2]
        mail = self.env["mail.mail"].sudo().create({"model": binding._name, "res_id": binding.id, "body_html": token})
        self._store(mail.mail_message_id, body=f'<p><a href="{binding.undo_url}">Undo</a></p>')
        self._migrate()
        for user in (self.user, self.employee):
            self.assertFalse([place for place, text in self._read_texts(user) if token in text])
        self.assertIn("Undo", mail.mail_message_id.body)

    def test_codes_in_templates_translations_and_previews_are_removed(self):
        template = self.env["mail.template"].create({"name": "x", "body_html": "x"})
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE mail_template SET body_html = jsonb_build_object('en_US', %s) WHERE id = %s",
            [f"<p>{self.code.share_url}</p>", template.id],
        )
        message = self._post()
        self.env["mail.message.translation"].create(
            {"message_id": message.id, "source_lang": "en", "target_lang": "zh_CN", "body": self.code.share_url}
        )
        preview = self.env["mail.link.preview"].create({"source_url": self.code.share_url})
        self._migrate()
        self.assertCodeNotReadable(self.code)
        self.assertFalse(self.env["mail.message.translation"].search([("message_id", "=", message.id)]))
        self.assertFalse(preview.exists())

    def test_scheduled_message_with_a_code_is_deleted_with_a_note(self):
        scheduled = self.env["mail.scheduled.message"].create(
            {
                "author_id": self.user.partner_id.id,
                "body": "x",
                "subject": "Your code",
                "model": "res.partner",
                "res_id": self.merchant.id,
                "scheduled_date": "2040-01-01",
            }
        )
        self._store(scheduled, body=self.code.share_url)
        self._migrate()
        self.assertFalse(scheduled.exists())
        self.assertChatter(self.merchant, "Your code", "微信绑定码")
        self.assertCodeNotReadable(self.code)

    def test_queries_do_not_grow_with_the_messages(self):
        counts = []
        for number in (1, 10):
            for _message in range(number):
                self._post()
            self.env.flush_all()
            before = self.env.cr.sql_log_count
            self._migrate()
            counts.append(self.env.cr.sql_log_count - before)
        self.assertLess(counts[1] - counts[0], 10, counts)


class TestDisabledUsers(DisablingCase):
    def test_mark_of_an_enabled_merchants_users_is_removed(self):
        self._disable(self.merchant + self.other_merchant)
        self.env.cr.execute("UPDATE res_partner SET active = TRUE WHERE id = %s", [self.merchant.id])
        self.env.invalidate_all()
        run_migration(self.env, "19.0.1.4.0", "post-disabled_users")
        self.assertFalse((self.owner + self.accountant).wechat_disabled_partner_id)
        self.assertEqual(self.stranger.wechat_disabled_partner_id, self.other_merchant)


class TestOneSender(OutboxCase):
    """Earlier versions had two lanes, and a copy added one."""

    def test_other_senders_are_archived(self):
        sender = self.env.ref(SENDER)
        sender.name = "WeChat: send messages (lane 1)"
        lanes = sender.copy() + sender.copy()
        parameters = self.env["ir.config_parameter"]
        parameters.set_param("wechat_merchant_bind.threads_per_lane", "8")
        message = self._queue()
        run_migration(self.env, "19.0.1.5.0", "post-sender")
        self.env.registry.clear_cache()
        self.assertEqual((sender + lanes).mapped("active"), [True, False, False])
        self.assertEqual(sender.with_context(lang="zh_CN").name, "微信：发送消息")
        self.assertFalse(parameters.get_param("wechat_merchant_bind.threads_per_lane"))
        self._process_queue()
        self.assertEqual(message.state, "sent", "What waited is sent")
