from datetime import datetime, timedelta
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.modules.module import load_script
from odoo.tools import file_open, mute_logger

from ...models.account.wechat_account import IDENTITY_PARAMETER
from ...tools.send_policy import LISTED_CALLS, WRONG_VALUES_MAX
from ..common import FIRST_MSGID, SEND_PATH, TEMPLATES_PATH, USER_PATH, USERS_PATH
from ..common_outbox import SENDER, SENDER_MODULE, OutboxCase

SETTLE = SENDER_MODULE


class TestQueue(OutboxCase):
    def test_unreachable_merchants_get_failed_messages(self):
        disabled = self._create_merchant("已停用")
        self._bind(disabled)
        disabled.active = False
        elsewhere = self._create_merchant("别的公众号")
        self._bind(elsewhere, account=self._create_account())
        messages = self._queue(self.other_merchant, disabled, elsewhere)
        self.assertEqual(
            [(message.state, message.failure_type) for message in messages],
            [("failed", "wechat_unbound"), ("failed", "wechat_disabled"), ("failed", "wechat_template")],
        )
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 0)

    def test_sender_is_triggered(self):
        self.env["ir.cron.trigger"].search([]).unlink()
        self._queue()
        sender = self.env.ref(SENDER)
        self.assertEqual(self.env["ir.cron.trigger"].search([("cron_id", "=", sender.id)]).cron_id, sender)

    def test_priorities(self):
        other = self._bind(self.other_merchant)
        # In one bucket: otherwise, the order would depend on the senders.
        self._queue(count=2, kind="mass")
        self._queue(self.other_merchant, kind="test")
        self._queue()
        self._process_queue()
        sent = [call.payload["touser"] for call in self.wechat.calls if call.path == SEND_PATH]
        self.assertEqual(sent, [other.openid, self.openid, self.openid, self.openid])
        numbers = [call.payload["client_msg_id"] for call in self.wechat.calls if call.path == SEND_PATH]
        messages = (
            self.env["wechat.message"]
            .search([("client_msg_id", "in", numbers)])
            .sorted(lambda message: numbers.index(message.client_msg_id))
        )
        self.assertEqual(messages.mapped("kind"), ["test", "notice", "mass", "mass"])

    def test_one_message_at_a_time_and_in_order(self):
        messages = self._queue(count=3)
        self.wechat.answer(SEND_PATH, 502)
        self._process_queue()
        self.assertEqual(messages.mapped("state"), ["outgoing"] * 3, "The first message holds back the others")
        self._make_due(messages)
        self._process_queue()
        self.assertEqual(messages.mapped("state"), ["sent"] * 3)
        numbers = [call.payload["client_msg_id"] for call in self.wechat.calls if call.path == SEND_PATH]
        self.assertEqual(numbers, messages[:1].mapped("client_msg_id") + messages.mapped("client_msg_id"))

    def test_delayed_message_does_not_hold_back_others(self):
        messages = self._queue(count=2)
        self.wechat.answer(SEND_PATH, {"errcode": 43117, "errmsg": "too frequently"})
        self._process_queue()
        self.assertEqual(messages.mapped("state"), ["outgoing"] * 2, "The other message is postponed too")
        self.assertGreater(min(messages.mapped("next_attempt_at")), fields.Datetime.now() + timedelta(hours=1))
        self._make_due(messages[1])
        self._process_queue()
        self.assertEqual(messages.mapped("state"), ["outgoing", "sent"])

    def test_validity(self):
        messages = self._queue(count=2)
        self._set(messages[0], valid_until="now() AT TIME ZONE 'UTC' - interval '1 second'")
        self._process_queue()
        self.assertRecordValues(
            messages,
            [{"state": "canceled", "failure_type": "wechat_expired"}, {"state": "sent", "failure_type": False}],
        )

    def test_validity_of_a_stopped_template(self):
        message = self._queue()
        self.template._suspend("40037")
        self._set(message, valid_until="now() AT TIME ZONE 'UTC' - interval '1 second'")
        self._process_queue()
        self.assertRecordValues(message, [{"state": "canceled", "failure_type": "wechat_expired"}])

    def test_scheduled(self):
        message = self._queue(next_attempt_at=fields.Datetime.now() + timedelta(hours=1))
        self.assertGreater(message.valid_until, fields.Datetime.now() + timedelta(hours=24))
        self._process_queue()
        self.assertEqual(message.state, "outgoing")

    def test_quiet_hours(self):
        self.account.write({"quiet_from": 22, "quiet_to": 7.5})
        self.account.company_id.partner_id.tz = "Asia/Shanghai"
        for now, until in (
            ("2026-11-24 13:59:00", None),
            ("2026-11-24 14:00:00", "2026-11-24 23:30:00"),
            ("2026-11-24 23:29:00", "2026-11-24 23:30:00"),
            ("2026-11-24 23:30:00", None),
        ):
            expected = until and fields.Datetime.to_datetime(until)
            self.assertEqual(self.account._get_quiet_until(fields.Datetime.to_datetime(now)), expected, now)
        notice, welcome = self._queue(), self._queue(kind="welcome")
        with patch.object(type(self.account), "_get_quiet_until", lambda _account, now: now + timedelta(hours=1)):
            self._process_queue()
        self.assertEqual((notice.state, welcome.state), ("outgoing", "sent"))
        # The current hour may be a quiet one.
        with patch.object(type(self.account), "_get_quiet_until", lambda _account, _now: None):
            self._process_queue()
        self.assertEqual(notice.state, "sent")

    def test_daily_limit(self):
        self.account.daily_limit = 2
        messages = self._queue(count=4)
        test = self._queue(kind="test")
        self._process_queue()
        self.assertEqual(messages.mapped("state").count("sent"), 1, "The test counts for the limit")
        self.assertEqual(test.state, "sent")
        waiting = messages.filtered(lambda message: message.state == "outgoing")
        tomorrow = self.account._get_day_start(fields.Datetime.now()) + timedelta(days=1)
        self.assertEqual(set(waiting.mapped("next_attempt_at")), {tomorrow + timedelta(hours=8)}, "Not at midnight")
        self.assertEqual(self.account._get_morning(tomorrow), tomorrow + timedelta(hours=8))
        self.account.write({"quiet_from": 22, "quiet_to": 7.5})
        self.assertEqual(self.account._get_morning(tomorrow), tomorrow + timedelta(hours=7.5))

    def test_expired_lease_is_reclaimed(self):
        """The killed process may have called WeChat."""
        message = self._queue()
        self._set(
            message,
            state="'sending'",
            lease_until="now() AT TIME ZONE 'UTC' + interval '1 minute'",
            first_call_at="now() AT TIME ZONE 'UTC'",
            attempts="1",
            openid=f"'{self.openid}'",
        )
        self._process_queue()
        self.assertEqual((message.state, self.wechat.calls), ("sending", []))
        self._set(message, lease_until="now() AT TIME ZONE 'UTC'")
        self._process_queue()
        self.assertRecordValues(message, [{"state": "sent", "attempts": 2}])
        self._set(
            message,
            state="'sending'",
            lease_until="now() AT TIME ZONE 'UTC'",
            first_call_at="now() AT TIME ZONE 'UTC' - interval '8 minutes'",
        )
        self._process_queue()
        self.assertRecordValues(message, [{"state": "unknown", "failure_type": "wechat_unknown", "attempts": 2}])

    def test_late_result_is_not_written(self):
        """The result of an expired lease does not overwrite a newer state."""
        message = self._queue()

        def answer(_call):
            self.env.cr.execute(
                "UPDATE wechat_message SET state = 'delivered', lease_until = NULL WHERE id = %s", [message.id]
            )
            return {"errcode": -1, "errmsg": "system error"}

        self.wechat.answer(SEND_PATH, answer)
        self._process_queue()
        self.assertEqual(message.state, "delivered")

    def test_follows_again(self):
        message = self._queue()
        self.binding._set_subscribed(False, fields.Datetime.now())
        self._process_queue()
        self.assertEqual((message.state, self.wechat.count(SEND_PATH)), ("outgoing", 0))
        self.binding.is_blocked = True
        self.binding._set_subscribed(True, fields.Datetime.now())
        self._process_queue()
        self.assertEqual(message.state, "sent")
        self.assertFalse(self.binding.is_blocked)

    def test_batch_of_leavers(self):
        self._bind(self.other_merchant)
        self.startPatcher(patch(f"{SENDER_MODULE}.THREADS", 4))
        self._queue(self.merchant, self.other_merchant)
        self.wechat.answer(SEND_PATH, *[{"errcode": 43004, "errmsg": "require subscribe"}] * 2)
        self.wechat.answer(
            USERS_PATH,
            lambda call: {"user_info_list": [{"subscribe": 0, **user} for user in call.payload["user_list"]]},
        )
        self.wechat.answer(USER_PATH, *[lambda call: {"subscribe": 0, "openid": call.query["openid"]}] * 2)
        self._process_queue()
        self.assertEqual((self.merchant + self.other_merchant).mapped("wechat_state"), ["unfollowed"] * 2)

    @mute_logger(SENDER_MODULE)
    def test_outage_pauses_the_account(self):
        """An hour without WeChat does not make all waiting messages unknown."""
        messages = self.env["wechat.message"]
        for number in range(15):
            partner = self._create_merchant(f"商家 {number}")
            self._bind(partner)
            messages += self._queue(partner)
        self.wechat.answer(SEND_PATH, *[502] * 15)
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 10)
        self.assertTrue(self.account.is_send_paused and self.account.send_pause_reason)
        self.env.cr.execute(
            "UPDATE wechat_account SET send_paused_until = now() AT TIME ZONE 'UTC' - interval '1 second'"
        )
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 11, "One call tests whether WeChat answers again")
        self.env.cr.execute(
            "UPDATE wechat_account SET send_paused_until = now() AT TIME ZONE 'UTC' - interval '1 second'"
        )
        self.wechat._answers.clear()
        self._make_due(messages)
        self._process_queue()
        self.assertEqual(set(messages.mapped("state")), {"sent"})
        self.env.invalidate_all()
        self.assertFalse(self.account.send_paused_until)


