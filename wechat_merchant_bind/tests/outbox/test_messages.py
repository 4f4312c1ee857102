from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError

from ...models.audit.term_text import encode_terms
from ..common import SEND_PATH
from ..common_outbox import OutboxCase


class TestUnknown(OutboxCase):
    """Messages with an unknown result."""

    def _create_unknown(self, minutes, partner=None, **columns):
        message = self._queue(partner or self.merchant, state="unknown", failure_type="wechat_unknown")
        self._set(
            message, first_call_at=f"now() AT TIME ZONE 'UTC' - interval '{minutes} minutes'", openid=f"'{self.openid}'"
        )
        return message

    def test_what_is_known_is_said(self):
        """A message that WeChat may have taken says so in one line, in the language of its reader."""
        message = self._queue()
        self._set(message, first_call_at="now() AT TIME ZONE 'UTC'")
        message.with_user(self.user).action_cancel()
        self.assertRecordValues(message, [{"state": "unknown", "failure_type": "wechat_unknown"}])
        self.assertIn("可能", message.with_user(self.user).with_context(lang="zh_CN").visible_failure_reason)

    def test_resending_in_bulk(self):
        messages = self._create_unknown(60) | self._create_unknown(60, self.merchant)
        messages.with_user(self.user).action_resend()
        again = self.env["wechat.message"].search([("resent_from_id", "in", messages.ids)])
        self.assertEqual((len(again), set(again.mapped("state"))), (2, {"outgoing"}))


class TestRetention(OutboxCase):
    """Retention of messages, and the deletion of related records."""

    def test_vacuum(self):
        states = ("outgoing", "sending", "unknown", "sent", "delivered", "failed", "canceled")
        old, new = ([self._queue(self._create_bound_merchant(), state=state) for state in states] for _age in range(2))
        accountless = self._queue(self._create_merchant("x"), state="failed", account_id=False)
        self.env.flush_all()
        for messages, days in ((old, 181), (new, 179), ([accountless], 181)):
            for message in messages:
                self._set(message, create_date=f"now() AT TIME ZONE 'UTC' - interval '{days} days'")
        self.env["wechat.message"]._gc_messages()
        self.assertEqual([message.state for message in old if message.exists()], ["outgoing", "sending", "unknown"])
        self.assertTrue(all(message.exists() for message in new))
        self.assertFalse(accountless.exists())
        self.account.message_retention_days = 10
        self.env["wechat.message"]._gc_messages()
        self.assertEqual([message.state for message in new if message.exists()], ["outgoing", "sending", "unknown"])

    def _create_bound_merchant(self):
        merchant = self._create_merchant("x")
        self._bind(merchant)
        return merchant

    def test_vacuum_continues_in_the_next_run(self):
        messages = self._queue(state="failed", count=3)
        self._set(messages, create_date="now() AT TIME ZONE 'UTC' - interval '200 days'")
        with patch("odoo.addons.wechat_merchant_bind.models.outbox.wechat_message.VACUUM_BATCH", 2):
            self.assertEqual(self.env["wechat.message"]._gc_messages(), (2, True))
            self.assertEqual(self.env["wechat.message"]._gc_messages(), (1, False))

    def test_message_outlives_template_and_merchant(self):
        message = self._queue(state="delivered")
        name = message.template_name
        self.template.unlink()
        self.binding._unbind("x")
        self.env["wechat.binding"].search([]).unlink()
        self.env["wechat.bind.code"].search([]).unlink()
        self.merchant.unlink()
        self.env.invalidate_all()
        self.assertRecordValues(
            message,
            [{"template_name": name, "partner_name": "杭州西湖茶庄", "partner_id": False, "state": "delivered"}],
        )

    def test_message_survives_a_merge(self):
        message = self._queue(self.other_merchant, state="delivered")
        self.env["base.partner.merge.automatic.wizard"]._merge((self.merchant | self.other_merchant).ids, self.merchant)
        self.env.invalidate_all()
        self.assertEqual((message.partner_id, message.partner_name), (self.merchant, "绍兴黄酒行"))


