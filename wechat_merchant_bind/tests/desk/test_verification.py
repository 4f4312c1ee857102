import logging
from datetime import timedelta, timezone
from unittest.mock import patch

from odoo import fields
from odoo.tools.misc import format_datetime

from ..common_push import WechatPushCase

CRON = "wechat_merchant_bind.ir_cron_check_health"
LOGGER = "odoo.addons.wechat_merchant_bind.models.desk.wechat_account_health"


def to_timestamp(moment):
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


class TestVerificationAlerts(WechatPushCase):
    """A manager is alerted before and when the account's verification ends, and when WeChat refuses it."""

    def setUp(self):
        super().setUp()
        self._keep_schedule()
        self.env["wechat.account"].search([("id", "!=", self.account.id)]).active = False
        self.manager_of_account = self.account._get_responsible_manager()
        self.manager_of_account.write({"lang": "en_US", "tz": "Asia/Shanghai"})
        self.now = fields.Datetime.now()
        self.sent_at = self.now - timedelta(hours=6)

    def _push_verification(self, event, **values):
        """Push an event, each some minutes after the one before, and run the check that it wakes."""
        self.sent_at += timedelta(minutes=5)
        timestamps = {name: to_timestamp(value) if name.endswith("Time") else value for name, value in values.items()}
        woken = []
        crons = type(self.env["ir.cron"])
        with patch.object(crons, "_trigger", lambda cron, at=None: woken.append(cron.id)):
            self._push_event(event, "oSystem", to_timestamp(self.sent_at), **timestamps)
        self.assertEqual(woken, [self.env.ref(CRON).id])
        self._check()

    def _check(self):
        self.env.flush_all()
        with self.assertLogs(LOGGER, logging.INFO):
            self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _get_activities(self):
        kind = self.env.ref("wechat_merchant_bind.mail_activity_type_health")
        return self.account.activity_ids.filtered(lambda activity: activity.activity_type_id == kind)

    def _get_line(self):
        lines = self.account.with_user(self.manager).health_ids
        return lines.filtered(lambda line: line.kind == "verification")

    def assertAlert(self, state, *texts):
        """Check the account's health and its one activity."""
        self.assertEqual(self._get_line().state, state)
        activity = self._get_activities()
        self.assertEqual(len(activity), 1)
        self.assertEqual(activity.user_id, self.manager_of_account)
        for text in texts:
            self.assertIn(text, f"{activity.summary} {activity.note}")
        return activity

    def assertNoAlert(self):
        self.assertEqual(self._get_line().state, "ok")
        self.assertFalse(self._get_activities())

    def test_an_account_without_events_has_no_alert(self):
        self._check()
        self.assertNoAlert()

    def test_the_yearly_review_is_announced_until_it_has_succeeded(self):
        ends_at = self.now + timedelta(days=40)
        self._push_verification("annual_renew", ExpiredTime=ends_at)
        date = format_datetime(self.env(context={"lang": "en_US", "tz": "Asia/Shanghai"}), ends_at)
        activity = self.assertAlert("warning", date, "template messages", "QR codes", "WeChat's console")
        self._push_verification("annual_renew", ExpiredTime=ends_at)
        self.assertEqual(self._get_activities(), activity)
        self._push_verification("qualification_verify_success", ExpiredTime=ends_at + timedelta(days=365))
        self.assertNoAlert()

    def test_an_end_that_came_without_a_reminder_is_announced(self):
        """The success of the year before has told the end already."""
        self._push_verification("naming_verify_success", ExpiredTime=self.now + timedelta(days=200))
        self.assertNoAlert()
        self.account.verification_expires_at = self.now + timedelta(days=60)
        self._check()
        self.assertAlert("warning", "ends on")

    def test_an_ended_verification_stays_red_until_it_is_renewed(self):
        self._push_verification("annual_renew", ExpiredTime=self.now + timedelta(days=1))
        announced = self._get_activities()
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(minutes=1))
        self.assertEqual(self.assertAlert("problem", "has ended", "template messages"), announced)
        announced.action_feedback()
        self._check()
        self.assertFalse(self._get_activities(), "The manager knows")
        self.assertEqual(self._get_line().state, "problem")
        self._push_verification("qualification_verify_success", ExpiredTime=self.now + timedelta(days=365))
        self.assertNoAlert()

    def test_a_closed_announcement_returns_when_the_verification_has_ended(self):
        self._push_verification("annual_renew", ExpiredTime=self.now + timedelta(days=1))
        self._get_activities().action_feedback()
        self.account.verification_expires_at = self.now - timedelta(minutes=1)
        self._check()
        self.assertAlert("problem", "has ended")

    def test_a_refusal_is_told_with_its_reason(self):
        self._push_verification("annual_renew", ExpiredTime=self.now + timedelta(days=300))
        self.assertNoAlert()
        self._push_verification("qualification_verify_fail", FailTime=self.now, FailReason="营业执照 <b>过期</b>")
        activity = self.assertAlert("warning", "营业执照 &lt;b&gt;过期&lt;/b&gt;", "qualification")
        self._push_verification("naming_verify_fail", FailTime=self.now, FailReason="名称已被占用")
        self.assertEqual(self.assertAlert("warning", "名称已被占用", "name"), activity)
        self._push_verification("naming_verify_success", ExpiredTime=self.now + timedelta(days=300))
        self.assertNoAlert()

    def test_a_refusal_of_an_account_without_rights_is_a_problem(self):
        self._push_verification("qualification_verify_fail", FailTime=self.now, FailReason="x")
        self.assertAlert("problem", "x")
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(days=2))
        self._push_verification("qualification_verify_fail", FailTime=self.now, FailReason="资料不全")
        self.assertAlert("problem", "资料不全", "has ended")

    def test_the_alert_is_in_the_managers_language(self):
        self.manager_of_account.lang = "zh_CN"
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(days=2))
        source = "The verification of the Official Account has ended."
        self.assertEqual(self._get_activities().summary, self.env(context={"lang": "zh_CN"})._(source))

    def test_no_mail_and_no_call_within_the_push(self):
        mails = self.env["mail.mail"].search_count([])
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(days=2))
        self.assertTrue(self._get_activities())
        self.assertEqual(self.env["mail.mail"].search_count([]), mails)
        self.assertFalse(self.wechat.calls)

    def test_a_manager_corrects_the_end(self):
        """WeChat's message about the renewal was lost."""
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(days=2))
        self.account.with_user(self.manager).verification_expires_at = self.now + timedelta(days=365)
        self._check()
        self.assertNoAlert()

    def test_the_start_page_shows_it(self):
        self._push_verification("verify_expired", ExpiredTime=self.now - timedelta(days=2))
        alerts = self.env["wechat.account"].with_user(self.manager)._get_overview_alerts()
        self.assertIn("verification", alerts[0]["text"])
        self.assertTrue(alerts[0]["is_problem"])
