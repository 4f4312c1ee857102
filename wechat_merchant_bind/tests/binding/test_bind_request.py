import time
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError, ConcurrencyError, UserError
from odoo.tools import mute_logger

from ...models.binding.wechat_bind_request import CODE_ATTEMPTS, REQUEST_ATTEMPTS
from ...models.inbox import wechat_event as inbox_event
from ..common import USER_PATH
from ..common_push import WechatPushCase

PHONE = "+86 138 5710 2368"
RIGHT, WRONG = "2368", "0000"


class RequestCase(WechatPushCase):
    confirmation = "approval"

    def setUp(self):
        super().setUp()
        self.account.bind_confirmation = self.confirmation
        self.merchant.phone = PHONE
        self.code, self.openid = self._make_code(), self._make_openid()
        self._msg_ids = iter(range(24_000_000_000_000_000, 25_000_000_000_000_000))

    def _ask(self, openid=None, code=None, **kwargs):
        """Scan the code, and return the request and the answer."""
        openid = openid or self.openid
        answer = self._push_scan(code or self.code, openid, **kwargs)
        return self._get_requests((code or self.code).partner_id, openid), answer

    def _get_requests(self, partner=None, openid=None):
        domain = [("partner_id", "=", (partner or self.merchant).id)]
        return self.env["wechat.bind.request"].search([*domain, *([("openid", "=", openid)] if openid else [])])

    def _type(self, content, openid=None, **kwargs):
        return self._push_text(openid or self.openid, content, next(self._msg_ids), **kwargs)

    def assertToCustomerService(self, answer):
        """Check that a message was handed over to customer service."""
        self.assertEqual((answer.status, answer.reply.get("MsgType")), (200, "transfer_customer_service"))


class TestAsk(RequestCase):
    def test_a_scan_creates_a_pending_request(self):
        request, answer = self._ask()
        self.assertReply(answer, "我们确认后", to=self.openid)
        self.assertNotIn(self.merchant.name, answer.reply["Content"], "The scanner may be the wrong person")
        self.assertNotBound(self.merchant)
        self.assertEqual(self.code.state, "active", "The right person can still scan it")
        self.assertRecordValues(
            request,
            [
                {
                    "state": "pending",
                    "method": "approval",
                    "code_id": self.code.id,
                    "account_id": self.account.id,
                    "company_id": self.account.company_id.id,
                    "openid": self.openid,
                    "decided_by": False,
                    "decided_at": False,
                }
            ],
        )
        self.assertOperations(self.merchant, ["generate", "request"])
        self.assertChatter(self.merchant, request.openid_masked, "approval", author=self.env.ref("base.partner_root"))
        self.assertNotIn(self.openid, "".join(self.merchant.message_ids.mapped("body")))

    def test_the_user_of_the_code_gets_an_activity(self):
        request, _answer = self._ask()
        activity = self.merchant.activity_ids
        self.assertRecordValues(activity, [{"user_id": self.user.id, "summary": "Confirm the WeChat binding"}])
        self.assertIn(request.openid_masked, activity.note)
        self._ask(create_time=1_790_000_100)
        self.assertEqual(self.merchant.activity_ids, activity)
        request.with_user(self.manager).action_reject()
        self.assertFalse(activity.exists())

    def test_a_manager_gets_the_activity_of_a_portal_code(self):
        self.code.user_id = self.portal
        self._ask()
        self.assertIn(self.merchant.activity_ids.user_id, self.account._get_managers())
        self.code._revoke("x")
        self.env["wechat.bind.request"]._close_ended()
        self.env.invalidate_all()
        self.assertFalse(self.merchant.activity_ids, "The code has ended")

    def test_digits_create_no_activity(self):
        self.account.bind_confirmation = "phone"
        self._ask()
        self.assertFalse(self.merchant.activity_ids)

    def test_a_repeated_scan_creates_no_second_request(self):
        _request, first = self._ask(create_time=1_790_000_000)
        request, second = self._ask(create_time=1_790_000_100)
        self.assertEqual(len(request), 1)
        self.assertEqual(first.reply["Content"], second.reply["Content"])
        self.assertOperations(self.merchant, ["generate", "request"])

    def test_a_new_follower_creates_a_request(self):
        self.assertReply(self._push_subscribe(self.openid, self.code.scene_str), "我们确认后")
        self.assertEqual(len(self._get_requests()), 1)

    def test_a_refused_scan_creates_no_request(self):
        self._bind(self.other_merchant, self.openid)
        request, answer = self._ask()
        self.assertReply(answer, "已绑定")
        self.assertFalse(request)
        self.assertOperations(self.merchant, ["generate", "refuse"])

    def test_a_code_that_expired_after_the_scan_is_refused(self):
        self.code.expires_at = fields.Datetime.now() - timedelta(seconds=10)
        request, answer = self._ask(create_time=int(time.time()) - 60)
        self.assertReply(answer, "已过期")
        self.assertFalse(request)

    def test_without_the_setting_a_scan_binds_at_once(self):
        self.account.bind_confirmation = "none"
        request, answer = self._ask()
        self.assertReply(answer, "绑定成功")
        self.assertBound(self.merchant, self.openid)
        self.assertFalse(request)