class TestByHand(OutboxCase):
    def test_cancel(self):
        messages = self._queue(count=2)
        self._set(messages[1], first_call_at="now() AT TIME ZONE 'UTC'")
        with self.assertRaises(AccessError):
            messages.with_user(self.employee).action_cancel()
        messages.with_user(self.user).action_cancel()
        self.assertEqual(messages.mapped("state"), ["canceled", "unknown"], "It may have arrived")
        self._process_queue()
        self.assertEqual(self.wechat.calls, [])

    def test_resend(self):
        messages = self._queue(count=3)
        self._set(messages[0], state="'failed'")
        self._set(messages[1], state="'unknown'", msgid="'1'")
        with self.assertRaises(AccessError):
            messages.with_user(self.employee).action_resend()
        messages.with_user(self.user).action_resend()
        resent = messages.resent_ids.sorted("id")
        self.assertEqual(resent.resent_from_id.sorted("id"), messages[:2], "Waiting messages are not resent")
        self.assertEqual(resent.user_id, self.user)
        self.assertEqual(resent.mapped("card"), messages[:2].mapped("card"))
        self.assertFalse(set(resent.mapped("client_msg_id")) & set(messages.mapped("client_msg_id")))
        self._process_queue()
        self.assertEqual(set(resent.mapped("state")), {"sent"})
        self.assertEqual(messages[:2].mapped("state"), ["failed", "unknown"])
        with self.assertRaises(UserError):
            messages.with_user(self.user).action_resend()

    def test_suspension_schedules_one_activity(self):
        for record in (self.account, self.template):
            record._schedule_manager_activity("拒绝", "原因")
            record._schedule_manager_activity("拒绝", "原因")
            self.assertEqual(len(record.activity_ids), 1)
            self.assertTrue(record.activity_ids.user_id.has_group("wechat_merchant_bind.group_manager"))
        self.account.with_user(self.manager).action_resume_sending()
        self.template.with_user(self.manager).action_resume()
        self.env.invalidate_all()
        self.assertFalse(self.account.activity_ids or self.template.activity_ids)


