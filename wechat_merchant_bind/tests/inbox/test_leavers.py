import time
from unittest.mock import patch

from odoo import fields
from odoo.tools import mute_logger

from ..common import USER_PATH
from ..common_push import WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_erase_leavers"


class TestLeavers(WechatPushCase):
    """The data of leavers is erased, as WeChat's terms ask."""

    def setUp(self):
        super().setUp()
        self.account.write({"leaver_policy": "erase", "leaver_days": 30})
        self.openid = self._make_openid()
        self._push_scan(self._make_code(), self.openid, create_time=1_780_000_000)
        self.binding = self._get_live_binding()

    def _leave(self, days=31):
        self._push_unsubscribe(self.openid, create_time=int(time.time()) - days * 86400)

    def _run_cron(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _get_traces(self):
        """Return the tables and columns of the addon that contain the OpenID."""
        self.env.flush_all()
        found = []
        for model in self.env.values():
            if (
                model._abstract
                or not model._auto
                or not (model._name.startswith("wechat.") or model._name == "res.partner")
            ):
                continue
            for name, field in model._fields.items():
                if field.store and field.type in ("char", "text"):
                    self.env.cr.execute(
                        f'SELECT 1 FROM "{model._table}" WHERE "{name}"::text LIKE %s', [f"%{self.openid}%"]
                    )
                    if self.env.cr.fetchone():
                        found.append(f"{model._name}.{name}")
        return found

    def test_erased_after_wechat_confirms(self):
        self.assertTrue(self._get_traces())
        self._leave()
        self.wechat.answer(USER_PATH, {"subscribe": 0, "openid": self.openid})
        self._run_cron()
        self.assertEqual(self._get_traces(), [])
        self.assertNotBound(self.merchant)
        self.assertEqual(self.binding.state, "unbound")
        self.assertChatter(self.merchant, "erased")
        self.assertOperations(self.merchant, ["generate", "bind", "unfollow", "unbind", "erase"])

    def test_kept_when_still_subscribed(self):
        self._leave()
        self._run_cron()
        self.assertEqual(self.wechat.count(USER_PATH), 1)
        self.assertBound(self.merchant, self.openid)

    def test_a_missed_follow_is_corrected(self):
        self._leave()
        since = int(time.time()) - 3600
        self.wechat.answer(USER_PATH, {"subscribe": 1, "openid": self.openid, "subscribe_time": since})
        self._run_cron()
        self.assertEqual(self.merchant.wechat_state, "bound")
        self._push_unsubscribe(self.openid, create_time=since + 1)
        self.assertEqual(self.merchant.wechat_state, "unfollowed", "A later unsubscribe still counts")

    def test_an_openid_unknown_to_wechat_is_erased(self):
        self._leave()
        self.wechat.answer(USER_PATH, {"errcode": 40003, "errmsg": "invalid openid rid: 1"})
        self._run_cron()
        self.assertEqual(self._get_traces(), [])

    def test_kept_when_the_account_is_restricted(self):
        self._leave()
        self.wechat.answer(USER_PATH, {"errcode": 50002, "errmsg": "user limited rid: 1"})
        with mute_logger("odoo.addons.wechat_merchant_bind.models.binding.wechat_binding"):
            self._run_cron()
        self.assertEqual(self.binding.openid, self.openid, "50002 does not say that the person is gone")

    def test_a_failing_leaver_does_not_delay_others(self):
        self._bind(self.other_merchant, "o-first-in-the-alphabet-000000", is_subscribed=False)
        self._get_live_binding(self.other_merchant).last_event_at = "2026-01-01"
        self._leave()
        self.wechat.answer(USER_PATH, {"errcode": -1, "errmsg": "system error"}, {"subscribe": 0})
        with mute_logger("odoo.addons.wechat_merchant_bind.models.binding.wechat_binding"):
            self._run_cron()
        self.assertEqual(self._get_traces(), [])

    def test_a_leaver_without_binding_is_erased(self):
        openid = self._make_openid()
        self._push_text(openid)
        self._push_unsubscribe(openid, create_time=int(time.time()) - 31 * 86400)
        self.wechat.answer(USER_PATH, {"subscribe": 0})
        self._run_cron()
        self.assertFalse(self._get_events().filtered(lambda event: event.openid == openid))

    def test_returned_followers_do_not_delay_leavers(self):
        self._leave(days=31)
        with patch("odoo.addons.wechat_merchant_bind.models.binding.wechat_binding.ERASE_BATCH", 2):
            for days in (40, 39, 38):
                openid = self._make_openid()
                self._push_unsubscribe(openid, create_time=int(time.time()) - days * 86400)
                if days != 40:
                    self._push_subscribe(openid, create_time=int(time.time()) - (days - 1) * 86400)
            self.wechat.answer(USER_PATH, {"subscribe": 1}, {"subscribe": 0})
            self._run_cron()
            self.assertEqual(self._get_traces(), [])
            self.assertEqual(self.wechat.count(USER_PATH), 2, "A returned follower is not looked up")
            self._run_cron()
            self.assertEqual(self.wechat.count(USER_PATH), 2, "Nor is a follower whose follow was missed")

    def test_kept_within_the_days(self):
        self._leave(days=29)
        self._run_cron()
        self.assertEqual(self.wechat.count(USER_PATH), 0)
        self.assertEqual(self.merchant.wechat_state, "unfollowed")

    def test_kept_by_policy(self):
        self.account.leaver_policy = "keep"
        self._leave()
        self._run_cron()
        self.assertEqual(self.wechat.count(USER_PATH), 0)
        self.assertEqual(self.binding.openid, self.openid)

    def test_kept_when_wechat_does_not_answer(self):
        self._leave()
        self.wechat.answer(USER_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 1"})
        with self.assertLogs("odoo.addons.wechat_merchant_bind.models.binding.wechat_binding", "WARNING") as logs:
            self._run_cron()
        self.assertIn("45009", logs.output[0])
        self.assertNotIn(self.openid, logs.output[0])
        self.assertEqual(self.binding.openid, self.openid)

    def test_a_failing_account_does_not_delay_others(self):
        broken = self._create_account(sequence=1, leaver_policy="erase", leaver_days=0)
        self._bind(self.other_merchant, self._make_openid(), broken, is_subscribed=False)
        self._leave()
        self.wechat.answer(USER_PATH, {"errcode": 48001, "errmsg": "api unauthorized"}, {"subscribe": 0})
        with mute_logger("odoo.addons.wechat_merchant_bind.models.binding.wechat_binding"):
            self._run_cron()
        self.assertEqual(self._get_traces(), [])

    def test_a_leaver_unbound_before_is_erased(self):
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self._leave()
        self.wechat.answer(USER_PATH, {"subscribe": 0, "openid": self.openid})
        self._run_cron()
        self.assertEqual(self._get_traces(), [])

    def test_all_bindings_of_a_leaver_are_erased(self):
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self._bind(self.other_merchant, self.openid)
        self._leave()
        self.wechat.answer(USER_PATH, *[{"subscribe": 0, "openid": self.openid}] * 2)
        self._run_cron()
        self.assertEqual(self._get_traces(), [])


class TestVacuum(WechatPushCase):
    @mute_logger("odoo.models.unlink")
    def test_events_are_deleted_after_their_retention(self):
        self.account.event_retention_days = 3
        for _i in range(2):
            self._push_event("VIEW", self._make_openid(), EventKey="x")
        old, recent = self._get_events()
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s WHERE id = %s",
            [fields.Datetime.subtract(fields.Datetime.now(), days=3, minutes=1), old.id],
        )
        self.env.cr.execute(
            "UPDATE wechat_event SET create_date = %s WHERE id = %s",
            [fields.Datetime.subtract(fields.Datetime.now(), days=2, hours=23), recent.id],
        )
        self.env.invalidate_all()
        self.env["wechat.event"]._gc_events()
        self.assertEqual(self._get_events(), recent)
