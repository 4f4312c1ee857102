import json

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import Form

from .test_template import WechatTemplateCase


class TestComposer(WechatTemplateCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.template = cls._create_template({"thing1": "{{ object.name }}"})

    def _compose(self, partners, user=None, **values):
        return (
            self.env["wechat.composer"]
            .with_user(user or self.user)
            .create(
                {
                    "template_id": self.template.id,
                    "res_model": partners._name,
                    "res_ids": json.dumps(partners.ids),
                    **values,
                }
            )
        )

    def _find_messages(self, partners):
        return self.env["wechat.message"].search([("partner_id", "in", partners.ids)], order="id")

    def test_opened_from_records(self):
        composer = self.env["wechat.composer"].with_user(self.user)
        composer = composer.with_context(active_model="res.partner", active_ids=self.merchant.ids)
        with Form(composer) as form:
            self.assertEqual((form.res_model, form.res_ids), ("res.partner", f"[{self.merchant.id}]"))
            # The only template of the model.
            self.assertEqual(form.template_id, self.template)
            self.assertEqual(form.card["lines"][0]["value"], "杭州西湖茶庄")
            self.assertEqual((form.reached_count, form.unreached_count), (0, 1))

    def test_one_record(self):
        self._bind()
        action = self._compose(self.merchant).action_send()
        self.assertEqual(action["type"], "ir.actions.act_window_close")
        message = self._find_messages(self.merchant)
        self.assertRecordValues(
            message, [{"kind": "notice", "state": "outgoing", "user_id": self.user.id, "res_id": self.merchant.id}]
        )
        self.assertEqual(message.mail_message_id.message_type, "wechat")
        self.assertIn("杭州西湖茶庄", self.merchant.message_ids[0].body)

    def test_unreachable_recipient_is_refused(self):
        with self.assertRaisesRegex(UserError, "(?s)Nobody would get this.*杭州西湖茶庄"):
            self._compose(self.merchant).action_send()
        self._bind()
        self.template.line_ids.write({"key": "amount1"})
        with self.assertRaisesRegex(UserError, "amount1"):
            self._compose(self.merchant).action_send()
        self.assertFalse(self._find_messages(self.merchant))
        # Unreached recipients get an e-mail, so there is something to send.
        self._get_live_binding()._set_subscribed(False, fields.Datetime.now())
        self.template.write({"fallback": "email"})
        self.template.line_ids.write({"key": "thing1"})
        self._compose(self.merchant).action_send()
        self.assertEqual(self._find_messages(self.merchant).failure_type, "wechat_unfollowed")

    def test_reached_and_unreached_recipients_are_shown(self):
        bound, unfollowed, unbound, disabled, long_named = (
            self._create_merchant(name) for name in ("绑定", "取关", "没绑", "禁用", "值不对")
        )
        for partner in (bound, unfollowed, disabled, long_named):
            self._bind(partner)
        self._get_live_binding(unfollowed)._set_subscribed(False, fields.Datetime.now())
        disabled.active = False
        self.template.line_ids.write({"key": "phrase1"})
        long_named.name = "Not Chinese"
        composer = self._compose(bound + unfollowed + unbound + disabled + long_named)
        self.assertRecordValues(composer, [{"record_count": 5, "reached_count": 1, "unreached_count": 4}])
        reasons = composer.unreached_reasons.splitlines()
        self.assertEqual(len(reasons), 4)
        for reason, name in (
            ("Unfollowed", "取关"),
            ("Not bound", "没绑"),
            ("disabled", "禁用"),
            ("Value", "Not Chinese"),
        ):
            self.assertTrue(any(reason in line and name in line for line in reasons), f"{reason}: {reasons}")

    def test_many_records(self):
        partners = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(5)])
        for partner in partners[:3]:
            self._bind(partner)
        composer = self._compose(partners)
        action = composer.action_send()
        self.assertEqual(action["params"]["type"], "warning")
        self.assertIn("3 messages", action["params"]["message"])
        messages = self._find_messages(partners)
        self.assertEqual(messages.mapped("state"), ["outgoing"] * 3 + ["failed"] * 2)
        self.assertEqual(set(messages.mapped("kind")), {"mass"})
        self.assertEqual([message.card["data"]["thing1"]["value"] for message in messages], partners.mapped("name"))

    def test_next_record(self):
        composer = self._compose(self.merchant + self.other_merchant)
        with Form(composer) as form:
            for index, name in ((1, "绍兴黄酒行"), (2, "杭州西湖茶庄")):
                form.preview_index = index
                self.assertEqual((form.preview_name, form.card["lines"][0]["value"]), (name, name))

    def test_scheduled_time(self):
        self._bind()
        self._compose(self.merchant, scheduled_at="2040-01-01 08:00:00").action_send()
        message = self._find_messages(self.merchant)
        self.assertEqual(message.next_attempt_at, fields.Datetime.to_datetime("2040-01-01 08:00:00"))
        self.assertGreater(message.valid_until, message.next_attempt_at)

    def test_malformed_ids_and_models_are_refused(self):
        for values, error in (
            ({"res_ids": "x"}, UserError),
            ({"res_ids": '{"a": 1}'}, UserError),
            ({"res_ids": "[true]"}, UserError),
            ({"res_model": "ir.config_parameter", "res_ids": "[1]"}, UserError),
            ({"res_model": "nothing", "res_ids": "[1]"}, UserError),
            ({"res_ids": "[]"}, UserError),
        ):
            with self.subTest(values=values), self.assertRaises(error):
                self._compose(self.merchant, **values).action_send()
        foreign = self._create_merchant("别家", company_id=self.env["res.company"].create({"name": "别家公司"}).id)
        self._bind(foreign, account=self._create_account(company_id=foreign.company_id.id))
        with self.assertRaises(AccessError):
            self._compose(foreign).action_send()
        with self.assertRaises(AccessError):
            self._compose(self.merchant, user=self.employee)

    def test_vanished_template_is_refused(self):
        self._bind()
        self.template.is_vanished = True
        with self.assertRaisesRegex(UserError, "does not have the template"):
            self._compose(self.merchant).action_send()

    def test_many_take_few_queries(self):
        """200 records take about as many queries as 20: only reads in batches grow."""
        partners = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(200)])
        for partner in partners:
            self._bind(partner)
        self._compose(partners[:2]).action_send()
        counts = []
        for batch in (partners[2:22], partners[22:]):
            composer = self._compose(batch)
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            composer.action_send()
            self.env.flush_all()
            counts.append(self.env.cr.sql_log_count - before)
        self.assertLess(counts[1] - counts[0], 30, f"Queries of 20 and of 178 records: {counts}")