class TestBindings(OutboxCase):
    def test_unbound(self):
        messages = self._queue(count=2)
        self._set(messages[1], first_call_at="now() AT TIME ZONE 'UTC'")
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.env.invalidate_all()
        self.assertRecordValues(
            messages,
            [
                {"state": "canceled", "failure_type": "wechat_unbound"},
                {"state": "unknown", "failure_type": "wechat_unknown"},
            ],
        )

    def test_message_of_a_former_binding_is_canceled(self):
        """A message for a former OpenID is not sent to the new one, even if unbinding missed it."""
        message = self._queue()
        self.env.cr.execute("UPDATE wechat_binding SET state = 'unbound' WHERE id = %s", [self.binding.id])
        self.env.invalidate_all()
        self._bind(account=self._create_account())
        self._process_queue()
        self.assertRecordValues(message, [{"state": "canceled", "failure_type": "wechat_template"}])

    def test_disabled_with_contacts(self):
        contact = self._create_merchant("会计", parent_id=self.merchant.id, is_company=False)
        self._bind(contact)
        messages = self._queue(self.merchant, contact)
        self.merchant.with_user(self.user).action_wechat_disable()
        self.env.invalidate_all()
        self.assertEqual(
            [(message.state, message.failure_type) for message in messages], [("canceled", "wechat_disabled")] * 2
        )

    @mute_logger("odoo.models.unlink")
    def test_deleted(self):
        message = self._queue()
        self.merchant.unlink()
        self.env.invalidate_all()
        self.assertRecordValues(message, [{"state": "canceled", "partner_id": False, "partner_name": "杭州西湖茶庄"}])

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def test_merged(self):
        message = self._queue()
        self.env["base.partner.merge.automatic.wizard"]._merge(
            (self.merchant + self.other_merchant).ids, self.other_merchant
        )
        self.env.invalidate_all()
        self.assertEqual((message.partner_id, message.state), (self.other_merchant, "outgoing"))
        self._process_queue()
        self.assertRecordValues(message, [{"state": "sent", "openid": self.openid}])

    def test_erased(self):
        message = self._queue()
        self._process_queue()
        self.env["wechat.binding"]._erase(self.account, self.openid)
        self.assertRecordValues(message, [{"state": "sent", "openid": False, "card": False, "body": False}])

    @mute_logger("odoo.models.unlink")
    def test_privacy_lookup(self):
        message = self._queue()
        self._process_queue()
        wizard = self.env["privacy.lookup.wizard"].create({"name": self.openid})
        wizard.action_lookup()
        self.assertIn((message._name, message.id), wizard.line_ids.mapped(lambda line: (line.res_model, line.res_id)))
        wizard.line_ids.action_unlink_all()
        self.assertFalse(message.exists())