class TestDecide(RequestCase):
    def test_accepting_binds_the_scanner(self):
        request, _answer = self._ask(create_time=1_790_000_000)
        rival, _answer = self._ask(self._make_openid())
        self.assertTrue(request.with_user(self.user).action_accept())
        self.assertBound(self.merchant, self.openid)
        self.assertRecordValues(request, [{"state": "accepted", "decided_by": self.user.id}])
        self.assertTrue(request.decided_at)
        self.assertEqual(rival.state, "rejected")
        self.assertEqual(self.code.state, "used")
        binding = self._get_live_binding()
        self.assertRecordValues(binding, [{"code_id": self.code.id, "source": "scan"}])
        self.assertEqual(binding.last_event_at, request.scanned_at)
        self.assertOperations(self.merchant, ["generate", "request", "request", "bind", "refuse"])
        operation = self._get_operations()[3]
        self.assertEqual((operation.user_id, operation.openid_masked), (self.user, request.openid_masked))
        self.assertIn(f"Confirmed by {self.user.name}", operation.note)

    def test_a_rejected_scanner_can_not_ask_again(self):
        request, _answer = self._ask()
        request.with_user(self.user).action_reject("不认识此人")
        self.assertNotBound(self.merchant)
        self.assertRecordValues(request, [{"state": "rejected", "reason": "不认识此人", "decided_by": self.user.id}])
        self.assertOperations(self.merchant, ["generate", "request", "refuse"])
        self.assertChatter(self.merchant, "不认识此人", author=self.user.partner_id)
        self.assertEqual(self.code.state, "active")
        again, answer = self._ask(create_time=int(time.time()) + 1)
        self.assertReply(answer, "未通过")
        self.assertEqual(again, request, "An OpenID has one request per code")
        right, _answer = self._ask(self._make_openid())
        right.with_user(self.user).action_accept()
        self.assertBound(self.merchant, right.openid)

    def test_decided_requests_can_not_be_decided_again(self):
        request, _answer = self._ask()
        request.with_user(self.user).action_reject()
        for method in ("action_accept", "action_reject"):
            with self.subTest(method=method), self.assertRaisesRegex(UserError, "Rejected"):
                getattr(request.with_user(self.user), method)()
        self.assertNotBound(self.merchant)

    def test_only_users_of_the_company_decide(self):
        request, _answer = self._ask()
        company = self.env["res.company"].create({"name": "另一家公司"})
        stranger = self._create_user(
            "stranger", "wechat_merchant_bind.group_manager", company_id=company.id, company_ids=[(6, 0, company.ids)]
        )
        for user in (self.employee, self.portal, self.public, stranger):
            for method in ("action_accept", "action_reject"):
                with self.subTest(user=user.login, method=method), self.assertRaises(AccessError):
                    getattr(request.with_user(user), method)()
        self.assertEqual(request.state, "pending")
        self.assertNotBound(self.merchant)

    def test_requests_can_not_be_forged(self):
        request, _answer = self._ask()
        values = {name: request[name] for name in ("openid", "scanned_at", "method")}
        values.update(partner_id=self.other_merchant.id, code_id=self.code.id, account_id=self.account.id)
        for user in (self.user, self.manager):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    request.with_user(user).write({"partner_id": self.other_merchant.id})
                with self.assertRaises(AccessError):
                    self.env["wechat.bind.request"].with_user(user).create(values)
        with self.assertRaises(AccessError):
            request.with_user(self.user).read(["openid"])
        self.assertIn("…", request.with_user(self.user).openid_masked)

    def test_accepting_checks_all_refusals(self):
        def bind_openid():
            self._bind(self.other_merchant, self.openid)

        def bind_merchant():
            self._bind()

        def disable():
            self.merchant.active = False
            self.code.state = "active"
            self._get_requests().state = "pending"

        def expire():
            self.code.expires_at = fields.Datetime.now()

        def move():
            company = self.env["res.company"].create({"name": "另一家公司"})
            self.env.cr.execute("UPDATE res_partner SET company_id = %s WHERE id = %s", [company.id, self.merchant.id])
            self.env.invalidate_all()

        for change, words in (
            (bind_openid, "already bound to 绍兴黄酒行"),
            (bind_merchant, "already bound to another WeChat"),
            (disable, "disabled"),
            (expire, "expired"),
            (lambda: self.code.write({"state": "used"}), "already used"),
            (move, "another company"),
        ):
            with self.subTest(words=words), self.env.cr.savepoint() as savepoint:
                request, _answer = self._ask()
                change()
                self.env.flush_all()
                with self.assertRaisesRegex(UserError, words):
                    request.sudo().action_accept()
                self.assertEqual(request.state, "pending")
                savepoint.rollback()
                self.env.invalidate_all()

    @mute_logger("odoo.sql_db")
    def test_a_concurrent_binding_repeats_the_request(self):
        request, _answer = self._ask()
        bindings = type(self.env["wechat.binding"])
        nothing = self.env["wechat.binding"]
        self._bind(self.other_merchant, self.openid)
        with (
            patch.object(bindings, "_find_conflicts", lambda *args: (nothing, nothing)),
            self.assertRaises(ConcurrencyError),
        ):
            request.with_user(self.user).action_accept()
        self.assertEqual(request.state, "pending", "Odoo repeats the HTTP request")
        self.assertNotBound(self.merchant)

    def test_a_scanner_that_unfollowed_is_bound_as_unfollowed(self):
        now = int(time.time())
        request, _answer = self._ask(create_time=now - 20)
        self._push_unsubscribe(self.openid, create_time=now - 10)
        request.with_user(self.user).action_accept()
        self.assertRecordValues(self.merchant, [{"wechat_state": "unfollowed", "is_wechat_bound": True}])

    def test_the_dialog_accepts_requests(self):
        request, _answer = self._ask()
        action = self.merchant.with_user(self.user).action_wechat_bind_code()
        show = self.env[action["res_model"]].browse(action["res_id"]).with_user(self.user)
        self.assertEqual((show.state, show.request_ids), ("confirming", request))
        found = request.with_user(self.user).with_context(wechat_bind_code_show_id=show.id).action_accept()
        self.assertEqual((found["res_model"], found["res_id"]), (show._name, show.id))
        show.invalidate_recordset()
        self.assertEqual(show.state, "bound")


