from datetime import timedelta
from unittest.mock import patch

from freezegun import freeze_time
from psycopg2.errors import SerializationFailure

from odoo.exceptions import ValidationError
from odoo.tools import mute_logger

from ..common import QR_PATH, TOKEN_PATH
from .test_mailing import MailingCase

REMINDING = "odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_code"
START = "2040-03-01 01:00:00"


class RemindingCase(MailingCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.account.write({"remind_interval_days": 7, "remind_max": 2})

    def setUp(self):
        super().setUp()
        self.commit_progress = self.startPatcher(patch.object(type(self.env["ir.cron"]), "_commit_progress"))
        self.commit_progress.return_value = 60
        self.clock = self.startPatcher(freeze_time(START))

    def _make_code(self, partner=None, user=None):
        code = super()._make_code(partner, user)
        # freezegun does not change PostgreSQL's clock.
        self._set_created(code)
        return code

    def _set_created(self, code):
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE wechat_bind_code SET create_date = %s WHERE id = %s", [self.clock().replace(tzinfo=None), code.id]
        )
        code.invalidate_recordset(["create_date"])

    def _ask(self, code):
        """Create the request of a scan that needs a confirmation."""
        openid = self._make_openid()
        self.env["wechat.bind.request"]._request_confirmation(code, openid, self.clock().replace(tzinfo=None))
        return self.env["wechat.bind.request"].search([("code_id", "=", code.id), ("openid", "=", openid)])

    def _run(self, **later):
        """Advance the clock, run the scheduled action, and return the e-mails."""
        self.clock.tick(timedelta(**later))
        self.env.invalidate_all()
        self.env["wechat.bind.code"]._cron_remind()
        return self._send_queue()


class TestRemind(RemindingCase):
    def test_reminders_follow_the_interval_and_the_maximum(self):
        code = self._make_code()
        self.assertFalse(self._run(days=6, hours=23, minutes=59))
        [message] = self._run(minutes=1)
        self.assertCarriesCode(message, code)
        self.assertEqual(message["Subject"], "提醒：您还没有绑定微信")
        self.assertIn("hello@ourselves.example.com", message["From"])
        self.assertEqual(code.reminder_count, 1)
        self.assertFalse(self._run(days=6), "Not every day")
        # The scheduled action does not start at the same second every day.
        self.assertEqual(len(self._run(days=1, minutes=-5)), 1)
        self.assertFalse(self._run(days=8))
        self.assertEqual(code.reminder_count, 2)
        self.assertOperations(self.merchant, ["generate", "remind", "remind"])
        self.assertIn("b***@westlake.example.com", self._get_operations()[-1].note)

    def test_no_reminders_without_an_interval(self):
        self._make_code()
        self.account.remind_interval_days = 0
        self.assertFalse(self._run(days=20))

    def test_reminding_is_off_by_default(self):
        account = self._create_account()
        self.assertEqual((account.remind_interval_days, account.reissue_days_before), (0, 0))

    def test_only_merchants_with_a_waiting_code_are_reminded(self):
        for name in ("bound", "disabled", "mailless", "blacklisted", "revoked", "scanned"):
            merchant = self._create_merchant(name, email=f"{name}@example.com")
            code = self._make_code(merchant)
            if name == "bound":
                self._bind(merchant)
            elif name == "disabled":
                merchant.active = False
            elif name == "mailless":
                merchant.email = False
            elif name == "blacklisted":
                self.env["mail.blacklist"]._add(merchant.email)
            elif name == "revoked":
                code._revoke("x")
            else:
                code._mark_used()
        self._create_merchant("never given a code", email="never@example.com")
        self._make_code()
        [message] = self._run(days=8)
        self.assertIn(self.merchant.email, message["To"])
        self.assertFalse(self._run(days=23), "Expired")

    def test_a_scan_waiting_for_confirmation_is_not_reminded(self):
        self.account.bind_confirmation = "approval"
        code = self._make_code()
        request = self._ask(code)
        self.assertFalse(self._run(days=8), "It waits for the confirmation")
        request.action_reject()
        self.assertEqual(len(self._run(hours=1)), 1)

    def test_a_scan_during_the_run_is_not_reminded(self):
        self.account.bind_confirmation = "approval"
        codes = self._make_code() + self._make_code(self.other_merchant)
        self._ask(codes[0])
        codes._remind()
        [message] = self._send_queue()
        self.assertIn(self.other_merchant.email, message["To"])

    def test_contacts_of_a_disabled_merchant_are_not_reminded(self):
        contact = self._create_merchant(
            "会计", is_company=False, parent_id=self.merchant.id, email="accountant@example.com"
        )
        code = self._make_code(contact)
        self.merchant.active = False
        code.state = "active"
        self.assertFalse(self._run(days=8))

    def test_a_new_code_does_not_restart_the_reminders(self):
        self._make_code()
        self._run(days=7)
        code = self.merchant.with_user(self.user)._wechat_regenerate_bind_code().sudo()
        self._set_created(code)
        self.assertEqual(code.reminder_count, 1)
        self.assertFalse(self._run(days=6))
        self.assertEqual(len(self._run(days=1)), 1)
        self.assertFalse(self._run(days=10))

    def test_a_concurrent_change_does_not_delay_others(self):
        """As if a scan changed a code between its reading and its writing."""
        codes = [self._make_code(merchant) for merchant in (self.merchant, self.other_merchant)]
        remind = type(codes[0])._remind

        def changed(batch):
            remind(batch)
            if self.merchant in batch.partner_id:
                raise SerializationFailure

        with patch.object(type(codes[0]), "_remind", changed), patch(f"{REMINDING}.REMIND_BATCH", 1):
            [message] = self._run(days=7)
        self.assertIn(self.other_merchant.email, message["To"])
        self.assertEqual([code.reminder_count for code in codes], [0, 1])
        self.assertEqual(len(self._run(hours=1)), 1, "The next run sends it")

    def test_a_run_ends_when_its_time_is_up(self):
        for merchant in (self.merchant, self.other_merchant):
            self._make_code(merchant)
        self.commit_progress.side_effect = [60, 0]
        with patch(f"{REMINDING}.REMIND_BATCH", 1):
            self.assertEqual(len(self._run(days=7)), 1)
        self.commit_progress.side_effect = None
        self.assertEqual(len(self._run(hours=1)), 1)

    def test_reminders_are_sent_by_the_company(self):
        company = self.env["res.company"].create({"name": "分公司", "email": "branch@example.com"})
        self._create_account(company_id=company.id, remind_interval_days=7)
        merchant = self._create_merchant("外地商家", company_id=company.id, email="far@example.com")
        self._set_created(self.env["wechat.bind.code"]._create_for(merchant))
        [message] = self._run(days=7)
        self.assertIn("branch@example.com", message["From"])

    def test_invalid_settings_are_refused(self):
        for values in ({"remind_interval_days": -1}, {"remind_max": 0}, {"reissue_days_before": 30}):
            with self.subTest(values=values), mute_logger("odoo.sql_db"), self.assertRaises(Exception) as error:
                with self.env.cr.savepoint():
                    self.account.write(values)
                    self.env.flush_all()
            self.assertIn(type(error.exception).__name__, ("CheckViolation", ValidationError.__name__))