class TestIdentity(OutboxCase):
    def test_copy_of_the_database(self):
        message = self._queue()
        self.env["ir.config_parameter"].set_param("database.uuid", "copy")
        self._process_queue()
        self.assertEqual((message.state, self.wechat.calls), ("outgoing", []))
        self.assertTrue(self.account.is_outbox_unconfirmed)
        self.assertEqual(len(self.account.activity_ids), 1)
        with self.assertRaises(AccessError):
            self.account.with_user(self.user).action_confirm_outbox()
        self.account.with_user(self.manager).action_confirm_outbox()
        self._process_queue()
        self.assertEqual(message.state, "sent")
        self.assertFalse(self.account.activity_ids)

    def test_login_from_another_host_keeps_sending(self):
        """Odoo rewrites web.base.url after such a login."""
        message = self._queue()
        self.env["ir.config_parameter"].set_param("web.base.url", "https://other.example.com")
        self.assertFalse(self.account.is_outbox_unconfirmed)
        self._process_queue()
        self.assertEqual(message.state, "sent")

    def test_identity_is_stored_with_the_first_message(self):
        parameters = self.env["ir.config_parameter"]
        parameters.set_param(IDENTITY_PARAMETER, False)
        parameters.set_param("database.uuid", "new")
        self._queue()
        self.assertEqual(parameters.get_param(IDENTITY_PARAMETER), "new")

    def test_update_needs_no_confirmation(self):
        """Earlier versions stored the address with the UUID. A copy still needs a confirmation."""
        migration = load_script("wechat_merchant_bind/migrations/19.0.1.4.0/post-outbox_identity.py", "outbox_identity")
        parameters = self.env["ir.config_parameter"]
        number = parameters.get_param("database.uuid")
        for known, is_unconfirmed in (
            (f"{number} https://old.example.com", False),
            (f"{number} False", False),
            (number, False),
            ("original https://old.example.com", True),
        ):
            parameters.set_param(IDENTITY_PARAMETER, known)
            self.env.flush_all()
            migration.migrate(self.env.cr, "19.0.1.3.0")
            self.env.invalidate_all()
            self.env.registry.clear_cache()
            with self.subTest(known=known):
                self.assertEqual(self.account.is_outbox_unconfirmed, is_unconfirmed)

    def test_neutralized(self):
        messages = self._queue(count=2)
        self._set(messages[1], state="'sending'", openid="'x'")
        with file_open("wechat_merchant_bind/data/neutralize.sql") as script:
            self.env.cr.execute(script.read())
        self.env.invalidate_all()
        self.assertEqual(messages.mapped("state"), ["canceled"] * 2)