class TestEnd(RequestCase):
    """A request ends with its code."""

    def _check(self, request, state="expired"):
        self.assertEqual(request.state, state)
        with self.assertRaises(UserError):
            request.with_user(self.user).action_accept()
        self.assertNotBound(self.merchant)

    def test_an_expired_code_ends_the_request(self):
        request, _answer = self._ask()
        self.code.expires_at = fields.Datetime.now()
        self.env["wechat.bind.code"]._cron_expire()
        self._check(request)

    def test_a_revoked_code_ends_the_request(self):
        request, _answer = self._ask()
        self.code._revoke("test")
        self._check(request)

    def test_a_disabled_merchant_ends_the_request(self):
        request, _answer = self._ask()
        self.merchant.action_archive()
        self._check(request)

    def test_a_new_code_ends_the_request(self):
        request, _answer = self._ask()
        self.merchant.with_user(self.user)._wechat_regenerate_bind_code()
        self._check(request)

    def test_a_disabled_account_ends_the_request(self):
        request, _answer = self._ask()
        self.account.active = False
        self._check(request)

    def test_a_used_code_ends_the_request(self):
        request, _answer = self._ask()
        self.account.bind_confirmation = "none"
        openid = self._make_openid()
        self._ask(openid)
        self.assertBound(self.merchant, openid)
        with self.assertRaisesRegex(UserError, "already bound"):
            request.with_user(self.user).action_accept()
        self.env["wechat.bind.code"]._cron_expire()
        self.assertEqual(request.state, "expired")

    def test_a_deleted_merchant_deletes_the_request(self):
        request, _answer = self._ask()
        self.merchant.unlink()
        self.assertFalse(request.exists())

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def test_a_merge_moves_the_request(self):
        request, _answer = self._ask()
        wizard = self.env["base.partner.merge.automatic.wizard"]
        wizard._merge((self.merchant + self.other_merchant).ids, self.other_merchant)
        self.env.invalidate_all()
        self.assertRecordValues(request, [{"partner_id": self.other_merchant.id, "state": "pending"}])
        request.with_user(self.user).action_accept()
        self.assertBound(self.other_merchant, self.openid)

    def test_the_request_of_a_leaver_is_erased(self):
        self.account.write({"leaver_policy": "erase", "leaver_days": 30})
        now = int(time.time())
        request, _answer = self._ask(create_time=now - 32 * 86400)
        self._push_unsubscribe(self.openid, create_time=now - 31 * 86400)
        self.wechat.answer(USER_PATH, {"subscribe": 0, "openid": self.openid})
        self.env.ref("wechat_merchant_bind.ir_cron_erase_leavers").method_direct_trigger()
        self.assertFalse(request.exists())

    def test_old_decided_requests_are_deleted(self):
        request, _answer = self._ask()
        pending, _answer = self._ask(self._make_openid())
        request.with_user(self.user).action_reject()
        old = fields.Datetime.subtract(fields.Datetime.now(), days=self.account.event_retention_days, minutes=1)
        self.env["wechat.bind.request"]._gc_requests()
        self.assertTrue(request.exists())
        request.decided_at = old
        pending.scanned_at = old
        self.env["wechat.bind.request"]._gc_requests()
        self.assertFalse(request.exists())
        self.assertTrue(pending.exists())


