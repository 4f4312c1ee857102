from datetime import datetime, timedelta, timezone

from ..common_push import WechatPushCase

END = datetime(2027, 3, 1, 16, 0)
LAST_YEAR = END - timedelta(days=365)


def to_timestamp(moment):
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


class TestVerificationEvents(WechatPushCase):
    """WeChat's events about the account's verification are kept on the account."""

    def _push_verification(self, event, sent_at, **fields):
        """Push an event whose sender is WeChat's own account."""
        answer = self._push_event(event, "oSystem-account-of-WeChat_000", to_timestamp(sent_at), **fields)
        self.assertSilent(answer)

    def _push_end(self, event, sent_at, ends_at):
        self._push_verification(event, sent_at, ExpiredTime=to_timestamp(ends_at))

    def assertVerified(self, ends_at, failure=False):
        self.assertRecordValues(self.account, [{"verification_expires_at": ends_at, "verification_failure": failure}])

    def test_every_event_tells_the_end(self):
        for number, event in enumerate(("qualification_verify_success", "naming_verify_success", "annual_renew")):
            with self.subTest(event):
                ends_at = END + timedelta(days=number)
                self._push_end(event, LAST_YEAR + timedelta(hours=number), ends_at)
                self.assertVerified(ends_at)
                self.assertEqual(self._get_events()[-1].state, "done")
        ended_at = LAST_YEAR + timedelta(days=1)
        self._push_end("verify_expired", ended_at + timedelta(minutes=5), ended_at)
        self.assertVerified(ended_at)

    def test_an_end_without_a_past_time_is_the_time_of_the_event(self):
        for fields in ({}, {"ExpiredTime": "soon"}, {"ExpiredTime": to_timestamp(END)}):
            with self.subTest(fields):
                self.account.write({"verification_expires_at": END, "verification_event_at": False})
                sent_at = LAST_YEAR + timedelta(seconds=len(self._get_events()))
                self._push_verification("verify_expired", sent_at, **fields)
                self.assertVerified(sent_at)

    def test_an_event_without_a_time_keeps_the_known_one(self):
        self.account.verification_expires_at = END
        self._push_verification("annual_renew", LAST_YEAR)
        self.assertVerified(END)
        self.assertEqual(self._get_events().state, "done")

    def test_a_refusal_is_kept_until_a_success(self):
        for kind, words in (("qualification", "qualification"), ("naming", "name")):
            with self.subTest(kind):
                self._push_end("annual_renew", LAST_YEAR, END)
                self._push_verification(
                    f"{kind}_verify_fail", LAST_YEAR, FailTime=to_timestamp(LAST_YEAR), FailReason="营业执照已过期"
                )
                self.assertIn(words, self.account.with_context(lang="en_US").verification_failure)
                self.assertIn("营业执照已过期", self.account.verification_failure)
                self.assertEqual(self.account.verification_expires_at, END)
                self._push_end(f"{kind}_verify_success", LAST_YEAR + timedelta(days=1), END + timedelta(days=365))
                self.assertVerified(END + timedelta(days=365))
                self.account.verification_event_at = False
                self.env["wechat.event"].search([]).unlink()

    def test_a_refusal_without_a_reason_is_kept(self):
        self._push_verification("qualification_verify_fail", LAST_YEAR)
        self.assertTrue(self.account.verification_failure)

    def test_an_event_that_is_handled_late_changes_nothing(self):
        self._push_end("qualification_verify_success", LAST_YEAR + timedelta(hours=2), END)
        self._push_end("verify_expired", LAST_YEAR + timedelta(hours=1), LAST_YEAR)
        self._push_verification("qualification_verify_fail", LAST_YEAR, FailReason="x")
        self.assertVerified(END)
        self.assertEqual(self._get_events().mapped("state"), ["done", "ignored", "ignored"])

    def test_a_redelivery_is_handled_once(self):
        for _delivery in range(3):
            self._push_end("annual_renew", LAST_YEAR, END)
        self.assertEqual(len(self._get_events()), 1)
        self.assertEqual(self._get_events().attempts, 1)

    def test_other_accounts_are_not_concerned(self):
        other = self._create_account()
        self._push_end("verify_expired", LAST_YEAR, LAST_YEAR)
        self.assertFalse(other.verification_expires_at)

    def test_the_events_have_names(self):
        self._push_end("annual_renew", LAST_YEAR, END)
        self.assertEqual(self._get_events().with_context(lang="en_US").display_name, "Yearly review is due")

    def test_a_change_is_logged(self):
        self._push_end("annual_renew", LAST_YEAR, END)
        operation = self.env["wechat.operation"].search([("account_id", "=", self.account.id)], limit=1)
        self.assertEqual(operation.operation, "settings")
        self.assertIn("2027-03-01", operation.note)