class TestPause(OutboxCase):
    def test_pauses(self):
        for errcode, seconds in ((45009, 3600), (45011, 60)):
            messages = self._queue(count=2)
            self.wechat.answer(SEND_PATH, {"errcode": errcode, "errmsg": "quota"})
            calls = self.wechat.count(SEND_PATH)
            self._process_queue()
            self.assertEqual(self.wechat.count(SEND_PATH), calls + 1)
            self.assertEqual(messages.mapped("state"), ["outgoing"] * 2)
            self.assertAlmostEqual(
                self.account.send_paused_until,
                datetime.utcnow() + timedelta(seconds=seconds),
                delta=timedelta(seconds=30),
            )
            self.account.with_user(self.manager).action_resume_sending()
            self._process_queue()
            self.assertEqual(messages.mapped("state"), ["sent"] * 2)

    def test_busy_wechat_slows_the_account_down(self):
        """WeChat answers -1 to calls that come too fast: one at a time is tried, and no message ends as unknown."""
        merchants = [self._bind(self._create_merchant(f"商家 {number}")).partner_id for number in range(5)]
        messages = self._queue(*merchants)
        self.wechat.answer(SEND_PATH, *[{"errcode": -1, "errmsg": "system error"}] * 3)
        for calls in range(1, 4):
            self._process_queue()
            self.assertEqual(self.wechat.count(SEND_PATH), calls, "The others wait")
            self.assertTrue(self.account.is_send_paused)
            self.env.cr.execute(
                "UPDATE wechat_account SET send_paused_until = now() AT TIME ZONE 'UTC' - interval '1 second'"
            )
            self.env.invalidate_all()
        self._make_due(messages)
        self._process_queue()
        self.assertEqual(set(messages.mapped("state")), {"sent"})
        self.assertFalse(self.account.send_paused_until)

    def test_results_of_earlier_calls_keep_a_pause(self):
        """Only a call that began after the pause ends it, or lengthens it without an answer."""
        self._bind(self.other_merchant)
        for answer in ({"errcode": 0, "errmsg": "ok", "msgid": FIRST_MSGID}, 502):
            with self.subTest(answer=answer):
                self.account._end_pause()
                messages = self._queue(self.merchant, self.other_merchant)

                def pause(_call, answer=answer):
                    self.account._pause_sending(20, "x")
                    self.env.flush_all()
                    return answer

                calls = self.wechat.count(SEND_PATH)
                self.wechat.answer(SEND_PATH, pause)
                self._process_queue()
                self.assertEqual(self.wechat.count(SEND_PATH) - calls, 1)
                self.assertTrue(self.account.is_send_paused)
                self.assertLess(self.account.send_paused_until, fields.Datetime.now() + timedelta(seconds=30))
                messages._cancel(False)