class TestPresentation(OutboxCase):
    """Values that lists and forms show."""

    def test_only_readable_documents_are_named(self):
        secret = self.env["wechat.operation"].search([], limit=1)
        readable = self._queue(state="delivered", res_model="res.partner", res_id=self.merchant.id)
        hidden = self._queue(state="delivered", res_model="wechat.operation", res_id=secret.id or 1)
        gone = self._queue(state="delivered", res_model="no.such.model", res_id=1)
        names = [message.with_user(self.user).document_name for message in (readable, hidden, gone)]
        self.assertEqual(names, [self.merchant.display_name, False, False])
        self.assertEqual(readable.with_user(self.user).action_open_document()["res_id"], self.merchant.id)

    def _create_secret(self):
        """Return a document that only managers may read."""
        return self.env["wechat.event"].create({"account_id": self.account.id, "dedupe_key": f"x{next(self._serial)}"})

    def _queue_about(self, document, **values):
        return self._queue(res_model=document._name, res_id=document.id, **values)

    def _read_shown(self, message, user):
        """Return the content of a message that a user can read."""
        self.env.invalidate_all()
        names = ["visible_card", "visible_body", "visible_failure_reason", "document_name"]
        [values] = message.with_user(user).read(names)
        return [values[name] for name in names]

    def test_card_is_shown_only_to_readers_of_the_document(self):
        secret = self._create_secret()
        reason = {"state": "failed", "failure_type": "wechat_value", "failure_reason": "金额 100.21 太长"}
        message, readable = self._queue_about(secret, **reason), self._queue_about(self.merchant, **reason)
        self.assertEqual(self._read_shown(message, self.user), [False, False, False, False])
        self.assertTrue(message.with_user(self.user).is_document_hidden)
        card, body, words, name = self._read_shown(readable, self.user)
        self.assertEqual((card["data"]["thing1"]["value"], body, words), ("一箱龙井", "一箱龙井", "金额 100.21 太长"))
        self.assertEqual(name, self.merchant.display_name)
        self.assertEqual(self._read_shown(message, self.manager)[1], "一箱龙井", "Managers read the log")

    def test_content_of_a_hidden_card_cannot_be_read(self):
        secret = self._create_secret()
        message = self._queue_about(secret, state="failed", failure_type="wechat_system")
        self.user.group_ids += self.env.ref("base.group_allow_export")
        messages = message.with_user(self.user)
        for name in ("card", "body", "failure_reason"):
            for door in (
                lambda name=name: messages.read([name]),
                lambda name=name: messages.search([(name, "ilike", "龙井")]),
                lambda name=name: messages.formatted_read_group([], [name], ["__count"]),
                lambda name=name: messages.export_data([name]),
            ):
                with self.subTest(name=name), self.assertRaises(AccessError):
                    door()
        self.assertNotIn("龙井", str(messages.read()))
        self.assertNotIn("龙井", str(messages.export_data(["visible_body", "visible_card"])))

    def test_search_finds_only_readable_cards(self):
        secret = self._create_secret()
        self._queue_about(secret)
        readable, free = self._queue_about(self.merchant), self._queue(res_model=False)
        messages = self.env["wechat.message"].with_user(self.user)
        self.assertEqual(messages.search([("visible_body", "ilike", "龙井")]), readable + free)
        self.assertFalse(messages.search([("visible_body", "ilike", "铁观音")]))

    def test_reading_cards_takes_a_constant_number_of_queries(self):
        merchants = self.env["res.partner"].union(*(self._create_merchant(f"商家{n}") for n in range(12)))
        messages = self.env["wechat.message"].union(*(self._queue_about(merchant) for merchant in merchants))
        counts = []
        for chosen in (messages[:1], messages[1:2], messages):
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            chosen.with_user(self.user).mapped("visible_body")
            counts.append(self.env.cr.sql_log_count - before)
        self.assertLessEqual(counts[2], counts[1] + 2, counts)

    def test_reason_is_in_the_language_of_its_reader(self):
        self.merchant.lang = "zh_CN"
        self.wechat.answer(SEND_PATH, {"errcode": 43019, "errmsg": "blacklisted rid: 1"})
        refused = self._queue_about(self.merchant)
        self._process_queue()
        other = self.other_merchant.with_context(lang="zh_CN")
        reason = encode_terms(other._wechat_get_obstacle_term("wechat_unbound"))
        unbound = self._queue_about(self.merchant, state="failed", failure_type="wechat_unbound", failure_reason=reason)
        for message, english, chinese in (
            (refused, "blacklist of the Official Account", "黑名单"),
            (unbound, "is not bound to WeChat", "尚未绑定微信"),
        ):
            for lang, words in (("en_US", english), ("zh_CN", chinese)):
                with self.subTest(words=words):
                    self.user.lang = lang
                    shown = self._read_shown(message.with_context(lang=lang), self.user)[2]
                    self.assertIn(words, shown)
        self.assertIn("43019 blacklisted", self._read_shown(refused, self.user)[2], "WeChat's own text stays")

    def test_problem_of_failed_messages_only(self):
        delivered = self._queue(state="delivered", failure_type="wechat_system")
        failed = self._queue(state="failed", failure_type="wechat_system")
        self.assertEqual((delivered.failure_label, failed.failure_label), (False, "WeChat could not deliver"))

    def test_button_of_a_merchant(self):
        self._queue(count=2, state="delivered")
        self.assertEqual((self.merchant | self.other_merchant).mapped("wechat_message_count"), [2, 0])
        action = self.merchant.with_user(self.user).action_wechat_messages()
        self.assertEqual(self.env["wechat.message"].search_count(action["domain"]), 2)