class TestDigits(RequestCase):
    confirmation = "phone"

    def test_right_digits_bind_the_scanner(self):
        request, answer = self._ask()
        self.assertEqual(request.method, "phone")
        self.assertReply(answer, "后 4 位", to=self.openid)
        self.assertReply(self._type(" ２３６８ "), "杭州西湖茶庄，公众号绑定成功", to=self.openid)
        self.assertBound(self.merchant, self.openid)
        self.assertRecordValues(request, [{"state": "accepted", "decided_by": False, "attempts": 0}])
        self.assertOperations(self.merchant, ["generate", "request", "bind"])
        self.assertChatter(self.merchant, "last 4 digits", self.user.name, author=self.env.ref("base.partner_root"))
        self.assertEqual(self._get_events()[-1].state, "done")
        self.assertToCustomerService(self._type(RIGHT))

    def test_three_wrong_answers_end_the_request(self):
        request, _answer = self._ask()
        for left in range(REQUEST_ATTEMPTS - 1, 0, -1):
            self.assertReply(self._type(WRONG), f"再试 {left} 次")
        self.assertReply(self._type(WRONG), "申请已关闭")
        self.assertRecordValues(request, [{"state": "rejected", "attempts": REQUEST_ATTEMPTS}])
        self.assertOperations(self.merchant, ["generate", "request", "refuse"])
        self.assertToCustomerService(self._type(RIGHT))
        self.assertReply(self._ask(create_time=int(time.time()) + 1)[1], "未通过")
        self.assertToCustomerService(self._type(RIGHT))
        self.assertNotBound(self.merchant)
        openid = self._make_openid()
        self._ask(openid)
        self.assertReply(self._type(RIGHT, openid), "绑定成功")
        self.assertBound(self.merchant, openid)

    def test_ten_wrong_answers_revoke_the_code(self):
        tries = 0
        bystander, _answer = self._ask(self._make_openid())
        while tries < CODE_ATTEMPTS:
            openid = self._make_openid()
            request, _answer = self._ask(openid)
            for _try in range(min(REQUEST_ATTEMPTS, CODE_ATTEMPTS - tries)):
                self.assertEqual(self.code.state, "active")
                answer = self._type(WRONG, openid)
                tries += 1
        self.assertReply(answer, "绑定码已失效")
        self.assertEqual(self.code.state, "revoked")
        self.assertEqual((request.state, bystander.state), ("rejected", "expired"))
        self.assertEqual(self._get_operations().mapped("operation").count("revoke"), 1)
        self.assertIn("10", self._get_operations().filtered(lambda o: o.operation == "revoke").note)
        self.assertToCustomerService(self._type(RIGHT, bystander.openid))
        self.assertNotBound(self.merchant)

    def test_a_merchant_without_a_phone_needs_an_approval(self):
        for phone in (False, "110"):
            with self.subTest(phone=phone):
                self.merchant.phone = phone
                openid = self._make_openid()
                request, answer = self._ask(openid)
                self.assertEqual(request.method, "approval")
                self.assertReply(answer, "我们确认后")
                self.assertChatter(self.merchant, "no phone number", "approval")
                self.assertToCustomerService(self._type(RIGHT, openid))

    def test_a_removed_phone_requires_an_approval(self):
        request, _answer = self._ask()
        self.merchant.phone = False
        self.assertReply(self._type(WRONG), "我们确认后")
        self.assertRecordValues(request, [{"state": "pending", "method": "approval", "attempts": 0}])

    def test_right_digits_check_all_refusals(self):
        request, _answer = self._ask()
        self._bind()
        self.assertReply(self._type(RIGHT), "已绑定其他微信")
        self.assertEqual(request.state, "rejected")
        self.assertOperations(self.merchant, ["generate", "request", "refuse"])

    def test_right_digits_do_not_bind_with_an_expired_code(self):
        request, _answer = self._ask()
        self.code.expires_at = fields.Datetime.now()
        self.assertReply(self._type(RIGHT), "已过期")
        self.assertNotBound(self.merchant)
        self.assertEqual(request.state, "rejected")

    def test_an_admin_accepts_instead_of_the_digits(self):
        request, _answer = self._ask()
        request.with_user(self.user).action_accept()
        self.assertBound(self.merchant, self.openid)

    def test_digits_answer_the_last_scan(self):
        self.other_merchant.phone = "13900001111"
        other = self._make_code(self.other_merchant)
        now = int(time.time())
        self._ask(create_time=now - 30)
        self._ask(code=other, create_time=now - 20)
        self._ask(create_time=now - 10)
        self.assertReply(self._type(RIGHT), "杭州西湖茶庄")
        self.assertBound(self.merchant, self.openid)
        self.assertReply(self._type("1111"), "已绑定")
        self.assertNotBound(self.other_merchant)

    def test_digits_without_a_request_are_messages(self):
        self._ask()
        self.assertToCustomerService(self._type(RIGHT, self._make_openid()))
        self.assertToCustomerService(self._type("什么时候发货"))
        self.assertNotBound(self.merchant)

    def test_digits_answer_requests_of_their_account_only(self):
        other = self._create_account()
        self._ask()
        self.assertToCustomerService(self._type(RIGHT, account=other))

    def test_answers_of_one_openid_are_handled_in_turn(self):
        request, _answer = self._ask()
        names = []
        locks = inbox_event.session_locks

        def spy(cr, lock_names, timeout):
            names.extend(lock_names)
            return locks(cr, lock_names, timeout)

        with patch.object(inbox_event, "session_locks", spy):
            self._type(RIGHT)
        self.assertEqual(names, [f"openid:{self.account.id}:{self.openid}", f"scene:{self.code.scene_str}"])
        self.assertEqual(request.state, "accepted")


class TestShareWhileConfirming(RequestCase):
    def _open(self, suffix=""):
        return self.url_open(f"/wechat/bind/{self.code.share_token}{suffix}")

    def test_the_share_page_waits_for_the_approval(self):
        self._ask()
        page = self._open()
        self.assertIn('data-state="confirming"', page.text)
        self.assertIn("等待确认", page.text)
        self.assertIn("我们确认后", page.text)
        self.assertEqual(self._open("/code.png").status_code, 200, "The right person can still scan it")
        self.assertEqual(self._open("/state").json(), {"state": "confirming"})
        self.assertIn("share.js", page.text)

    def test_the_share_page_asks_for_the_digits(self):
        self.account.bind_confirmation = "phone"
        self._ask()
        self.assertIn("后 4 位", self._open().text)

    def test_the_share_page_waits_again_after_a_rejection(self):
        request, _answer = self._ask()
        request.action_reject()
        self.assertEqual(self._open("/state").json(), {"state": "waiting"})
