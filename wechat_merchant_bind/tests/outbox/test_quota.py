from datetime import timedelta

from odoo import fields

from ..common import API_HOST, QUOTA_PATH
from ..common_outbox import OutboxCase

CRON = "wechat_merchant_bind.ir_cron_check_quota"


class TestQuota(OutboxCase):
    """The daily quota: checks, warnings and pauses."""

    def _answer(self, used, limit=100_000, remain=None):
        remain = limit - used if remain is None else remain
        self.wechat.answer(
            QUOTA_PATH, {"errcode": 0, "errmsg": "ok", "quota": {"daily_limit": limit, "used": used, "remain": remain}}
        )

    def _run_cron(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _age_check(self):
        self.env.cr.execute("UPDATE wechat_account SET quota_checked_at = quota_checked_at - interval '1 hour'")
        self.env.invalidate_all()

    def _get_activities(self):
        return self.account.activity_ids.filtered(
            lambda activity: activity.activity_type_id == self.env.ref("mail.mail_activity_data_todo")
        )

    def test_quota_is_checked_hourly(self):
        self._answer(1234)
        self._run_cron()
        self.assertRecordValues(
            self.account,
            [{"quota_used": 1234, "quota_limit": 100_000, "quota_percent": 1.234, "is_quota_short": False}],
        )
        [call] = [call for call in self.wechat.calls if call.path == QUOTA_PATH]
        self.assertEqual((call.host, call.payload), (API_HOST, {"cgi_path": "/cgi-bin/message/template/send"}))
        self._run_cron()
        self.assertEqual(self.wechat.count(QUOTA_PATH), 1)
        self._age_check()
        self._run_cron()
        self.assertEqual(self.wechat.count(QUOTA_PATH), 2)

    def test_failed_check_keeps_the_quota(self):
        self._answer(5)
        self._run_cron()
        for answer in ({"errcode": 48001, "errmsg": "api unauthorized"}, 502, {"errcode": 0, "errmsg": "ok"}):
            self._age_check()
            self.wechat.answer(QUOTA_PATH, answer)
            self._run_cron()
            self.assertEqual(self.account.quota_used, 5)
        other = self._create_account()
        self._age_check()
        self.wechat.answer(QUOTA_PATH, 502)
        self._answer(7)
        self._run_cron()
        self.assertEqual(sorted((self.account | other).mapped("quota_used")), [5, 7], "Other accounts are checked")

    def test_manager_is_warned_once(self):
        for used, is_short in ((79_999, False), (80_000, True), (99_999, True), (0, False), (90_000, True)):
            with self.subTest(used):
                self._age_check()
                self._answer(used)
                self._run_cron()
                self.assertEqual((self.account.is_quota_short, len(self._get_activities())), (is_short, int(is_short)))
        self.assertIn("90000", self._get_activities().note.replace(",", ""))

    def test_free_quota_ends_its_pause(self):
        self.account._pause_sending(3600, "x", 45009)
        self._answer(100_000)
        self._run_cron()
        self.assertTrue(self.account.is_send_paused, "The quota is still used up")
        self._answer(3)
        self._run_cron()
        self.assertFalse(self.account.is_send_paused)
        self.assertEqual(self.wechat.count(QUOTA_PATH), 2, "A paused account is checked at each run")

    def test_free_quota_keeps_other_pauses(self):
        self.account._pause_sending(3600, "x", 45011)
        self._answer(3)
        self._run_cron()
        self.assertTrue(self.account.is_send_paused)

    def test_expected_end_of_the_outbox(self):
        self.assertRecordValues(self.account, [{"outbox_count": 0, "outbox_ends_at": False}])
        self.account.send_rate = 2
        self._queue(count=10)
        self._queue(state="failed")
        self.env.invalidate_all()
        self.assertEqual(self.account.outbox_count, 10)
        self.assertAlmostEqual(
            self.account.outbox_ends_at, fields.Datetime.now() + timedelta(seconds=5), delta=timedelta(seconds=5)
        )
        self.account._pause_sending(3600, "x")
        self.env.invalidate_all()
        self.assertGreater(self.account.outbox_ends_at, fields.Datetime.now() + timedelta(minutes=59))
        self._answer(95, limit=100)
        self._run_cron()
        self.assertTrue(self.account.is_outbox_over_quota)

    def test_start_page_shows_the_quota(self):
        self._queue()
        self._queue(state="failed", failure_type="wechat_system")
        self._queue(state="unknown", failure_type="wechat_unknown")
        old = self._queue(state="failed", failure_type="wechat_system")
        self._set(old, create_date="create_date - interval '2 days'")
        self._make_code(self.other_merchant)
        accounts = self.env["wechat.account"].with_user(self.user)
        tiles = {tile["key"]: tile["value"] for tile in accounts.get_overview()["tiles"]}
        self.assertEqual([tiles[key] for key in ("outbox", "failed", "unknown")], [1, 1, 1])

    def _get_alerts(self):
        self.env.flush_all()
        self.env.invalidate_all()
        return self.env["wechat.account"].with_user(self.manager).get_overview()["alerts"]

    def test_start_page_shows_problems(self):
        self._make_code(self.other_merchant)
        self._keep_schedule()
        self.assertEqual(self._get_alerts(), [])
        self.template.stop_reason = "x"
        self.account.send_stop_reason = "40001"
        alerts = self._get_alerts()
        self.assertEqual([alert["action"]["res_model"] for alert in alerts], ["wechat.account", "wechat.template"])
        self.account.send_stop_reason = self.template.stop_reason = False
        stuck = self._queue(state="sending")
        self._set(stuck, lease_until="now() AT TIME ZONE 'UTC' - interval '1 hour'")
        [alert] = self._get_alerts()
        self.assertIn("Scheduled actions", alert["text"])
