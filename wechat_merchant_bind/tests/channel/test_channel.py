from datetime import datetime

from odoo import fields
from odoo.exceptions import AccessError

from odoo.addons.mail.tools.discuss import Store

from ...models.audit.term_text import encode_terms
from ..common import WechatCase

TEXT = "x"


class ChannelCase(WechatCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.template = cls._create_template()

    def _send(self, records=None, user=None, **kwargs):
        """Notify about records with the rights of a user; return the messages."""
        records = (records or self.merchant).with_user(user or self.user)
        return records._message_wechat_with_template(self.template, **kwargs)

    def _get_rows(self, messages):
        return self.env["wechat.message"].search([("mail_message_id", "in", messages.ids)], order="id")


class TestSending(ChannelCase):
    """Notices of documents: a message for each document, a row of the outbox for each recipient."""

    def test_message(self):
        self._bind()
        message = self._send()
        self.assertRecordValues(
            message,
            [
                {
                    "message_type": "wechat",
                    "author_id": self.user.partner_id.id,
                    "model": "res.partner",
                    "res_id": self.merchant.id,
                    "subtype_id": self.env.ref("mail.mt_note").id,
                    "is_internal": True,
                    "partner_ids": self.merchant.ids,
                }
            ],
        )
        row = self.assertWechatNotification(message, self.merchant, "outgoing")
        self.assertRecordValues(
            row,
            [{"template_id": self.template.id, "kind": "notice", "res_model": "res.partner", "user_id": self.user.id}],
        )
        self.assertEqual(row.card["data"]["thing1"], {"value": "杭州西湖茶庄"})
        self.assertEqual(row.body, f"新订单通知\n商家: 杭州西湖茶庄\n编号: SO{self.merchant.id}")

    def test_body_is_escaped(self):
        self._bind()
        self.merchant.name = "<b>茶</b>"
        self.template.line_ids[0].key = "anything"
        body = str(self._send().body)
        self.assertIn("&lt;b&gt;茶&lt;/b&gt;", body)
        self.assertIn("<b>新订单通知</b>", body)

    def test_author(self):
        self._bind()
        odoobot = self.env.ref("base.partner_root")
        for user, author in (
            (self.employee, self.employee.partner_id),
            (self.portal, odoobot),
            (self.public, odoobot),
            (self.env.ref("base.user_root"), odoobot),
        ):
            with self.subTest(user=user.login):
                message = self.merchant.with_user(user).sudo()._message_wechat_with_template(self.template)
                self.assertEqual(message.author_id, author)
                self.assertWechatNotification(message, self.merchant, "outgoing")

    def test_template_by_xml_id(self):
        self._bind()
        self.env["ir.model.data"]._update_xmlids([{"xml_id": "other_addon.order", "record": self.template}])
        self.assertTrue(self.merchant._message_wechat_with_template("other_addon.order"))
        with self.assertLogs("odoo.addons.wechat_merchant_bind.models.channel.mail_thread", "WARNING"):
            self.assertFalse(self.merchant._message_wechat_with_template("other_addon.deleted"))

    def test_prepared_cards_are_sent(self):
        self._bind()
        cards = self.template._prepare_cards(self.merchant)
        cards[self.merchant.id].card["data"]["thing1"]["value"] = "自定义"
        message = self.merchant._message_wechat(self.template, cards)
        self.assertEqual(self._get_rows(message).card["data"]["thing1"], {"value": "自定义"})

    def test_scheduled(self):
        self._bind()
        moment = datetime(2031, 1, 2, 3, 4, 5)
        row = self.assertWechatNotification(self._send(scheduled_at=moment), self.merchant, "outgoing")
        self.assertEqual(row.next_attempt_at, moment)

    def test_refused_value_fails_visibly(self):
        self._bind()
        self.template.line_ids[1].write({"key": "amount2", "value": "无"})
        row = self.assertWechatNotification(self._send(), self.merchant, "failed", "wechat_value")
        self.assertIn("编号", row.failure_reason)

    def test_document_without_recipient_fails_visibly(self):
        """The chatter and the outbox show that the document has no recipient."""
        message = self._send(partner_ids=[])
        self.assertRecordValues(self._get_rows(message), [{"state": "failed", "failure_type": "wechat_recipient"}])
        self.assertRecordValues(message.notification_ids, [{"notification_status": "exception"}])

    def test_number_of_queries_is_constant(self):
        merchants = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(120)])
        for merchant in merchants[::2]:
            self._bind(merchant)

        def count(records):
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            self._send(records)
            self.env.flush_all()
            return self.env.cr.sql_log_count - before

        # Fill the caches.
        count(merchants[:20])
        count(merchants[20:40])
        self.assertEqual(count(merchants[40:60]), count(merchants[60:]))

    def test_followers_of_notes_are_notified(self):
        self._bind()
        self.merchant.message_subscribe(self.employee.partner_id.ids, self.env.ref("mail.mt_note").ids)
        self.employee.notification_type = "inbox"
        message = self._send()
        self.assertWechatNotification(message, self.merchant, "outgoing")
        notification = message.notification_ids.filtered(lambda notification: notification.notification_type == "inbox")
        self.assertEqual(notification.res_partner_id, self.employee.partner_id)
        self.assertEqual(len(message.notification_ids), 2)