class TestDigest(OutboxCase):
    """The daily e-mail about failures."""

    def _run_cron(self):
        self.env.flush_all()
        self.env.ref("wechat_merchant_bind.ir_cron_failure_digest").method_direct_trigger()
        self.env.invalidate_all()
        domain = [("model", "=", "wechat.account"), ("res_id", "=", self.account.id)]
        return self.env["mail.mail"].search(domain)

    def test_digest_is_off_by_default(self):
        self._queue(state="failed", failure_type="wechat_system")
        self.assertFalse(self._run_cron())

    def test_digest_is_in_the_language_of_each_manager(self):
        self.account.failure_digest = True
        self.manager.write({"email": "m@example.com", "lang": "zh_CN"})
        self.assertFalse(self._run_cron(), "Nothing has failed")
        self.account.failure_digest_at = False
        self._queue(count=3, state="failed", failure_type="wechat_system")
        self._queue(state="unknown", failure_type="wechat_unknown")
        self._queue(state="delivered")
        [mail] = self._run_cron().filtered(lambda mail: mail.recipient_ids == self.manager.partner_id)
        chinese = self.env["wechat.message"].with_context(lang="zh_CN").env
        labels = dict(chinese["wechat.message"]._fields["failure_type"]._description_selection(chinese))
        self.assertRegex(mail.body_html, rf"(?s)>{labels['wechat_system']}<.*>3<.*>{labels['wechat_unknown']}<.*>1<")
        self.assertNotIn(self.openid, mail.body_html)
        mails = self._run_cron()
        self.assertNotIn(self.user.partner_id, mails.recipient_ids)
        self.assertEqual(self._run_cron(), mails, "No failure is reported twice")

    def test_digest_counts_since_the_last_one(self):
        self.account.failure_digest = True
        self.account.failure_digest_at = fields.Datetime.now() - timedelta(minutes=1)
        messages = self._queue(state="failed", failure_type="wechat_system")
        self._set(messages, write_date="now() AT TIME ZONE 'UTC' - interval '2 minutes'")
        self.assertFalse(self._run_cron())

    def test_failure_in_the_second_of_a_digest_is_counted_once(self):
        """A failure in the second of a digest is in this digest or in the next one, not in both."""
        before, after = (self._queue(state="failed", failure_type="wechat_system") for _number in range(2))
        self.env.flush_all()
        last = "now() AT TIME ZONE 'UTC' - interval '1 minute'"
        self.env.cr.execute(f"UPDATE wechat_account SET failure_digest_at = {last} WHERE id = %s", [self.account.id])
        for message, shift in ((before, "- interval '1 microsecond'"), (after, "+ interval '1 microsecond'")):
            self._set(message, write_date=f"{last} {shift}")
        self.env.invalidate_all()
        self.assertEqual([count for _reason, count in self.account._get_failure_counts()], [1])
