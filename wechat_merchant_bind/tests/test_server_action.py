from odoo import Command
from odoo.exceptions import ValidationError
from odoo.tests import Form
from odoo.tools import mute_logger

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

    def test_place(self):
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

    def test_warnings(self):
        self.assertFalse(self.action.warning)
        self.template.model_id = self.env["ir.model"]._get("discuss.channel")
        self.env.invalidate_all()
        self.assertIn(self.template.name, self.action.warning)
        country = self.env["ir.model"]._get("res.country")
        self.assertIn("chatter", self._create_action(model_id=country.id, wechat_template_id=False).warning)

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
        """Whoever causes a notice needs no right to send it, and does not sign it."""
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.merchant.with_user(self.portal).sudo().street = "南山路 1 号"
        message = self._get_messages(self.merchant)
        self.assertEqual(message.author_id, self.env.ref("base.partner_root"))
        self.assertWechatNotification(message, self.merchant, "outgoing")

    def test_card_that_can_not_be_made_fails_no_business(self):
        self._bind()
        self._create_rule(trigger_field_ids=self.env.ref("base.field_res_partner__street").ids)
        self.template.line_ids[0].value = "{{ object.no_such_field }}"
        self.merchant.with_user(self.employee).street = "南山路 1 号"
        self.assertEqual(self.merchant.street, "南山路 1 号")
        row = self.assertWechatNotification(self._get_messages(self.merchant), self.merchant, "failed", "wechat_value")
        self.assertIn("商家", row.failure_reason)

    @mute_logger("odoo.sql_db")
    def test_on_deletion(self):
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