class TestRefusals(OutboxCase):
    """Suspension after refusals of WeChat: of the template, of the account, or of neither."""

    def _queue_three(self):
        """Queue a message to each of three merchants."""
        partners = self.merchant
        for number in range(2):
            partners += self._create_merchant(f"商家 {number}")
            self._bind(partners[-1])
        return self._queue(*partners)

    def _refuse(self, errcode, times=1, errmsg="refused"):
        self.wechat.answer(SEND_PATH, *[{"errcode": errcode, "errmsg": f"{errmsg} rid: 1-2-3"}] * times)

    def test_template_errors_suspend_the_template(self):
        for errcode, words in ((40013, "小程序"), (40166, "小程序"), (43116, "封禁"), (40036, "编号"), (40165, "页面")):
            with self.subTest(errcode), mute_logger(SETTLE):
                messages = self._queue_three()
                calls = self.wechat.count(SEND_PATH)
                self._refuse(errcode, times=3)
                self._process_queue()
                self.assertEqual(self.wechat.count(SEND_PATH) - calls, 1, "The others wait")
                self.assertEqual(messages.mapped("state"), ["outgoing"] * 3)
                self.assertFalse(self.account.send_stop_reason or self.account.is_send_paused)
                self.assertIn(words, self.template.stop_reason)
                self.template.with_user(self.manager).action_resume()
                self.wechat._answers.clear()
                messages.with_user(self.user).action_cancel()
        self.assertEqual(self.wechat.count(TEMPLATES_PATH), 0)

    def test_errors_of_other_calls_suspend_nothing(self):
        """Errors of other calls do not concern messages."""
        for errcode in (45029, 45026, 76022, 40247):
            with self.subTest(errcode):
                message = self._queue()
                self._refuse(errcode)
                self._process_queue()
                self.assertRecordValues(message, [{"state": "failed", "failure_type": "wechat_refused"}])
                self.assertFalse(self.account.send_stop_reason or self.template.stop_reason)

    def test_long_link_fails_the_message(self):
        """A repetition would have the same link. The reason shows the link without its query."""
        link = f"https://example.com/{'x' * 100}?access_token=key-of-the-document"
        message = self._queue(card={"data": {}, "url": link})
        self._refuse(40039, errmsg="invalid url size")
        self._process_queue()
        self.assertRecordValues(message, [{"state": "failed", "failure_type": "wechat_value", "errcode": 40039}])
        first = message.failure_reason.splitlines()[0]
        self.assertIn("https://example.com/xxx", first)
        self.assertIn(str(len(link)), first)
        self.assertNotIn("key-of-the-document", message.failure_reason)
        self.assertFalse(self.template.stop_reason)

    @mute_logger(SETTLE)
    def test_repeated_long_links_suspend_the_template(self):
        """Then the template is wrong."""
        for _number in range(WRONG_VALUES_MAX):
            self._queue(self._bind(self._create_merchant("商家")).partner_id)
        self._refuse(40039, times=WRONG_VALUES_MAX)
        self._process_queue()
        self.assertIn("example.com", self.template.stop_reason)

    def test_blocked_content_fails_the_message(self):
        for errcode in (45168, 40249):
            with self.subTest(errcode):
                message = self._queue()
                self._refuse(errcode)
                self._process_queue()
                self.assertRecordValues(message, [{"state": "failed", "failure_type": "wechat_content"}])
                self._make_due(message)
                self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 2)

    def test_repetition_returns_the_first_number(self):
        message = self._queue()
        self.wechat.answer(SEND_PATH, 502, {"errcode": 45065, "errmsg": "clientmsgid exist", "msg_id": FIRST_MSGID})
        self._process_queue()
        self._make_due(message)
        self._process_queue()
        self.assertRecordValues(message, [{"state": "sent", "msgid": str(FIRST_MSGID), "attempts": 2, "errcode": 0}])

    def test_zero_is_stored_as_no_number(self):
        """Numbers are unique for each account."""
        messages = self._queue_three()
        self.wechat.answer(SEND_PATH, *[{"errcode": 0, "errmsg": "ok", "msgid": 0}] * 3)
        self._process_queue()
        self.assertEqual([(message.state, message.msgid) for message in messages], [("sent", False)] * 3)


