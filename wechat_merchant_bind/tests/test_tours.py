from odoo import Command
from odoo.exceptions import AccessDenied
from odoo.tests import tagged
from odoo.tools import mute_logger

from .common import QR_PATH, TEMPLATES_PATH
from .common_push import WechatPushCase

PASSWORD = "shop-owner-2026"
ACTION = "/odoo/action-wechat_merchant_bind.wechat_merchant_action"


@tagged("post_install", "-at_install", "wechat")
class TestTours(WechatPushCase):
    """Tours of the backend and the portal in Chinese.

    The top-level tests cover the open dialog that turns to 已绑定: Odoo's bus notifies after a commit, which a
    test never reaches. Here the scan comes after the dialog was closed.
    """

    def test_manager_generates_a_code_and_unbinds(self):
        self.manager.lang = "zh_CN"
        self.start_tour(ACTION, "wechat_merchant_bind.bind_code", login=self.manager.login)
        self.env.invalidate_all()
        self.assertEqual(self.wechat.count(QR_PATH), 2)
        former, code = self.merchant.wechat_bind_code_ids.sorted("id")
        self.assertEqual((former.state, code.state), ("revoked", "active"))
        self.assertEqual(code.user_id, self.manager)
        openid = self._make_openid()
        self._push_scan(code, openid)
        self.assertBound(self.merchant, openid)
        self.start_tour(ACTION, "wechat_merchant_bind.bound", login=self.manager.login)
        self.assertNotBound(self.merchant)
        self.assertEqual(self.merchant.wechat_binding_ids.reason, "换手机")

    def test_user_accepts_and_rejects_scans(self):
        self.user.lang = "zh_CN"
        self.account.bind_confirmation = "approval"
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid)
        self._push_scan(code, self._make_openid())
        action = "/odoo/action-wechat_merchant_bind.wechat_bind_request_action"
        self.start_tour(action, "wechat_merchant_bind.approval", login=self.user.login)
        self.assertNotBound(self.merchant)
        first, second = self.env["wechat.bind.request"].search([("code_id", "=", code.id)], order="id")
        self.assertEqual((first.state, second.state), ("accepted", "rejected"))
        self.assertOperations(self.merchant, ["generate", "request", "request", "refuse", "bind", "unbind"])

    def test_user_disables_and_enables_a_merchant(self):
        self.user.lang = "zh_CN"
        owner = self._create_user(
            "shop_owner",
            "base.group_portal",
            partner_id=self.merchant.id,
            name=self.merchant.name,
            lang="zh_CN",
            password=PASSWORD,
        )
        code = self._make_code()
        self.start_tour(ACTION, "wechat_merchant_bind.disable", login=self.user.login)
        self.env.invalidate_all()
        self.assertEqual((self.merchant.active, owner.active, code.state), (False, False, "revoked"))
        with self.assertRaises(AccessDenied), mute_logger("odoo.addons.base.models.res_users"):
            self.authenticate(owner.login, PASSWORD)
        self.start_tour(ACTION, "wechat_merchant_bind.enable", login=self.user.login)
        self.env.invalidate_all()
        self.assertTrue(self.merchant.active)
        self.authenticate(owner.login, PASSWORD)
        self.assertEqual(self.url_open("/my", allow_redirects=False).status_code, 200)

    def test_manager_replaces_the_wechat_of_a_merchant(self):
        self.manager.lang = "zh_CN"
        first, second = self._make_openid(), self._make_openid()
        self._bind(openid=first)
        self.start_tour(ACTION, "wechat_merchant_bind.replace", login=self.manager.login)
        self.assertNotBound(self.merchant)
        self._push_scan(self.merchant.wechat_bind_code_ids, second)
        self.assertBound(self.merchant, second)
        self.assertOperations(self.merchant, ["reveal", "unbind", "generate", "bind"])

    def test_merchant_binds_and_unbinds_on_the_portal(self):
        self.env["ir.default"].set("res.partner", "lang", "zh_CN")
        self._create_user("xihu", "base.group_portal", partner_id=self.merchant.id, name="杭州西湖茶庄", lang="zh_CN")
        self.start_tour("/my", "wechat_merchant_bind.portal_code", login="xihu")
        self.env.invalidate_all()
        openid = self._make_openid()
        self._push_scan(self.merchant.wechat_bind_code_ids, openid)
        self.assertBound(self.merchant, openid)
        self.start_tour("/my/wechat", "wechat_merchant_bind.portal_unbind", login="xihu")
        self.assertNotBound(self.merchant)
        self.assertOperations(self.merchant, ["generate", "bind", "unbind"])

    def _create_template(self):
        return self.env["wechat.template"].create(
            {
                "name": "订单通知",
                "title": "新订单通知",
                "example": "商家:示例",
                "account_id": self.account.id,
                "template_uid": "tour",
                "model_id": self.env["ir.model"]._get_id("res.partner"),
                "line_ids": [Command.create({"key": "thing1", "label": "商家", "value": "{{ object.name }}"})],
            }
        )

    def test_user_sends_a_notice_to_a_merchant(self):
        self.user.lang = "zh_CN"
        template = self._create_template()
        self._bind()
        self.start_tour(ACTION, "wechat_merchant_bind.composer", login=self.user.login)
        self.env.invalidate_all()
        message = self.env["wechat.message"].search([("template_id", "=", template.id), ("state", "=", "outgoing")])
        self.assertEqual((message.partner_id, message.kind), (self.merchant, "mass"))
        self.assertEqual(message.card["lines"], [{"label": "商家", "value": "杭州西湖茶庄"}])

    def test_manager_reads_the_health_of_an_account(self):
        self.manager.lang = "zh_CN"
        self.env["wechat.access.token"].search([("account_id", "=", self.account.id)]).token = "fetched"
        event = self.env["wechat.event"].create(
            {
                "account_id": self.account.id,
                "dedupe_key": "tour",
                "payload": "{}",
                "event": "scan",
                "state": "failed",
                "error": "ValueError: x",
            }
        )
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = create_date - interval '1 hour' WHERE id = %s", [event.id]
        )
        action = "/odoo/action-wechat_merchant_bind.wechat_account_action"
        self.start_tour(action, "wechat_merchant_bind.health", login=self.manager.login)

    def test_manager_synchronises_and_fills_a_template(self):
        self.manager.lang = "zh_CN"
        self.manager.group_ids += self.env.ref("mail.group_mail_template_editor")
        self.wechat.answer(
            TEMPLATES_PATH,
            {
                "template_list": [
                    {
                        "template_id": "tour",
                        "title": "新订单通知",
                        "content": "商家:{{thing1.DATA}}",
                        "example": "商家:杭州西湖茶庄",
                    }
                ]
            },
        )
        action = "/odoo/action-wechat_merchant_bind.wechat_template_action"
        self.start_tour(action, "wechat_merchant_bind.template", login=self.manager.login)
        template = self.env["wechat.template"].search([("template_uid", "=", "tour")])
        self.assertRecordValues(template, [{"status": "ready", "model": "res.partner", "account_id": self.account.id}])
        self.assertEqual(template.line_ids.value, "{{ object.name }}")
