from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import mute_logger

from ..common import QR_PATH, WechatCase


class TestReveal(WechatCase):
    def test_revealing_is_recorded_first(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        action = self.merchant.with_user(self.manager).action_wechat_reveal_openid()
        self.assertOperations(self.merchant, ["reveal"])
        operation = self._get_operations()
        self.assertEqual(operation.user_id, self.manager)
        self.assertNotIn(openid, operation.note + operation.openid_masked)
        show = self.env[action["res_model"]].with_user(self.manager).browse(action["res_id"])
        self.assertEqual(show.openid, openid)
        self.assertChatter(self.merchant, "was shown", author=self.manager.partner_id)
        self.assertNotIn(openid, "".join(self.merchant.message_ids.mapped("body")))

    def test_only_managers_reveal(self):
        binding = self._bind()
        for user in (self.user, self.employee, self.portal, self.public):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    self.merchant.with_user(user).action_wechat_reveal_openid()
                with self.assertRaises(AccessError):
                    self.env["wechat.openid.show"].with_user(user).create({"binding_id": binding.id})
        self.assertOperations(self.merchant, [])

    def test_the_dialog_can_not_be_turned_to_another_binding(self):
        binding, other = self._bind(), self._bind(self.other_merchant)
        show = self.env["wechat.openid.show"].with_user(self.manager).create({"binding_id": binding.id})
        self.assertOperations(self.merchant, ["reveal"])
        with self.assertRaises(AccessError):
            show.binding_id = other
        self.assertOperations(self.other_merchant, [])

    def test_an_unbound_merchant_has_no_openid(self):
        with self.assertRaisesRegex(UserError, "not bound"):
            self.merchant.with_user(self.manager).action_wechat_reveal_openid()

    def test_bindings_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        binding = self._bind(account=self._create_account(company_id=company.id))
        with self.assertRaisesRegex(UserError, "not bound"):
            self.merchant.with_user(self.manager).action_wechat_reveal_openid()
        with self.assertRaises(AccessError):
            self.env["wechat.openid.show"].with_user(self.manager).create({"binding_id": binding.id})
        self.assertOperations(self.merchant, [])

    def test_no_other_view_shows_openids(self):
        views = self.env["ir.ui.view"].search(
            [("model", "in", ("res.partner", "wechat.binding")), ("type", "!=", "search")]
        )
        for view in views:
            with self.subTest(view=view.name):
                self.assertNotRegex(view.arch, 'name="(wechat_)?openid"')


class TestReplace(WechatCase):
    def _open(self, user=None):
        user = user or self.manager
        action = self.merchant.with_user(user).action_wechat_replace()
        dialogs = self.env[action["res_model"]].with_user(user).with_context(**action["context"])
        return dialogs.create({"reason": "换手机"})

    def test_replacing_unbinds_and_shows_a_new_code(self):
        openid = self._make_openid()
        binding = self._bind(openid=openid)
        dialog = self._open()
        self.assertIn("…", dialog.openid_masked)
        self.assertBound(self.merchant, openid)
        action = dialog.action_replace()
        self.assertNotBound(self.merchant)
        self.assertRecordValues(binding, [{"state": "unbound", "reason": "换手机"}])
        show = self.env[action["res_model"]].browse(action["res_id"])
        self.assertEqual((show.state, show.partner_id), ("waiting", self.merchant))
        self.assertOperations(self.merchant, ["unbind", "generate"])

    def test_the_binding_is_kept_if_wechat_refuses(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        dialog = self._open()
        self.wechat.answer(QR_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit"})
        with self.assertRaises(UserError), self.env.cr.savepoint():
            dialog.action_replace()
        self.assertBound(self.merchant, openid)

    def test_only_managers_replace(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        dialog = self._open()
        for user in (self.user, self.employee, self.portal, self.public):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                dialog.with_user(user).action_replace()
        self.assertBound(self.merchant, openid)


class TestTab(WechatCase):
    def test_the_tab_shows_the_code_and_its_user(self):
        code = self._make_code()
        self._bind(code_id=code.id)
        for user in (self.user, self.manager):
            self.env.invalidate_all()
            merchant = self.merchant.with_user(user)
            self.assertEqual(merchant.wechat_code_user_id, self.user)
            self.assertEqual(merchant.wechat_code_generated_at, code.create_date)
            self.assertEqual(merchant.wechat_bound_at, self._get_live_binding().bound_at)

    def test_the_tab_shows_contacts_and_bound_addresses(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        self._create_merchant("仓库地址", is_company=False, parent_id=self.merchant.id, type="delivery")
        bound = self._create_merchant("分店", is_company=False, parent_id=self.merchant.id, type="other")
        self._bind(bound)
        self.assertEqual(self.merchant.with_user(self.user).wechat_contact_ids, (contact + bound).with_user(self.user))


class TestCopy(WechatCase):
    def test_a_copy_has_no_binding_code_or_user(self):
        self._bind(code_id=self._make_code().id)
        self._create_user("shop_owner", "base.group_portal", partner_id=self.merchant.id)
        self.merchant.with_user(self.user).action_wechat_disable()
        copy = self.merchant.copy()
        self.assertNotBound(copy)
        self.assertRecordValues(
            copy,
            [{"wechat_bound_at": False, "wechat_login": False, "wechat_binding_ids": [], "wechat_bind_code_ids": []}],
        )
        self.assertOperations(copy, [])


class TestDeletion(WechatCase):
    def test_a_merchant_with_all_records_can_be_deleted(self):
        code = self._make_code()
        batch = self.env["wechat.bind.batch"]._create_for(self.merchant + self.other_merchant)
        binding = self._bind(code_id=code.id)
        operations = self._get_operations()
        show = self.env["wechat.bind.code.show"].create({"partner_id": self.merchant.id, "code_id": code.id})
        reveal = self.merchant.with_user(self.manager).action_wechat_reveal_openid()
        self.merchant.unlink()
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertRecordValues(binding, [{"partner_id": False, "state": "unbound", "code_id": False}])
        self.assertEqual(operations.mapped("partner_name"), ["杭州西湖茶庄"] * len(operations))
        self.assertEqual(batch.line_ids.partner_id, self.other_merchant)
        self.assertFalse(code.exists())
        self.assertFalse(show.exists())
        self.assertTrue(self.env[reveal["res_model"]].browse(reveal["res_id"]).exists())


class TestCompany(WechatCase):
    def setUp(self):
        super().setUp()
        self.company = self.env["res.company"].create({"name": "另一家公司"})
        self.account.company_id = self.env.company

    def test_a_bound_merchant_can_not_change_its_company(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        with self.assertRaisesRegex(UserError, "杭州西湖茶庄.*Unbind the merchant"):
            self.merchant.company_id = self.company
        self.merchant.company_id = self.account.company_id
        self.merchant.company_id = False
        self.assertBound(self.merchant, openid)
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.merchant.company_id = self.company

    def test_a_bound_contact_can_not_follow_its_parent(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        self._bind(contact)
        with self.assertRaisesRegex(UserError, "会计.*Unbind the merchant"):
            self.merchant.company_id = self.company
        self.assertFalse(contact.company_id)

    def test_the_superuser_can_not_change_the_company(self):
        self._bind()
        with self.assertRaisesRegex(UserError, "Unbind the merchant"):
            self.merchant.with_user(self.employee).sudo().company_id = self.company

    def test_a_portal_user_can_not_change_the_company(self):
        portal = self._create_user("shop_owner", "base.group_portal", partner_id=self.merchant.id)
        self.merchant.company_id = self.env.company
        self._bind()
        portal.company_ids += self.company
        with self.assertRaisesRegex(UserError, "Unbind the merchant"):
            portal.company_id = self.company

    def test_a_shared_account_allows_any_company(self):
        self.account.company_id = False
        openid = self._make_openid()
        self._bind(openid=openid)
        self.merchant.company_id = self.company
        self.assertBound(self.merchant, openid)

    def test_a_used_account_can_not_change_its_company(self):
        self.merchant.company_id = self.env.company
        self._bind()
        with self.assertRaisesRegex(ValidationError, "杭州西湖茶庄"):
            self.account.company_id = self.company
        self.account.company_id = False

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def test_merchants_of_different_companies_can_not_be_merged(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        self.other_merchant.company_id = self.company
        wizard = self.env["base.partner.merge.automatic.wizard"]
        with self.assertRaisesRegex(UserError, "different companies"), self.env.cr.savepoint():
            wizard._merge((self.merchant + self.other_merchant).ids, self.other_merchant)
        self.assertBound(self.merchant, openid)