class TestUnknownTemplate(OutboxCase):
    """WeChat temporarily refuses existing templates as unknown."""

    def _refuse(self, errcode=40037, times=1):
        self.wechat.answer(SEND_PATH, *[{"errcode": errcode, "errmsg": "invalid template_id rid: 1-2-3"}] * times)

    def _list(self, *uids):
        """Set the templates that WeChat lists."""
        answer = {"template_list": [{"template_id": uid, "title": "通知"} for uid in uids]}
        self.wechat.answer(TEMPLATES_PATH, *[answer] * 20)

    def _let_a_minute_pass(self):
        self.env.cr.execute("UPDATE wechat_template SET looked_up_at = looked_up_at - interval '61 seconds'")
        self.env.invalidate_all()

    @mute_logger(SETTLE)
    def test_listed_template_is_tried_again_later(self):
        for errcode in (40037, 43100):
            with self.subTest(errcode):
                self._let_a_minute_pass()
                message = self._queue()
                sent, asked = self.wechat.count(SEND_PATH), self.wechat.count(TEMPLATES_PATH)
                self._list("other", self.template.template_uid)
                self._refuse(errcode)
                self._process_queue()
                self.assertRecordValues(message, [{"state": "outgoing", "first_call_at": False, "errcode": errcode}])
                self.assertGreater(message.next_attempt_at, fields.Datetime.now() + timedelta(seconds=30))
                self._process_queue()
                self.assertEqual(self.wechat.count(SEND_PATH) - sent, 1, "Not at once")
                self.assertEqual(self.wechat.count(TEMPLATES_PATH) - asked, 1)
                self.assertFalse(self.template.stop_reason or self.account.send_stop_reason)
                self._make_due(message)
                self._process_queue()
                self.assertEqual(message.state, "sent")

    @mute_logger(SETTLE)
    def test_unlisted_template_is_suspended(self):
        message, other = self._queue(), self._queue(self._bind(self.other_merchant).partner_id)
        self._list("other")
        self._refuse(times=2)
        self._process_queue()
        self.assertEqual((message + other).mapped("state"), ["outgoing"] * 2)
        self.assertIn("40037", self.template.stop_reason)
        self.assertEqual(len(self.template.activity_ids), 1)
        calls = self.wechat.count(SEND_PATH)
        self._make_due(message + other)
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), calls)

    @mute_logger(SETTLE)
    def test_empty_list_is_an_answer(self):
        self._queue()
        self._list()
        self._refuse()
        self._process_queue()
        self.assertTrue(self.template.stop_reason)

    @mute_logger(SETTLE)
    def test_templates_are_listed_once_a_minute(self):
        """Many messages and runs meet the refusal."""
        self._list(self.template.template_uid)
        for number in range(23):
            self._queue(self._bind(self._create_merchant(f"商家 {number}")).partner_id)
            self._refuse()
            self._process_queue()
        self.assertEqual((self.wechat.count(SEND_PATH), self.wechat.count(TEMPLATES_PATH)), (23, 1))
        self._let_a_minute_pass()
        self._queue(self._bind(self._create_merchant("最后一家")).partner_id)
        self._refuse()
        self._process_queue()
        self.assertEqual(self.wechat.count(TEMPLATES_PATH), 2)
        self.assertFalse(self.template.stop_reason)

    @mute_logger(SETTLE)
    def test_failed_list_suspends_nothing(self):
        message = self._queue()
        self.wechat.answer(TEMPLATES_PATH, 502, 502)
        self._refuse()
        self._process_queue()
        self.assertEqual(message.state, "outgoing")
        self.assertFalse(self.template.stop_reason)
        self._make_due(message)
        self._process_queue()
        self.assertEqual(message.state, "sent")

    @mute_logger(SETTLE)
    def test_listed_template_is_suspended_after_many_refusals(self):
        message = self._queue()
        self._list(self.template.template_uid)
        self._refuse(times=20)
        for number in range(LISTED_CALLS):
            self.assertFalse(self.template.stop_reason, f"After {number} calls")
            self._make_due(message)
            self._process_queue()
        self.assertTrue(self.template.stop_reason)
        self._make_due(message)
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), LISTED_CALLS)