class TestRecipients(ChannelCase):
    """Recipients of a record, and their reachability."""

    def test_reachability(self):
        unfollowed, disabled, foreign = (self._create_merchant(name) for name in ("甲", "乙", "丙"))
        self._bind()
        self._bind(unfollowed, is_subscribed=False)
        self._bind(disabled)
        self._bind(foreign, account=self._create_account())
        disabled.active = False
        partners = self.merchant + self.other_merchant + unfollowed + disabled + foreign
        self.assertEqual(
            partners._wechat_get_reachability(self.account),
            {
                self.merchant.id: None,
                self.other_merchant.id: "wechat_unbound",
                unfollowed.id: "wechat_unfollowed",
                disabled.id: "wechat_disabled",
                foreign.id: "wechat_template",
            },
        )
        self.assertIsNone(foreign._wechat_get_reachability()[foreign.id])
        message = self._send(partner_ids=(partners - disabled).ids)
        self.assertWechatNotification(message, self.merchant, "outgoing")
        for partner, failure_type in (
            (self.other_merchant, "wechat_unbound"),
            (unfollowed, "wechat_unfollowed"),
            (foreign, "wechat_template"),
        ):
            row = self.assertWechatNotification(message, partner, "failed", failure_type)
            self.assertIn(partner.name, row.failure_reason)

    def test_refusing_partner_is_unreachable_for_a_week(self):
        binding = self._bind()
        binding._mark_unreachable("blocked")
        self.assertEqual(self.merchant._wechat_get_reachability()[self.merchant.id], "wechat_blocked")
        self.assertWechatNotification(self._send(), self.merchant, "failed", "wechat_blocked")
        binding.blocked_at = fields.Datetime.subtract(binding.blocked_at, days=8)
        self.assertIsNone(self.merchant._wechat_get_reachability()[self.merchant.id])

    def test_customer_or_its_bound_company_is_notified(self):
        contact = self._create_merchant("财务", parent_id=self.merchant.id, is_company=False)
        bank = self.env["res.partner.bank"].create({"acc_number": "1", "partner_id": contact.id})
        account_of_nobody = bank.new({})

        def get_partners(**kwargs):
            return bank._wechat_get_recipients_info(**kwargs)[bank.id]["partners"]

        self.assertEqual(get_partners(), contact)
        self._bind(self.merchant)
        self.assertEqual(get_partners(), self.merchant)
        self._bind(contact)
        self.assertEqual(get_partners(), contact)
        self.assertEqual(get_partners(notify_contacts=True), contact + self.merchant)
        self.assertEqual(bank._wechat_get_recipients_info()[bank.id]["customer"], contact)
        info = account_of_nobody._wechat_get_recipients_info()[account_of_nobody.id]
        self.assertFalse(info["partners"] or info["customer"])

    def test_all_bound_contacts_are_notified(self):
        contacts = self.env["res.partner"].union(
            *(self._create_merchant(name, parent_id=self.merchant.id, is_company=False) for name in ("老板", "仓库"))
        )
        for contact in contacts:
            self._bind(contact)
        self.template.notify_contacts = True
        message = self._send()
        self.assertEqual(self._get_rows(message).partner_id, contacts)


