from odoo.exceptions import UserError
from odoo.tools import mute_logger

from ..common_push import WechatPushCase


class TestMerge(WechatPushCase):
    """A merge moves the binding, and is refused with two bindings."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # A user with the right to merge contacts, and no WeChat rights.
        cls.merger = cls._create_user("wechat_merger", "base.group_partner_manager,base.group_erp_manager")

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def _merge(self, source, target):
        self.env.flush_all()
        wizard = self.env["base.partner.merge.automatic.wizard"].with_user(self.merger)
        wizard._merge((source + target).ids, target)
        self.env.invalidate_all()

    def test_the_binding_of_the_source_moves(self):
        openid = self._make_openid()
        self._push_scan(self._make_code(), openid)
        self._merge(self.merchant, self.other_merchant)
        self.assertFalse(self.merchant.exists())
        self.assertBound(self.other_merchant, openid)
        self.assertEqual(len(self.env["wechat.binding"].search([("openid", "=", openid)])), 1)
        self.assertOperations(self.other_merchant, ["generate", "bind", "merge"])
        operation = self._get_operations(self.other_merchant)[-1]
        self.assertEqual(operation.user_id, self.merger)
        for text in (f"杭州西湖茶庄 (ID {self.merchant.id})", operation._mask_openid(openid)):
            self.assertIn(text, operation.note)

    def test_the_binding_of_the_target_stays(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        self._merge(self.other_merchant, self.merchant)
        self.assertBound(self.merchant, openid)

    def test_an_unfollowed_binding_moves(self):
        self._bind(is_subscribed=False)
        self._merge(self.merchant, self.other_merchant)
        self.assertRecordValues(self.other_merchant, [{"is_wechat_bound": True, "wechat_state": "unfollowed"}])

    def test_the_stored_fields_are_updated(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        self._merge(self.merchant, self.other_merchant)
        partners = self.env["res.partner"]
        self.assertEqual(partners.search([("wechat_openid", "=", openid)]), self.other_merchant)
        self.assertIn(self.other_merchant, partners.search([("is_wechat_bound", "=", True)]))

    def test_merges_without_wechat_are_not_recorded(self):
        self._merge(self.merchant, self.other_merchant)
        self.assertOperations(self.other_merchant, [])

    def test_the_time_of_the_binding_is_kept(self):
        binding = self._bind(bound_at="2026-01-02 03:04:05")
        self._merge(self.merchant, self.other_merchant)
        self.assertEqual(self.other_merchant.wechat_bound_at, binding.bound_at)

    def test_users_of_a_disabled_merchant_are_restored_with_the_target(self):
        owner = self._create_user("shop_owner", "base.group_portal", partner_id=self.merchant.id)
        self.merchant.with_user(self.user).action_wechat_disable()
        self.other_merchant.active = False
        self._merge(self.merchant, self.other_merchant)
        self.assertFalse(owner.active)
        self.other_merchant.with_user(self.user).action_wechat_enable()
        self.assertTrue(owner.active)
        self.assertEqual(owner.partner_id, self.other_merchant)

    def test_two_bound_merchants_are_refused(self):
        first, second = self._make_openid(), self._make_openid()
        self._bind(openid=first)
        self._bind(self.other_merchant, second)
        with self.assertRaisesRegex(UserError, "Unbind all but one") as error:
            self._merge(self.merchant, self.other_merchant)
        for merchant, openid in ((self.merchant, first), (self.other_merchant, second)):
            self.assertIn(merchant.name, str(error.exception))
            self.assertBound(merchant, openid)

    def test_the_target_keeps_its_open_code(self):
        source, target = self._make_code(), self._make_code(self.other_merchant)
        self._merge(self.merchant, self.other_merchant)
        self.assertEqual((source.state, target.state), ("revoked", "active"))
        self.assertEqual((source + target).partner_id, self.other_merchant)
        openid = self._make_openid()
        self._push_scan(target, openid)
        self.assertBound(self.other_merchant, openid)

    def test_the_open_code_of_the_source_moves(self):
        code = self._make_code()
        self._merge(self.merchant, self.other_merchant)
        self.assertRecordValues(code, [{"state": "active", "partner_id": self.other_merchant.id}])
        openid = self._make_openid()
        self._push_scan(code, openid)
        self.assertBound(self.other_merchant, openid)

    def test_a_binding_revokes_all_open_codes(self):
        for bound, unbound in ((self.merchant, self.other_merchant), (self.other_merchant, self.merchant)):
            with self.subTest(bound=bound.name), self.env.cr.savepoint() as savepoint:
                code = self._make_code(unbound)
                openid = self._make_openid()
                self._bind(bound, openid)
                self._merge(self.merchant, self.other_merchant)
                self.assertEqual(code.state, "revoked")
                self.assertBound(self.other_merchant, openid)
                savepoint.rollback()
                self.env.invalidate_all()
