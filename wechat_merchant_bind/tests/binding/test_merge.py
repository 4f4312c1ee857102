from odoo.exceptions import UserError
from odoo.tools import mute_logger

from ..channel.test_channel import ChannelCase
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


class TestMergeOfNotices(ChannelCase):
    """The results of notices to merged partners still show, also if both were notified of one message."""

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def _merge(self, sources=None):
        self.env.flush_all()
        partners = (sources or self.merchant) + self.other_merchant
        self.env["base.partner.merge.automatic.wizard"]._merge(partners.ids, self.other_merchant)
        self.env.invalidate_all()

    def _get_status(self, message):
        notification = message.notification_ids
        self.assertEqual(notification.res_partner_id, self.other_merchant)
        return notification.notification_status

    def _record(self, row, **values):
        row.write(values)
        self.env.flush_all()
        row._sync_notifications()

    def _send_to_both(self):
        message = self._send(partner_ids=(self.merchant + self.other_merchant).ids)
        rows = {row.partner_id: row for row in self._get_rows(message)}
        return message, rows[self.merchant], rows[self.other_merchant]

    def test_all_failures_move_despite_one_message_to_both(self):
        self._bind()
        failed, waiting = self._send(), self._send()
        self._record(self._get_rows(failed), state="failed", failure_type="wechat_refused")
        row = self._get_rows(waiting)
        both, _source, _target = self._send_to_both()
        self._merge()
        self.assertEqual(self._get_status(failed), "exception")
        self.assertEqual(self._get_status(waiting), "ready")
        self.assertEqual(len(both.notification_ids), 1)
        # A failure after the merge.
        self._record(row, state="failed", failure_type="wechat_refused")
        self.assertEqual(self._get_status(waiting), "exception")

    def test_later_failure_of_a_message_to_both_shows(self):
        self._bind()
        message, source, target = self._send_to_both()
        self.assertEqual(target.failure_type, "wechat_unbound")
        self._merge()
        self.assertEqual(source.notification_id, target.notification_id)
        self._record(source, state="sent")
        self._record(source, state="failed", failure_type="wechat_refused")
        self.assertEqual(self._get_status(message), "exception")
        # The merged merchant has got the notice.
        self._record(source, state="delivered", failure_type=False)
        self.assertEqual(self._get_status(message), "sent")

    def test_failure_of_the_source_shows(self):
        self._bind(self.other_merchant)
        message, source, target = self._send_to_both()
        self.assertEqual((source.state, target.state), ("failed", "outgoing"))
        self._merge()
        self.assertEqual(source.notification_id, target.notification_id)
        self._record(target, state="failed", failure_type="wechat_blocked")
        self.assertRecordValues(
            message.notification_ids,
            [
                {
                    "notification_status": "exception",
                    "failure_type": "wechat_blocked",
                    "res_partner_id": self.other_merchant.id,
                }
            ],
        )

    def test_failure_is_kept_before_an_email(self):
        message, source, target = self._send_to_both()
        target.notification_id.write({"notification_type": "email", "notification_status": "sent"})
        self._merge()
        self.assertEqual((self._get_status(message), source.notification_id), ("exception", message.notification_ids))

    def test_two_sources(self):
        third = self._create_merchant("第三家")
        message = self._send(partner_ids=(self.merchant + third).ids)
        rows = self._get_rows(message)
        self._merge(self.merchant + third)
        self.assertEqual(self._get_status(message), "exception")
        self.assertEqual(rows.notification_id, message.notification_ids)
