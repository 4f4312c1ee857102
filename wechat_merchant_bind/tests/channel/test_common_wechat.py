"""The example of docs/for-developers.md: a test of another addon, which only uses the public helpers of common.py."""

from odoo.exceptions import AccessError
from odoo.tests import tagged

# As another addon imports it.
# pylint: disable-next=odoo-addons-relative-import
from odoo.addons.wechat_merchant_bind.tests.common import SEND_PATH, WechatCommon


@tagged("post_install", "-at_install")
class TestPaymentReminder(WechatCommon):
    """The notice of another addon: a partner is reminded of a payment."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.merchant = cls._create_wechat_merchant("杭州西湖茶庄")
        cls.template = cls._create_wechat_template(
            "res.partner", {"thing1": "{{ object.name }}", "phrase2": "待付款"}, name="付款提醒"
        )

    def _remind(self, partner=None):
        return (partner or self.merchant)._message_wechat_with_template(self.template)

    def test_notice_is_sent_and_delivered(self):
        values = {"thing1": "杭州西湖茶庄", "phrase2": "待付款"}
        with self.mock_wechat() as wechat:
            message = self._remind()
        self.assertWechat(self.merchant, values=values, template=self.template)
        self.assertFalse(wechat.calls, "The transaction of the document makes no calls")
        self.send_wechat_outbox()
        sent = self.assertWechat(self.merchant, "sent", values=values)
        self.receive_wechat_receipt(sent)
        self.assertWechat(self.merchant, "delivered", values=values)
        self.assertWechatNotification(message, self.merchant, "delivered")
        self.assertIn("待付款", message.body)

    def test_merchant_refuses_the_notice(self):
        self._remind()
        self.send_wechat_outbox()
        self.receive_wechat_receipt(self.assertWechat(self.merchant, "sent"), "failed:user block")
        self.assertWechat(self.merchant, "failed", failure_type="wechat_blocked")

    def test_wechat_refuses_the_notice(self):
        self.wechat.answer(SEND_PATH, {"errcode": 46004, "errmsg": "user not exist rid: 1-2-3"})
        self._remind()
        self.send_wechat_outbox()
        failed = self.assertWechat(self.merchant, "failed", failure_type="wechat_recipient")
        self.assertEqual((failed.errcode, failed.rid), (46004, "1-2-3"))

    def test_other_merchants_get_no_notice(self):
        stranger = self.env["res.partner"].create({"name": "未绑定的商家"})
        with self.mock_wechat():
            self.env["res.partner"].create({"name": "没有通知的商家"})
        self.assertNoWechat()
        with self.mock_wechat():
            self._remind(stranger)
        self.assertWechat(stranger, "failed", failure_type="wechat_unbound")
        self.assertNoWechat(self.merchant)

    def test_assertions_fail_on_wrong_results(self):
        with self.assertRaisesRegex(AssertionError, "杭州西湖茶庄 should get one"):
            self.assertWechat(self.merchant)
        self._remind()
        with self.assertRaisesRegex(AssertionError, "There should be no WeChat message"):
            self.assertNoWechat()
        for wrong in ({"state": "sent"}, {"values": {"thing1": "x"}}, {"template": self.template.copy()}):
            with self.subTest(wrong), self.assertRaises(AssertionError):
                self.assertWechat(self.merchant, **wrong)
        self._remind()
        with self.assertRaisesRegex(AssertionError, "should get one"):
            self.assertWechat(self.merchant)

    def test_server_action(self):
        action = self.env["ir.actions.server"].create(
            {
                "name": "付款提醒",
                "model_id": self.env["ir.model"]._get_id("res.partner"),
                "state": "wechat",
                "wechat_template_id": self.template.id,
            }
        )
        action.with_context(active_model="res.partner", active_id=self.merchant.id).run()
        self.assertWechat(self.merchant, template=self.template)

    def test_composer(self):
        composer = self.env["wechat.composer"].create(
            {"template_id": self.template.id, "res_model": "res.partner", "res_ids": f"[{self.merchant.id}]"}
        )
        composer.action_send()
        self.assertWechat(self.merchant, template=self.template)

    def test_user_without_right_cannot_send(self):
        employee = self.env["res.users"].create(
            {"name": "x", "login": "x", "group_ids": self.env.ref("base.group_user").ids}
        )
        with self.assertRaises(AccessError):
            self.env["wechat.composer"].with_user(employee).create({"template_id": self.template.id})
        self.assertNoWechat()
