from odoo import Command
from odoo.exceptions import ValidationError
from odoo.tests import Form
from odoo.tools import mute_logger

from ...models.channel import wechat_template
from .test_channel import ChannelCase


class TestServerAction(ChannelCase):
    """The server action that sends WeChat notices, alone and in automation rules."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.partner_model = cls.env["ir.model"]._get("res.partner")
        cls.action = cls._create_action()

    @classmethod
    def _create_action(cls, **values):
        return cls.env["ir.actions.server"].create(
            {
                "name": "通知",
                "model_id": cls.partner_model.id,
                "state": "wechat",
                "wechat_template_id": cls.template.id,
                **values,
            }
        )

    def _create_rule(self, trigger="on_create_or_write", **values):
        return self.env["base.automation"].create(
            {
                "name": "新商家",
                "model_id": self.partner_model.id,
                "trigger": trigger,
                "action_server_ids": self.action.ids,
                **values,
            }
        )

    def _get_messages(self, partner):
        return partner.message_ids.filtered(lambda message: message.message_type == "wechat")

    def test_action_type_is_offered(self):
        states = [state for state, _label in self.env["ir.actions.server"]._fields["state"].selection]
        self.assertLess(states.index("wechat"), states.index("followers"))

    def test_form(self):
        form = Form(self.env["ir.actions.server"].with_context(default_model_id=self.partner_model.id))
        form.state = "wechat"
        form.wechat_template_id = self.template
        self.assertRecordValues(
            form.save(),
            [{"wechat_template_id": self.template.id, "name": f"Send by WeChat: {self.template.name}"}],
        )
        form.state = "code"
        self.assertFalse(form.save().wechat_template_id)

    def test_models(self):
        models = self.action.available_model_ids.mapped("model")
        self.assertIn("res.partner", models)
        self.assertNotIn("res.country", models)

    def test_unsendable_actions_are_refused(self):
        channel = self.env["ir.model"]._get("discuss.channel")
        country = self.env["ir.model"]._get("res.country")
        with self.assertRaisesRegex(ValidationError, self.template.name):
            self._create_action(model_id=channel.id)
        with self.assertRaisesRegex(ValidationError, "chatter"):
            self._create_action(model_id=country.id, wechat_template_id=False)
        with self.assertRaisesRegex(ValidationError, self.template.name):
            self._create_action(model_id=channel.id, wechat_template_id=False).wechat_template_id = self.template
        # The action of another model needs another template.
        self.action.model_id = channel
        self.assertFalse(self.action.wechat_template_id)

    def test_run(self):
        self._bind()
        merchants = self.merchant + self.other_merchant
        with self.mock_wechat_outbox() as outbox:
            self.action.with_user(self.employee).with_context(
                active_model="res.partner", active_ids=merchants.ids
            ).run()
        self.assertEqual([message.partner_id for message in outbox], list(merchants))
        self.assertWechatNotification(self._get_messages(self.merchant), self.merchant, "outgoing")
        self.assertWechatNotification(
            self._get_messages(self.other_merchant), self.other_merchant, "failed", "wechat_unbound"
        )

    def test_automation_of_a_portal_user(self):
        """A portal user needs no right to send, and is not the author."""
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.merchant.with_user(self.portal).sudo().street = "南山路 1 号"
        message = self._get_messages(self.merchant)
        self.assertEqual(message.author_id, self.env.ref("base.partner_root"))
        self.assertWechatNotification(message, self.merchant, "outgoing")

    def test_failing_card_does_not_fail_the_document(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.template.line_ids[0].value = "{{ object.no_such_field }}"
        self.merchant.with_user(self.employee).street = "南山路 1 号"
        self.assertEqual(self.merchant.street, "南山路 1 号")
        row = self.assertWechatNotification(self._get_messages(self.merchant), self.merchant, "failed", "wechat_value")
        self.assertIn("商家", row.failure_reason)

    def _write_street(self):
        """Change the merchant with an employee's rights and a rule that notifies; return the message."""
        self.merchant.with_user(self.employee).street = "南山路 1 号"
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(self.merchant.street, "南山路 1 号")
        return self._get_messages(self.merchant)

    def _assertStreetChanges(self, reason):
        """Check that the merchant can be changed and that the notice fails with a reason."""
        row = self.assertWechatNotification(self._write_street(), self.merchant, "failed", "wechat_template")
        self.assertIn(reason, row.failure_reason)

    def test_unusable_template_does_not_fail_the_document(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.template.active = False
        self._assertStreetChanges("is archived")

    @mute_logger("odoo.models.unlink")
    def test_deleted_template_does_not_fail_the_document(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.template.unlink()
        self.assertTrue(self.action.exists())
        self._assertStreetChanges("no WeChat template")

    def test_template_of_another_model_does_not_fail_the_document(self):
        """Earlier versions allowed such actions."""
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.env.cr.execute(
            "UPDATE wechat_template SET model_id = %s, model = 'discuss.channel' WHERE id = %s",
            [self.env["ir.model"]._get_id("discuss.channel"), self.template.id],
        )
        self.env.invalidate_all()
        self._assertStreetChanges("is made for")

    def test_archived_account_does_not_fail_the_document(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.account.active = False
        self.assertEqual(len(self._write_street().notification_ids), 1)

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_failing_query_does_not_fail_the_document(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.template.line_ids[0].value = "{{ object.env.cr.execute('SELECT 1 / 0') }}"
        row = self.assertWechatNotification(self._write_street(), self.merchant, "failed", "wechat_value")
        self.assertIn("division by zero", row.failure_reason)

    def test_model_of_a_used_template_is_kept(self):
        rule = self._create_rule()
        self._create_action(name="另一个通知")
        channel = self.env["ir.model"]._get("discuss.channel")
        for active in (True, False):
            rule.active = active
            for model in (channel, self.env["ir.model"]):
                with (
                    self.subTest(active=active, model=model.name),
                    self.assertRaisesRegex(ValidationError, "(?s)另一个通知.*新商家 › 通知"),
                ):
                    self.template.model_id = model
        # Writing the same model is no change; an unused template may change.
        self.template.model_id = self.partner_model
        (rule.action_server_ids + self.action.search([("wechat_template_id", "=", self.template.id)])).write(
            {"wechat_template_id": False}
        )
        self.template.model_id = channel

    def test_model_of_the_welcome_template_is_kept(self):
        self.account.welcome_template_id = self._create_template()
        with self.assertRaisesRegex(ValidationError, "made for contacts"):
            self.account.welcome_template_id.model_id = self.env["ir.model"]._get("discuss.channel")

    def test_action_menu_follows_the_model(self):
        template = self._create_template()
        template.action_create_sidebar_action()
        template.model_id = self.env["ir.model"]._get("discuss.channel")
        self.assertEqual(template.sidebar_action_id.binding_model_id, template.model_id)

    def test_number_of_queries_does_not_grow(self):
        """Odoo writes 100 rows at a time, and runs the actions of an automation rule for each record."""
        merchants = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(250)])
        for merchant in merchants[::2]:
            self._bind(merchant)

        def run_action(records):
            self.action.with_user(self.employee).with_context(active_model="res.partner", active_ids=records.ids).run()

        def write(records):
            records.with_user(self.employee).street = f"南山路 {records[0].id} 号"

        def count(function, records):
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            function(records)
            self.env.flush_all()
            self.assertEqual(len(self._get_messages(records)), len(records))
            return self.env.cr.sql_log_count - before

        for function in (run_action, write):
            if function is write:
                self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
                merchants.message_ids.unlink()
            # Fill the caches.
            count(function, merchants[:10])
            few, many = count(function, merchants[10:20]), count(function, merchants[20:130])
            with self.subTest(function.__name__):
                self.assertLessEqual(many, few + 6)
                self.assertLess(few, 60)

    def test_rule_notifies_after_its_other_actions(self):
        """A notice tells what is true when the rule ends; a deleted record has none."""
        self._bind()
        rename = self.env["ir.actions.server"].create(
            {
                "name": "改名",
                "model_id": self.partner_model.id,
                "state": "code",
                "code": "record.name == '删' and record.unlink() or record.write({'name': '新名'})",
                "sequence": 9,
            }
        )
        gone = self._create_merchant("删")
        rule = self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        rule.action_server_ids += rename
        with mute_logger("odoo.models.unlink"):
            (self.merchant + gone).street = "南山路 1 号"
        self.assertFalse(gone.exists())
        row = self.assertWechatNotification(self._get_messages(self.merchant), self.merchant, "outgoing")
        self.assertEqual(row.card["data"]["thing1"]["value"], "新名")

    def test_rule_with_two_templates_sends_both(self):
        self._bind()
        other = self._create_template()
        other.line_ids[0].value = "第二个"
        rule = self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        rule.action_server_ids += self._create_action(wechat_template_id=other.id, usage="base_automation")
        self.merchant.street = "南山路 1 号"
        rows = self._get_rows(self._get_messages(self.merchant))
        self.assertEqual(rows.template_id, self.template + other)

    @mute_logger("odoo.sql_db")
    def test_notice_on_deletion_is_refused(self):
        with self.assertRaisesRegex(ValidationError, "WeChat"):
            self._create_rule("on_unlink")
        rule = self._create_rule()
        with self.assertRaisesRegex(ValidationError, "WeChat"):
            rule.trigger = "on_unlink"
        draft = self.env["base.automation"].new({"trigger": "on_unlink", "action_server_ids": self.action.ids})
        self.assertIn("WeChat", draft._onchange_trigger_or_actions()["warning"]["message"])
        mail_action = self.env["ir.actions.server"].create(
            {"name": "x", "model_id": self.partner_model.id, "state": "next_activity"}
        )
        draft.action_server_ids = [Command.set(mail_action.ids)]
        self.assertNotIn("WeChat", draft._onchange_trigger_or_actions()["warning"]["message"])