class TestPosting(ChannelCase):
    """message_post with the type wechat."""

    def _post(self, user, **kwargs):
        return self.merchant.with_user(user).message_post(
            body=TEXT, message_type="wechat", partner_ids=self.merchant.ids, **kwargs
        )

    def test_with_template(self):
        self._bind()
        message = self._post(self.user, wechat_template_id=self.template.id)
        self.assertWechatNotification(message, self.merchant, "outgoing")

    def test_user_without_right_cannot_send(self):
        self._bind()
        with self.assertRaises(ValueError):
            self._post(self.employee, wechat_template_id=self.template.id)
        self.assertFalse(self._post(self.employee).notification_ids)
        self.assertFalse(self.env["wechat.message"].search([]))

    def test_scheduled(self):
        self._bind()
        message = self._post(self.user, wechat_template_id=self.template.id, scheduled_date=datetime(2031, 1, 1))
        self.assertFalse(message.notification_ids)
        self.env["mail.message.schedule"].search([("mail_message_id", "=", message.id)]).force_send()
        self.assertWechatNotification(message, self.merchant, "outgoing")

    def test_template_deleted_before_scheduled_post(self):
        self._bind()
        message = self._post(self.user, wechat_template_id=self.template.id, scheduled_date=datetime(2031, 1, 1))
        self.template.unlink()
        self.env["mail.message.schedule"].search([("mail_message_id", "=", message.id)]).force_send()
        self.assertWechatNotification(message, self.merchant, "failed", "wechat_template")