class TestReissue(RemindingCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.account.write({"remind_interval_days": 0, "reissue_days_before": 3})

    def test_a_code_is_replaced_before_it_expires(self):
        former = self._make_code()
        former.write({"reminder_count": 1, "last_reminded_at": START})
        self.assertFalse(self._run(days=26, hours=23, minutes=59))
        [message] = self._run(minutes=1)
        code = self.merchant.wechat_open_code_id
        self.assertNotEqual(code, former)
        self.assertEqual((former.state, code.user_id), ("revoked", self.user))
        self.assertEqual((code.reminder_count, str(code.last_reminded_at), code.reissue_count), (1, START, 1))
        self.assertCarriesCode(message, code)
        self.assertOperations(self.merchant, ["generate", "revoke", "generate", "send"])
        self.assertFalse(self._run(hours=1))

    def test_a_code_with_a_pending_request_is_kept(self):
        self.account.bind_confirmation = "approval"
        code = self._make_code()
        request = self._ask(code)
        self.assertFalse(self._run(days=28))
        self.assertEqual((code.state, request.state), ("active", "pending"))
        code._reissue()
        self.assertEqual((code.state, request.state), ("active", "pending"), "Scanned after it was selected")
        request.with_user(self.user).action_accept()
        self.assertBound(self.merchant, request.openid)

    def test_a_code_with_a_rejected_request_is_replaced(self):
        self.account.bind_confirmation = "approval"
        code = self._make_code()
        self._ask(code).action_reject()
        self.assertEqual(len(self._run(days=28)), 1)
        self.assertEqual(code.state, "revoked")

    def test_a_code_is_replaced_three_times_at_most(self):
        self._make_code()
        self.assertEqual([len(self._run(days=27)) for _month in range(5)], [1, 1, 1, 0, 0])

    def test_a_refused_account_gets_no_further_calls(self):
        company = self.env["res.company"].create({"name": "分公司", "email": "branch@example.com"})
        self._create_account(company_id=company.id, sequence=20, reissue_days_before=3)
        third = self._create_merchant("第三家", company_id=company.id, email="third@example.com")
        codes = [self._make_code(merchant) for merchant in (self.merchant, self.other_merchant)]
        self.env["wechat.bind.code"]._create_for(third)
        calls = self.wechat.count(QR_PATH)
        self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1-2-3"})
        with self.assertLogs(REMINDING, "WARNING"):
            messages = self._run(days=28)
        self.assertEqual(self.wechat.count(QR_PATH) - calls, 2, "One refused call, and one of the other account")
        self.assertEqual([code.state for code in codes], ["active", "active"])
        [message] = messages
        self.assertIn("third@example.com", message["To"])
        self.assertEqual(len(self._run(hours=1)), 2, "The next run tries again")

    def test_the_code_is_kept_if_wechat_refuses(self):
        code = self._make_code()
        self.wechat.answer(TOKEN_PATH, {"errcode": 40125, "errmsg": "invalid appsecret"})
        self.env["wechat.access.token"].search([]).write({"token": False})
        with mute_logger(REMINDING):
            self.assertFalse(self._run(days=28))
        self.assertEqual(code.state, "active")

    def test_merchants_without_email_or_bound_get_no_new_code(self):
        self._make_code(self._create_merchant("没有邮箱的"))
        bound = self._create_merchant("已绑定的", email="bound@example.com")
        self._make_code(bound)
        self._bind(bound)
        calls = self.wechat.count(QR_PATH)
        self.assertFalse(self._run(days=28))
        self.assertEqual(self.wechat.count(QR_PATH), calls)
