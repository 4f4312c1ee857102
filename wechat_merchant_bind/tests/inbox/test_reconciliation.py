import time
from datetime import datetime, timedelta, timezone

from odoo import fields
from odoo.tools import mute_logger

from ..common import FOLLOWERS_PATH, USERS_PATH
from ..common_push import WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_reconcile"
LOGGER = "odoo.addons.wechat_merchant_bind.models.inbox.wechat_binding"
INVALID = {"errcode": 40003, "errmsg": "invalid openid"}


class ReconciliationCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)

    def _run_cron(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _answer_users(self, *gone, **extra):
        """Let WeChat answer that all OpenIDs it is asked about follow, but for some."""

        def answer(call):
            users = [user["openid"] for user in call.payload["user_list"]]
            return {
                "user_info_list": [
                    {"openid": openid, "subscribe": 0 if openid in gone else 1, **extra.get(openid, {})}
                    for openid in users
                ]
            }

        return answer

    def _get_asked(self):
        return [
            {user["openid"] for user in call.payload["user_list"]}
            for call in self.wechat.calls
            if call.path == USERS_PATH
        ]


class TestFollowing(ReconciliationCase):
    """Bindings are compared with WeChat's followers."""

    def test_missed_follows_and_unfollows_are_corrected(self):
        gone, back = self.binding, self._bind(self.other_merchant, is_subscribed=False)
        self.wechat.answer(USERS_PATH, self._answer_users(gone.openid))
        self._run_cron()
        self.assertEqual((gone.is_subscribed, back.is_subscribed), (False, True))
        self.assertEqual((self.merchant.wechat_state, self.other_merchant.wechat_state), ("unfollowed", "bound"))
        self.assertOperations(self.merchant, ["unfollow"])
        self.assertOperations(self.other_merchant, ["follow"])

    def test_a_blocked_binding_stays_blocked(self):
        self.binding._mark_unreachable("blocked")
        self._run_cron()
        self.assertTrue(self.binding.is_blocked)

    def test_a_later_push_prevails(self):
        def answer(_call):
            self.binding.last_event_at = fields.Datetime.now() + timedelta(seconds=5)
            self.env.flush_all()
            return {"user_info_list": [{"openid": self.openid, "subscribe": 0}]}

        self.wechat.answer(USERS_PATH, answer)
        self._run_cron()
        self.assertTrue(self.binding.is_subscribed)

    def test_bindings_are_compared_a_hundred_a_call_once_a_day(self):
        merchants = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(149)])
        self.env["wechat.binding"].create(
            [{"partner_id": m.id, "account_id": self.account.id, "openid": self._make_openid()} for m in merchants]
        )
        self._run_cron()
        self.assertEqual([len(asked) for asked in self._get_asked()], [100, 50])
        self._run_cron()
        self.assertEqual(self.wechat.count(USERS_PATH), 2)

    def test_an_unknown_openid_does_not_spoil_its_batch(self):
        """WeChat refuses a whole batch for one OpenID that it does not know. Only that one has left."""
        bindings = self.binding
        for number in range(4):
            bindings |= self._bind(self._create_merchant(f"商家 {number}"))
        bad = bindings[2]

        def answer(call):
            users = call.payload["user_list"]
            return INVALID if {"openid": bad.openid} in users else self._answer_users()(call)

        self.wechat.answer(USERS_PATH, *[answer] * 10)
        self._run_cron()
        self.assertEqual(bindings.filtered(lambda binding: not binding.is_subscribed), bad)

    @mute_logger(LOGGER)
    def test_an_account_of_another_app_changes_no_binding(self):
        other = self._bind(self.other_merchant)
        self.wechat.answer(USERS_PATH, *[INVALID] * 3)
        self._run_cron()
        self.assertTrue(self.binding.is_subscribed and other.is_subscribed)

    @mute_logger(LOGGER)
    def test_a_failing_account_does_not_delay_the_next(self):
        account = self._create_account()
        other = self._bind(self.other_merchant, account=account)
        self.wechat.answer(USERS_PATH, 502, self._answer_users(other.openid))
        self._run_cron()
        self.assertEqual((self.binding.is_subscribed, other.is_subscribed), (True, False))


