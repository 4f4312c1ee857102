from odoo.exceptions import AccessDenied, AccessError, UserError, ValidationError
from odoo.tools import mute_logger

from ..common_push import WechatPushCase

PASSWORD = "shop-owner-2026"


class DisablingCase(WechatPushCase):
    """Set up a merchant with a contact, both with a portal user."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.contact = cls._create_merchant("会计", is_company=False, parent_id=cls.merchant.id)
        cls.owner, cls.accountant, cls.stranger = (
            cls._create_user(
                login, "base.group_portal", partner_id=partner.id, name=partner.name, lang="zh_CN", password=PASSWORD
            )
            for login, partner in (
                ("shop_owner", cls.merchant),
                ("shop_accountant", cls.contact),
                ("shop_stranger", cls.other_merchant),
            )
        )
        cls.env.flush_all()

    def _disable(self, merchants=None, user=None):
        (merchants or self.merchant).with_user(user or self.user).action_wechat_disable()
        self.env.flush_all()
        self.env.invalidate_all()

    def _enable(self, merchants=None, user=None):
        (merchants or self.merchant).with_user(user or self.user).action_wechat_enable()
        self.env.flush_all()
        self.env.invalidate_all()


class TestDisable(DisablingCase):
    def test_portal_users_are_archived_and_restored(self):
        self._disable()
        self.assertEqual((self.merchant + self.contact).mapped("active"), [False, True])
        self.assertEqual((self.owner + self.accountant + self.stranger).mapped("active"), [False, False, True])
        self._enable()
        self.assertTrue(self.merchant.active and self.owner.active and self.accountant.active)
        self.assertFalse((self.owner + self.accountant).wechat_disabled_partner_id)

    def test_portal_users_of_a_disabled_merchant_can_not_log_in(self):
        self.authenticate(self.accountant.login, PASSWORD)
        self._disable()
        response = self.url_open("/my", allow_redirects=False)
        self.assertEqual(response.status_code, 303, "The open session has ended")
        with self.assertRaises(AccessDenied), mute_logger("odoo.addons.base.models.res_users"):
            self.authenticate(self.accountant.login, PASSWORD)
        self._enable()
        self.authenticate(self.accountant.login, PASSWORD)
        self.assertEqual(self.url_open("/my", allow_redirects=False).status_code, 200)

    def test_users_archived_before_are_not_restored(self):
        self.accountant.active = False
        self._disable()
        self._enable()
        self.assertTrue(self.owner.active)
        self.assertFalse(self.accountant.active, "Archived before the merchant was disabled")

    def test_users_archived_again_are_not_restored(self):
        self._disable()
        # The accountant is restored by hand, before the merchant.
        self.accountant.active = True
        self._enable()
        self.accountant.active = False
        self._disable()
        self._enable()
        self.assertFalse(self.accountant.active, "Archived before the merchant was disabled again")
        self.assertTrue(self.owner.active)

    def test_users_revoked_while_disabled_are_not_restored(self):
        """As by the portal's dialog."""
        self._disable()
        groups = [(3, self.env.ref("base.group_portal").id), (4, self.env.ref("base.group_public").id)]
        self.accountant.write({"group_ids": groups, "active": False})
        self._enable()
        self.assertTrue(self.owner.active)
        self.assertFalse(self.accountant.active)

    def test_users_moved_to_another_merchant_are_not_restored(self):
        self._disable()
        self.accountant.partner_id = self._create_merchant("新东家", is_company=False)
        self._enable()
        self.assertFalse(self.accountant.active)

    def test_every_way_of_enabling_restores_the_users(self):
        self._disable()
        self.merchant.with_user(self.employee).action_unarchive()
        self.assertTrue(self.owner.active and self.accountant.active)
        self._disable()
        self.owner.active = True
        self.assertTrue(self.merchant.active, "Odoo restores the partner of a user")
        self.assertTrue(self.accountant.active)

    def test_the_binding_is_kept_and_codes_are_revoked(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        code = self._make_code(self.contact)
        self._disable()
        self.assertBound(self.merchant, openid)
        self.assertEqual(code.state, "revoked")
        self.assertReply(self._push_scan(code, self._make_openid()), "停用")
        self.assertNotBound(self.contact)

    def test_a_contact_of_a_disabled_merchant_is_not_bound(self):
        code = self._make_code(self.contact)
        self._disable()
        # As if the code were generated at the same moment.
        code.state = "active"
        self.assertReply(self._push_scan(code, self._make_openid()), "停用")
        self.assertNotBound(self.contact)
        self.contact.email = "accountant@example.com"
        self.assertEqual(self.contact._wechat_email_bind_codes(), {self.contact.id: "Disabled"})

    def test_a_disabled_merchant_and_its_contacts_get_no_code(self):
        self._disable()
        for partner in (self.merchant, self.contact):
            with self.subTest(partner=partner.name), self.assertRaisesRegex(UserError, "is disabled"):
                partner.with_user(self.user)._wechat_get_bind_code()

    def test_disabling_and_enabling_are_recorded(self):
        self._disable()
        self.assertChatter(self.merchant, "disabled", "shop_owner", "shop_accountant", author=self.user.partner_id)
        self._enable()
        self.assertChatter(self.merchant, "enabled", "shop_owner", "shop_accountant", author=self.user.partner_id)
        self.assertOperations(self.merchant, ["disable", "enable"])
        self.assertEqual(self._get_operations().user_id, self.user)
        self.assertOperations(self.contact, [])

    def test_several_merchants_are_disabled_at_once(self):
        merchants = self.merchant + self.other_merchant + self._create_merchant("第三家")
        self._disable(merchants)
        self.assertFalse(any(merchants.mapped("active")))
        self._enable(self.other_merchant)
        self.assertEqual(
            (self.owner + self.accountant + self.stranger).mapped("active"),
            [False, False, True],
            "Only the users of the enabled merchant are restored",
        )
        self._enable(merchants)
        self.assertTrue(self.owner.active and self.accountant.active)
        self.assertOperations(self.other_merchant, ["disable", "enable"])

    def test_merchants_with_internal_users_are_refused(self):
        salesman = self._create_merchant("业务员", is_company=False, parent_id=self.other_merchant.id)
        internal = self._create_user("shop_salesman", "base.group_user", partner_id=salesman.id, name="业务员")
        for partner in (self.other_merchant, internal.partner_id):
            with self.subTest(partner=partner.name), self.assertRaisesRegex(UserError, "业务员.*internal"):
                (self.merchant + partner).with_user(self.user).action_wechat_disable()
        self.assertTrue(self.merchant.active and self.owner.active and internal.active)

    def test_only_users_with_write_access_disable(self):
        reader = self._create_user("wechat_reader", "wechat_merchant_bind.group_user")
        for user in (self.employee, self.portal, self.public, reader, self.owner):
            for method in ("action_wechat_disable", "action_wechat_enable"):
                with self.subTest(user=user.login, method=method), self.assertRaises(AccessError):
                    getattr(self.merchant.with_user(user), method)()
        self.assertTrue(self.merchant.active)
        self._disable(user=self.manager)
        self.assertFalse(self.merchant.active)

    def test_merchants_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        merchant = self._create_merchant("外地商家", company_id=company.id)
        with self.assertRaises(AccessError):
            self._disable(merchant)
        self.assertTrue(merchant.active)

    def test_the_mark_of_archived_users_is_hidden(self):
        for user in (self.employee, self.user, self.manager):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.owner.with_user(user).read(["wechat_disabled_partner_id"])
        self.assertFalse(self.owner.copy({"login": "copy"}).wechat_disabled_partner_id)


class TestArchiving(DisablingCase):
    """Every way of archiving a merchant revokes its codes and is recorded."""

    def test_archiving_by_write_revokes_codes(self):
        merchant = self._create_merchant("第三家")
        code = self._make_code(merchant)
        merchant.with_user(self.employee).write({"active": False})
        self.assertEqual(code.state, "revoked")
        self.assertOperations(merchant, ["generate", "revoke", "disable"])
        merchant.with_user(self.employee).write({"active": True})
        self.assertOperations(merchant, ["generate", "revoke", "disable", "enable"])
        merchant.with_user(self.employee).write({"active": True})
        self.assertOperations(merchant, ["generate", "revoke", "disable", "enable"])

    def test_odoo_refuses_to_archive_merchants_with_users(self):
        code = self._make_code()
        with self.assertRaisesRegex(ValidationError, "active user"):
            self.merchant.with_user(self.employee).action_archive()
        self.assertEqual(code.state, "active")
        self.assertTrue(self.merchant.active)

    def test_only_merchants_and_bound_contacts_are_recorded(self):
        self.accountant.active = False
        self.contact.active = False
        self.assertOperations(self.contact, [])
        bound = self._create_merchant("仓库", is_company=False, parent_id=self.merchant.id)
        self._bind(bound)
        bound.active = False
        self.assertOperations(bound, ["disable"])
        employee = self._create_user("wechat_leaver", "base.group_user")
        employee.active = False
        employee.partner_id.active = False
        self.assertFalse(self._get_operations(employee.partner_id).filtered(lambda log: log.operation == "enable"))
