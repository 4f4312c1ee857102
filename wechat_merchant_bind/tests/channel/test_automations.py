from unittest.mock import patch

from odoo import Command

from ..common_push import WechatPushCase


class TestAutomations(WechatPushCase):
    """Automation rules as in the demo, made of standard actions."""

    def _create_rule(self, name, actions, **values):
        """Create an automation rule on partners.

        :param list[dict] actions: the values of its actions.
        :rtype: base.automation
        """
        model = self.env["ir.model"]._get("res.partner")
        return self.env["base.automation"].create(
            {
                "name": name,
                "model_id": model.id,
                "action_server_ids": [
                    Command.create({"name": name, "model_id": model.id, "usage": "base_automation", **action})
                    for action in actions
                ],
                **values,
            }
        )

    def _create_code_rule(self):
        return self._create_rule(
            "新商家自动发送绑定码",
            [{"state": "code", "code": "records._wechat_generate_and_email_bind_codes()"}],
            trigger="on_create",
            filter_domain="[('parent_id', '=', False), ('partner_share', '=', True), ('email', '!=', False)]",
        )

    def _create_welcome_rule(self):
        self.tag = self.env["res.partner.category"].create({"name": "已绑定微信"})
        welcome = """
for record in records.with_context(mail_activity_quick_update=True):
    record.activity_schedule('mail.mail_activity_data_todo', summary='欢迎商家', user_id=record.user_id.id or user.id)
"""
        return self._create_rule(
            "商家绑定微信后欢迎",
            [
                {
                    "state": "object_write",
                    "update_path": "category_id",
                    "update_m2m_operation": "add",
                    "resource_ref": f"res.partner.category,{self.tag.id}",
                },
                {"state": "code", "code": welcome},
            ],
            trigger="on_create_or_write",
            trigger_field_ids=[
                Command.link(self.env.ref("wechat_merchant_bind.field_res_partner__is_wechat_bound").id)
            ],
            filter_pre_domain="[('is_wechat_bound', '=', False)]",
            filter_domain="[('is_wechat_bound', '=', True)]",
        )

    def test_new_merchant_gets_its_code(self):
        self._create_code_rule()
        merchants = self.env["res.partner"].with_user(self.user)
        merchant = merchants.create({"name": "新商家", "is_company": True, "email": "new@example.com"})
        silent = merchants.create({"name": "没有邮箱的商家", "is_company": True})
        self.env.flush_all()
        self.assertFalse(self.wechat.calls, "WeChat was called while the merchant was being created")
        lines = self.env["wechat.bind.batch.line"].search([("partner_id", "in", (merchant + silent).ids)])
        self.assertEqual((lines.partner_id.ids, lines.state), (merchant.ids, "pending"))
        with self.enter_registry_test_mode():
            self.env.ref("wechat_merchant_bind.ir_cron_drain_bind_batches").method_direct_trigger()
        self.env.invalidate_all()
        code = merchant.sudo().wechat_bind_code_ids
        self.assertEqual((lines.state, code.state), ("done", "active"))
        mail = self.env["mail.mail"].sudo().search([("recipient_ids", "in", merchant.ids)])
        self.assertIn(code.share_url, str(mail.body_html))

    def test_bound_merchant_is_welcomed_once(self):
        self._create_welcome_rule()
        self.merchant.user_id = self.user
        openid = self._make_openid()
        with patch.object(type(self.env["ir.mail_server"]), "send_email", side_effect=AssertionError("SMTP in a push")):
            self.assertReply(self._push_scan(self._make_code(), openid), "绑定成功")
        self.assertBound(self.merchant, openid)
        self.assertIn(self.tag, self.merchant.category_id)
        activity = self.merchant.activity_ids
        self.assertEqual((activity.summary, activity.user_id), ("欢迎商家", self.user))
        # Following again is no new binding.
        self._push_unsubscribe(openid)
        self._push_subscribe(openid)
        self.assertEqual(self.merchant.activity_ids, activity)
        self.assertNotIn(self.tag, self.other_merchant.category_id)
        self._push_scan(self._make_code(self.other_merchant), self._make_openid())
        self.assertIn(self.tag, self.other_merchant.category_id)