class TestLostFollows(ReconciliationCase):
    """Follows by a scan are found after their push was lost."""

    def setUp(self):
        super().setUp()
        self.code = self._make_code(self.other_merchant)
        self.follower = self._make_openid()

    def _answer_followers(self, scene=None, followed_at=None, follower=None):
        follower = follower or self.follower
        openids = [self.openid, follower]
        self.wechat.answer(
            FOLLOWERS_PATH,
            {"total": 2, "count": 2, "data": {"openid": openids}, "next_openid": openids[-1]},
            {"total": 2, "count": 0, "next_openid": ""},
        )
        info = {"qr_scene_str": scene or self.code.scene_str, "subscribe_time": followed_at or int(time.time())}
        self.wechat.answer(USERS_PATH, *[self._answer_users(**{follower: info})] * 2)

    def test_a_lost_follow_is_found_and_bound(self):
        self._answer_followers()
        self._run_cron()
        self.assertBound(self.other_merchant, self.follower)
        self.assertEqual(self.code.state, "used")
        self.assertEqual(self._get_operations(self.other_merchant).mapped("operation")[-1], "bind")
        self.assertEqual(self._get_asked()[-1], {self.follower}, "A bound follower is not looked up")
        event = self._get_events()[-1]
        self.assertRecordValues(event, [{"event": "subscribe", "openid": self.follower, "state": "done"}])

    def test_a_follow_before_the_code_by_wechats_clock_is_bound(self):
        """A follow by a scan right after the code was made is earlier than the code if WeChat's clock is behind."""
        self._answer_followers(followed_at=int(time.time()) - 60)
        self._run_cron()
        self.assertBound(self.other_merchant, self.follower)

    def test_a_late_push_is_recognised(self):
        followed_at = int(time.time())
        self._answer_followers(followed_at=followed_at)
        self._run_cron()
        self._push_subscribe(self.follower, self.code.scene_str, create_time=followed_at)
        self.assertBound(self.other_merchant, self.follower)
        self.assertEqual(self._get_operations(self.other_merchant).mapped("operation").count("bind"), 1)

    def test_a_lost_follow_obeys_the_rules_of_a_scan(self):
        created_at = int(self.code.create_date.replace(tzinfo=timezone.utc).timestamp())
        for name, prepare, followed_at in (
            ("a foreign scene", lambda: self._answer_followers(scene="promotion"), None),
            ("an unknown scene", lambda: self._answer_followers(scene="mb_unknown"), None),
            ("before the code was made", lambda: None, created_at - 3600),
            ("after it had expired", lambda: None, created_at + 31 * 86400),
            ("revoked", lambda: self.code._revoke("x"), None),
        ):
            with self.subTest(name):
                prepare()
                if not self.wechat._answers[FOLLOWERS_PATH]:
                    self._answer_followers(followed_at=followed_at)
                self._run_cron()
                self.assertNotBound(self.other_merchant)
                self.wechat._answers.clear()
                self.env.cr.execute("UPDATE wechat_account SET last_follower_openid = NULL")
                self.env.invalidate_all()

    def test_only_new_followers_are_looked_up(self):
        """A run goes on after the last follower of the run before, or begins anew if that one has left."""
        self._answer_followers(scene="x")
        self._run_cron()
        self._run_cron()
        asked = [call.query.get("next_openid") for call in self.wechat.calls if call.path == FOLLOWERS_PATH]
        self.assertEqual(asked, [None, self.follower, self.follower])
        self.wechat.calls.clear()
        self.wechat.answer(FOLLOWERS_PATH, INVALID)
        self._answer_followers()
        self._run_cron()
        self.assertBound(self.other_merchant, self.follower)

    def test_followers_are_not_listed_without_an_open_code(self):
        self.code._revoke("x")
        self._run_cron()
        self.assertEqual(self.wechat.count(FOLLOWERS_PATH), 0)

    def test_a_code_that_expired_after_the_follow_is_bound(self):
        followed_at = self.code.create_date + timedelta(seconds=1)
        self.env.cr.execute(
            "UPDATE wechat_bind_code SET expires_at = %s, create_date = create_date - interval '2 hours' WHERE id = %s",
            [fields.Datetime.now() - timedelta(minutes=1), self.code.id],
        )
        self.env.invalidate_all()
        moment = followed_at - timedelta(hours=1)
        self._answer_followers(followed_at=int(moment.replace(tzinfo=timezone.utc).timestamp()))
        self._run_cron()
        self.assertBound(self.other_merchant, self.follower)
        self.assertLess(self._get_live_binding(self.other_merchant).last_event_at, datetime.now())