class TestNotifications(ChannelCase):
    """Notifications show the results of messages."""

    def setUp(self):
        super().setUp()
        self._bind()
        self.message = self._send()
        self.row = self._get_rows(self.message)

    def _resend(self):
        """Queue a new row of the same notification and return it."""
        return self.row.copy({"mail_message_id": self.message.id, "resent_from_id": self.row.id, "state": "outgoing"})

    def test_states(self):
        for state, failure_type in (
            ("sending", False),
            ("sent", False),
            ("unknown", "wechat_unknown"),
            ("failed", "wechat_refused"),
            ("canceled", "wechat_unbound"),
            ("delivered", False),
        ):
            with self.subTest(state=state):
                self.row.write({"state": state, "failure_type": failure_type, "failure_reason": failure_type})
                self.row._sync_notifications()
                self.assertWechatNotification(self.message, self.merchant, state, failure_type)
                reasons = self.message.notification_ids._wechat_get_failure_reasons()
                expected = {self.message.notification_ids.id: failure_type} if failure_type else {}
                self.assertEqual(reasons, expected)

    def test_newest_or_delivered_message_sets_status(self):
        self.row.write({"state": "failed", "failure_type": "wechat_unknown"})
        newer = self._resend()
        (self.row + newer)._sync_notifications()
        notification = self.message.notification_ids
        self.assertEqual(notification.notification_status, "ready")
        newer.write({"state": "failed", "failure_type": "wechat_blocked"})
        newer._sync_notifications()
        self.assertRecordValues(notification, [{"notification_status": "exception", "failure_type": "wechat_blocked"}])
        self.row.write({"state": "delivered"})
        self.row._sync_notifications()
        self.assertRecordValues(notification, [{"notification_status": "sent", "failure_type": False}])

    def _get_bus_messages(self, **values):
        """Write a result of the message; return the bus messages to its author."""
        self.row.write(values)
        self.env["bus.bus"].search([]).unlink()
        self.row._sync_notifications()
        self.env.cr.precommit.run()
        told = self.env["bus.bus"].search([("channel", "like", f'"res.partner",{self.user.partner_id.id}]')])
        return "".join(told.mapped("message"))

    def test_author_is_notified_live(self):
        self.assertIn('"notification_status":"sent"', self._get_bus_messages(state="delivered"))

    def test_expected_results_of_mass_messages_are_not_notified_live(self):
        self.row.kind = "mass"
        self.assertFalse(self._get_bus_messages(state="sent"))
        self.assertWechatNotification(self.message, self.merchant, "sent")
        told = self._get_bus_messages(state="failed", failure_type="wechat_blocked")
        self.assertIn('"notification_status":"exception"', told)
        # The failure disappears from the failure menu.
        self.assertIn('"notification_status":"sent"', self._get_bus_messages(state="delivered", failure_type=False))

    def test_errors(self):
        mine = self.env["res.partner"].with_user(self.user)
        self.assertFalse(self.message.has_wechat_error)
        self.row.write({"state": "failed", "failure_type": "wechat_refused"})
        self.row._sync_notifications()
        self.env.invalidate_all()
        self.assertTrue(self.message.has_wechat_error)
        self.assertEqual(self.env["mail.message"].search([("has_wechat_error", "=", True)]), self.message)
        self.assertTrue(self.merchant.with_user(self.user).message_has_wechat_error)
        self.assertFalse(self.merchant.with_user(self.manager).message_has_wechat_error)
        self.assertEqual(mine.search([("message_has_wechat_error", "=", True)]), self.merchant)
        self.assertFalse(mine.search([("message_has_wechat_error", "=", True), ("id", "!=", self.merchant.id)]))
        for model, name in (("mail.message", "has_wechat_error"), ("res.partner", "message_has_wechat_error")):
            search = getattr(self.env[model], f"_search_{name}")
            self.assertIs(search(">", True), NotImplemented)

    def _fail(self):
        self.row.write({"state": "failed", "failure_type": "wechat_refused"})
        self.row._sync_notifications()
        self.env.flush_all()

    def test_failure_menu_cancels_own_failures(self):
        self._fail()
        self.env["res.partner"].with_user(self.manager).notify_cancel_by_type("wechat")
        self.assertEqual(self.message.notification_ids.notification_status, "exception")
        self.env["res.partner"].with_user(self.user).notify_cancel_by_type("wechat")
        self.assertEqual(self.message.notification_ids.notification_status, "canceled")

    def test_ignored_failure_leaves_the_menu(self):
        self._fail()
        with self.assertRaises(AccessError):
            self.row.with_user(self.employee).action_ignore()
        self.row.with_user(self.user).action_ignore()
        self.assertEqual(self.message.notification_ids.notification_status, "canceled")
        self.assertEqual(self.row.state, "failed")
        # A late receipt still updates the notification.
        self.row.state = "delivered"
        self.row._sync_notifications()
        self.assertEqual(self.message.notification_ids.notification_status, "sent")

    def _get_stored(self, notification, lang):
        """Return the values of a notification for the web client of a user."""
        store = Store().add(notification.with_user(self.employee).with_context(lang=lang))
        return store.get_result()["mail.notification"][0]

    def test_web_client_gets_the_reason_in_its_language(self):
        reason = encode_terms(self.merchant._wechat_get_obstacle_term("wechat_unbound"))
        self.row.write({"state": "failed", "failure_type": "wechat_unbound", "failure_reason": reason})
        self.row._sync_notifications()
        notification = self.message.notification_ids
        self.assertFalse(notification.failure_reason, "Every user may read notifications, but not every document")
        for lang, words in (("en_US", "is not bound to WeChat"), ("zh_CN", "尚未绑定微信")):
            with self.subTest(lang=lang):
                self.employee.lang = lang
                self.assertIn(words, self._get_stored(notification, lang)["failure_reason"])

    def test_other_notifications_are_unchanged(self):
        email = self.env["mail.notification"].create(
            {
                "mail_message_id": self.message.id,
                "res_partner_id": self.other_merchant.id,
                "notification_type": "email",
                "notification_status": "exception",
                "failure_reason": "550 no such user",
            }
        )
        self.assertNotIn("failure_reason", self._get_stored(email, "en_US"))
