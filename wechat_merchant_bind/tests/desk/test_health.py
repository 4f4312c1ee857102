import logging
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError
from odoo.tools import SQL, mute_logger

from ...models.const import RECEIPT_EVENT
from ...models.desk.wechat_account_health import DEFAULTS, PARAMETER, WechatAccountHealth
from ...tools.wechat_errors import WechatError
from ..common import CALLBACK_IPS_PATH, TOKEN_PATH, WechatCase
from ..common_outbox import SENDER, OutboxCase

CRON = "wechat_merchant_bind.ir_cron_check_health"
LOGGER = "odoo.addons.wechat_merchant_bind.models.desk.wechat_account_health"
CHECKS = [
    *("webhook", "refusals", "token", "sending", "outbox", "templates", "quota", "inbox", "schedule", "connection"),
    "verification",
]


class HealthCase(OutboxCase):
    def setUp(self):
        super().setUp()
        self._keep_schedule()
        self.env["wechat.account"].search([("id", "!=", self.account.id)]).active = False
        self.account._get_managers().lang = "en_US"

    def _find(self, check, account=None):
        """Return a check as the account's form shows it."""
        self.env.flush_all()
        self.env.invalidate_all()
        lines = (account or self.account).with_user(self.manager).health_ids
        return lines.filtered(lambda line: line.kind == check)

    def _get_states(self):
        """Return the states of the checks that are not in order."""
        self.env.flush_all()
        self.env.invalidate_all()
        lines = self.account.with_user(self.manager).health_ids
        self.assertEqual(lines.mapped("kind"), CHECKS)
        return {line.kind: line.state for line in lines if line.state not in ("ok", "unconnected")}

    def _run_cron(self):
        self.env.flush_all()
        # As a number: Odoo has a level of its own under this name.
        with self.assertLogs(LOGGER, logging.INFO) as logs:
            self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()
        return logs.output

    def _get_activities(self, account=None):
        kind = self.env.ref("wechat_merchant_bind.mail_activity_type_health")
        return (account or self.account).activity_ids.filtered(lambda activity: activity.activity_type_id == kind)

    def _create_event(self, *, age=timedelta(), account=None, **values):
        """Store a push that came some time ago."""
        event = self.env["wechat.event"].create(
            {
                "account_id": (account or self.account).id,
                "dedupe_key": f"health {next(self._serial)}",
                "payload": "{}",
                "event": "view",
                "state": "ignored",
                **values,
            }
        )
        self.env.flush_all()
        moment = fields.Datetime.now() - age
        self.env.cr.execute("UPDATE wechat_event SET create_date = %s WHERE id = %s", [moment, event.id])
        self.env.invalidate_all()
        return event

    def _set_parameter(self, name, value):
        self.env["ir.config_parameter"].set_param(f"{PARAMETER}{name}", value)


class TestChecks(HealthCase):
    """Each check reports its trouble, and is green again after it."""

    def test_a_healthy_account_is_green(self):
        self._create_event()
        self._queue()
        self._process_queue()
        self.assertEqual(self._get_states(), {})
        self.assertEqual(self.account.with_user(self.manager).health_state, "ok")

    def test_missing_receipts_are_a_problem(self):
        self._create_event(age=timedelta(hours=3))
        messages = self._queue(count=2)
        self._process_queue()
        self._process_queue()
        self.assertEqual(messages.mapped("state"), ["sent", "sent"])
        self.assertEqual(self._get_states(), {}, "WeChat may take some minutes")
        self._set(messages, sent_at="now() AT TIME ZONE 'UTC' - interval '61 minutes'")
        self.assertEqual(self._get_states(), {"webhook": "problem"})
        self.assertIn("2 messages", self._find("webhook").summary)
        self._set_parameter("receipt_minutes", "90")
        self.assertEqual(self._get_states(), {})
        self._set_parameter("receipt_minutes", "60")
        self._create_event(event="templatesendjobfinish", state="received")
        self.assertEqual(self._get_states(), {}, "Something comes again: one receipt may be lost")

    def test_a_webhook_that_was_never_set_up_is_a_problem_after_sending(self):
        self.env["wechat.binding"].search([("account_id", "=", self.account.id)]).source = "import"
        self.assertEqual(self._get_states(), {})
        message = self._queue()
        self._process_queue()
        self._set(message, sent_at="now() AT TIME ZONE 'UTC' - interval '2 hours'")
        self.assertEqual(self._get_states(), {"webhook": "problem"})
        self.assertIn("never", self._find("webhook").message)

    def test_an_account_that_wechat_never_reached_is_not_green(self):
        account = self._create_account()
        self.env["wechat.account.health"]._get_for(account)
        for check in ("webhook", "token"):
            with self.subTest(check=check):
                self.assertEqual(self._find(check, account).state, "unconnected")
        self.assertIn("never reached", self._find("webhook", account).summary)
        self.assertIn("EncodingAESKey", self._find("webhook", account).message)
        self.assertEqual(account.with_user(self.manager).health_state, "unconnected")
        self._run_cron()
        self.assertFalse(self._get_activities(account), "It is no trouble to be asked about")
        self._create_event(account=account)
        self.assertEqual(self._find("webhook", account).state, "ok")

    def test_an_account_whose_old_pushes_were_deleted_was_connected(self):
        account = self._create_account()
        self._bind(self._create_merchant("老商家"), account=account, source="scan")
        self.assertEqual(self._find("webhook", account).state, "ok")

    def test_a_failed_connection_check_is_not_green(self):
        self.wechat.answer(CALLBACK_IPS_PATH, {"errcode": 40164, "errmsg": "invalid ip 203.0.113.7 rid: 1"})
        self.account.with_user(self.manager).action_test_connection()
        self.assertEqual(self._get_states(), {"connection": "problem"})
        self.assertIn("203.0.113.7", self._find("connection").message)
        self.assertEqual(self.account.with_user(self.manager).health_state, "problem")
        message = self._queue()
        self._process_queue()
        self._set(message, sent_at="now() AT TIME ZONE 'UTC' + interval '1 minute'")
        self.assertEqual(self._get_states(), {}, "A message that was sent proves the account")

    def test_a_token_is_not_green_right_after_wechat_could_not_be_reached(self):
        self.wechat.answer(TOKEN_PATH, 502)
        self.account.with_user(self.manager).action_test_connection()
        self.assertEqual(self._get_states(), {"token": "warning", "connection": "problem"})

    def test_unusual_silence_is_a_problem(self):
        for days in range(8, 36):
            self._create_event(age=timedelta(days=days))
        self.assertEqual(self._get_states(), {"webhook": "problem"})
        self.assertIn("8 days", self._find("webhook").summary)
        self._create_event()
        self.assertEqual(self._get_states(), {})

    def test_silence_of_a_rarely_used_account_is_no_problem(self):
        for days in range(8, 36, 3):
            self._create_event(age=timedelta(days=days))
        self.assertEqual(self._get_states(), {})

    def test_refused_pushes_are_a_problem(self):
        self._create_event(age=timedelta(hours=1))
        self._create_event(payload=False, refusal="clock_skew", skew=1200)
        self.assertEqual(self._get_states(), {"refusals": "problem"})
        self.assertIn("1200", self._find("refusals").message)
        self._create_event(payload=False, event=False)
        self.assertEqual(self._get_states(), {"refusals": "problem"}, "A remembered signature is not a push")
        self._create_event()
        self.assertEqual(self._get_states(), {})
        self._create_event(payload=False, refusal="undecipherable")
        self.assertEqual(self._get_states(), {"refusals": "problem"})
        self.assertIn("EncodingAESKey", self._find("refusals").message)

    def _fetch_token(self, *answers):
        self.env["wechat.access.token"].search([]).write({"expires_at": "2000-01-01"})
        self.env.flush_all()
        self.wechat.answer(TOKEN_PATH, *answers)
        try:
            self.account._call_api("get_callback_ips")
        except WechatError as error:
            return error
        return None

    def test_a_refused_access_token_is_a_problem(self):
        answer = {"errcode": 40164, "errmsg": "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 6a-b"}
        self.assertTrue(self._fetch_token(answer))
        self.assertEqual(self._get_states(), {"token": "problem"})
        for words in ("40164", "rid: 6a-b", "IP allow-list: 1.2.3.4"):
            self.assertIn(words, self._find("token").message)
        self.assertNotIn(self.account.app_secret, self._find("token").message)
        since = self.env["wechat.access.token"].search([("account_id", "=", self.account.id)]).failed_since
        self.assertTrue(self._fetch_token(answer))
        token = self.env["wechat.access.token"].search([("account_id", "=", self.account.id)])
        self.assertEqual(token.failed_since, since, "It tells since when")
        self.assertFalse(self._fetch_token())
        self.assertEqual(self._get_states(), {})

    def test_a_short_outage_of_wechat_is_a_warning(self):
        self.assertTrue(self._fetch_token(502))
        self.assertEqual(self._get_states(), {"token": "warning"}, "Not green, and no activity yet")
        self.env.cr.execute("UPDATE wechat_access_token SET failed_since = failed_since - interval '16 minutes'")
        self.assertEqual(self._get_states(), {"token": "problem"})
        self.assertIn("can't be reached", self._find("token").summary)

    def test_suspended_paused_and_unconfirmed_sending(self):
        self.account._pause_sending(60, "45011", 45011)
        self.assertEqual(self._get_states(), {"sending": "warning"})
        self.account._suspend("48001 api unauthorized")
        self.assertEqual(self._get_states(), {"sending": "problem"})
        self.assertIn("48001", self._find("sending").message)
        self.account.with_user(self.manager).action_resume_sending()
        self._queue()
        self.env["ir.config_parameter"].set_param("database.uuid", "copy")
        self.assertEqual(self._get_states(), {"sending": "problem"})
        self.account.with_user(self.manager).action_confirm_outbox()
        self.assertEqual(self._get_states(), {})

    def test_overdue_messages_are_a_problem(self):
        messages = self._queue(count=2)
        self.assertEqual(self._get_states(), {})
        self._set(messages, next_attempt_at="now() AT TIME ZONE 'UTC' - interval '31 minutes'")
        self.assertEqual(self._get_states(), {"outbox": "problem"})
        self.account._pause_sending(60, "45011", 45011)
        self.assertNotIn("outbox", self._get_states(), "Told by the pause")
        self.account._end_pause()
        self.account.with_user(self.manager).action_resume_sending()
        self.template.stop_reason = "43100"
        self.assertEqual(self._get_states(), {"templates": "problem"})
        self.template.stop_reason = False
        self._set(messages[0], state="'sending'", lease_until="now() AT TIME ZONE 'UTC' + interval '1 minute'")
        self.assertEqual(self._get_states(), {}, "The sender is at it")
        self._set(messages[0], state="'outgoing'", lease_until="NULL")
        self._process_queue()
        self._process_queue()
        self.assertEqual(self._get_states(), {})

    def test_quiet_hours_are_no_trouble(self):
        messages = self._queue()
        self._set(messages, next_attempt_at="now() AT TIME ZONE 'UTC' - interval '5 hours'")
        self.account.write({"quiet_from": 0.0, "quiet_to": 23.98})
        self.assertEqual(self._get_states(), {})

    def test_more_messages_than_can_be_sent_in_time_are_a_problem(self):
        messages = self._queue(count=30)
        self.account.send_rate = 1
        self._set(messages, valid_until="now() AT TIME ZONE 'UTC' + interval '20 seconds'")
        self.assertEqual(self._get_states(), {"outbox": "problem"})
        self._set(messages, valid_until="now() AT TIME ZONE 'UTC' + interval '1 hour'")
        self.assertEqual(self._get_states(), {})

    def test_a_suspended_template_is_a_problem(self):
        self.template._suspend("43100 template deleted rid: 1-2-3")
        self.assertEqual(self._get_states(), {"templates": "problem"})
        self.assertIn(self.template.name, self._find("templates").message)
        self.template.with_user(self.manager).action_resume()
        self.assertEqual(self._get_states(), {})

    def test_a_short_quota_is_a_warning(self):
        self.account.write({"quota_limit": 100, "quota_used": 79})
        self.assertEqual(self._get_states(), {})
        self.account.quota_used = 80
        self.assertEqual(self._get_states(), {"quota": "warning"})

    def test_failed_events_are_a_problem(self):
        event = self._create_event(state="failed", error="ValueError: the automation", age=timedelta(minutes=5))
        self.assertEqual(self._get_states(), {}, "It is tried again")
        event = self._create_event(state="failed", error="ValueError: the automation", age=timedelta(minutes=16))
        self.assertEqual(self._get_states(), {"inbox": "problem"})
        self.assertIn("the automation", self._find("inbox").message)
        event.state = "done"
        self.assertEqual(self._get_states(), {})

    def test_late_and_failing_scheduled_actions_are_a_problem(self):
        sender = self.env.ref(SENDER)
        for column, value in (("nextcall", "now() - interval '1 hour'"), ("failure_count", "3")):
            with self.subTest(column):
                self.env.cr.execute(f"UPDATE ir_cron SET {column} = {value} WHERE id = %s", [sender.id])
                self.assertEqual(self._get_states(), {"schedule": "problem"})
                self.assertIn(sender.name, self._find("schedule").message)
                self.env.cr.execute("UPDATE ir_cron SET failure_count = 0")
                self._keep_schedule()
                self.assertEqual(self._get_states(), {})
        sender.active = False
        self.assertEqual(self._get_states(), {"schedule": "problem"})
        sender.active = True
        self.env.ref("wechat_merchant_bind.ir_cron_retry_events").active = False
        self.assertEqual(self._get_states(), {"schedule": "problem"})

    def test_overdue_receipts_are_a_problem(self):
        self._create_event(event=RECEIPT_EVENT, state="received", age=timedelta(minutes=10))
        self.assertEqual(self._get_states(), {})
        self.env["ir.config_parameter"].set_param(f"{PARAMETER}patience_minutes", "5")
        self.assertEqual(self._get_states(), {"schedule": "problem"})


class TestActivities(HealthCase):
    """A manager gets one activity for each problem."""

    def _fail(self, **age):
        return self._create_event(state="failed", error="ValueError: x", age=timedelta(**age or {"hours": 1}))

    def test_an_activity_is_scheduled_once_updated_and_closed(self):
        self._run_cron()
        self.assertFalse(self._get_activities())
        self._fail()
        self._run_cron()
        activity = self._get_activities()
        self.assertRecordValues(
            activity, [{"summary": "Events from WeChat could not be handled: 1.", "automated": True}]
        )
        self.assertIn(activity.user_id, self.account._get_managers())
        self._fail()
        self._run_cron()
        self.assertEqual(self._get_activities(), activity)
        self.assertEqual(activity.summary, "Events from WeChat could not be handled: 2.")
        self.env["wechat.event"].search([("state", "=", "failed")]).write({"state": "done"})
        self._run_cron()
        self.assertFalse(activity.exists())

    def test_a_done_activity_returns_for_the_next_trouble_only(self):
        self._fail(hours=2)
        self._run_cron()
        self._get_activities().action_feedback()
        self._run_cron()
        self.assertFalse(self._get_activities(), "The manager knows")
        self._fail(hours=1)
        self._run_cron()
        self.assertEqual(len(self._get_activities()), 1, "Another event has failed since")
        self._get_activities().unlink()
        self._run_cron()
        self.assertFalse(self._get_activities(), "A deleted activity is done too")
        self.env["wechat.event"].search([("state", "=", "failed")]).write({"state": "done"})
        self._run_cron()
        self._fail()
        self._run_cron()
        self.assertEqual(len(self._get_activities()), 1, "It was over meanwhile")

    def test_an_activity_is_in_the_managers_language(self):
        # The activity is the account creator's, as for suspended sending.
        managers = self.account._get_managers()
        managers.lang = "zh_CN"
        self._fail()
        self._run_cron()
        source = "Events from WeChat could not be handled: %s."
        translated = self.env(context={"lang": "zh_CN"})._(source, 1)
        self.assertEqual(self._get_activities().summary, translated)

    def test_troubles_with_an_activity_of_their_own_get_no_second_one(self):
        self.template._suspend("43100")
        self.account._suspend("48001")
        self.account.write({"quota_limit": 100, "quota_used": 99})
        self._run_cron()
        self.assertFalse(self._get_activities())
        self.assertEqual(len(self.account.activity_ids), 1)

    def test_the_schedule_gets_one_activity(self):
        other = self._create_account()
        self.env.ref(SENDER).active = False
        self._run_cron()
        self.assertEqual(len(self._get_activities() + self._get_activities(other)), 1)

    def test_the_activities_of_an_archived_account_are_closed(self):
        self._fail()
        self._run_cron()
        activity = self._get_activities()
        self.account.active = False
        self._create_account()
        self._run_cron()
        self.assertFalse(activity.exists())

    def test_problems_are_logged(self):
        self._fail()
        accounts = self.env["wechat.account"].search_count([])
        self.assertEqual(
            self._run_cron(),
            [
                f"INFO:{LOGGER}:wechat.health: checked accounts={accounts} problems=1 over=0",
                f"WARNING:{LOGGER}:wechat.health: problem account={self.account.id} check=inbox",
            ],
        )

    def test_fifty_accounts_take_as_many_queries_as_one(self):
        def count():
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            self.env["wechat.account.health"]._cron_check()
            self.env.flush_all()
            return self.env.cr.sql_log_count - before

        with mute_logger(LOGGER):
            self._fail()
            count()
            for_one = count()
            for _number in range(49):
                self._create_account()
            # Each new account has emptied the cache.
            count()
            self.assertEqual(count(), for_one)
        self.assertLess(for_one, 40)

    def test_no_query_reads_all_events_or_messages(self):
        queries = []
        health = self.env["wechat.account.health"]
        collect = patch.object(type(health), "_execute_by_account", lambda _model, query: queries.append(query) or {})
        with collect:
            health._get_for(self.account)._get_findings()
        self.assertEqual(len(queries), 4)
        # An empty table is read in whole, as the cheapest plan.
        self.env.cr.execute("SET LOCAL enable_seqscan = off")
        for query in queries:
            self.env.cr.execute(SQL("EXPLAIN %s", query))
            plan = "\n".join(line for [line] in self.env.cr.fetchall())
            with self.subTest(plan):
                self.assertNotRegex(plan, "Seq Scan on wechat_(event|message)")


class TestHealthRights(WechatCase):
    def test_managers_see_their_companies_accounts_and_shared_ones(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        foreign = self._create_account(company_id=company.id)
        shared = self._create_account(company_id=False)
        lines = self.env["wechat.account.health"].with_user(self.manager)
        seen = lines.search([]).account_id
        self.assertIn(self.account, seen)
        self.assertIn(shared, seen)
        self.assertNotIn(foreign, seen)
        with self.assertRaises(AccessError):
            foreign.health_ids.with_user(self.manager)[0].action_open_fix()
        with self.assertRaises(AccessError):
            self.account.health_ids.with_user(self.user)[0].action_open_fix()

    def test_each_trouble_has_an_action_that_fixes_it(self):
        admin = self.env.ref("base.user_admin")
        models = {
            "webhook": "wechat.account.check",
            "refusals": "wechat.event",
            "token": "wechat.account.check",
            "sending": "wechat.account",
            "outbox": "wechat.message",
            "templates": "wechat.template",
            "quota": "wechat.message",
            "inbox": "wechat.event",
            "schedule": "ir.cron",
            "connection": "wechat.account.check",
            "verification": "wechat.account",
        }
        for line in self.account.health_ids.with_user(admin):
            with self.subTest(line.kind):
                self.assertEqual(line.action_open_fix()["res_model"], models.pop(line.kind))
        self.assertFalse(models)

    def test_an_addon_adds_a_check_by_a_value_and_a_method(self):
        field = self.env["wechat.account.health"]._fields["kind"]
        found = lambda _model, accounts: {}  # noqa: E731
        with (
            patch.object(field, "selection", [*field.selection, ("moon", "Moon")]),
            patch.object(field, "_selection", {**field._selection, "moon": "Moon"}),
            patch.object(WechatAccountHealth, "_check_moon", found, create=True),
        ):
            lines = self.env["wechat.account.health"]._get_for(self.account)
            self.assertEqual(lines.filtered(lambda line: line.kind == "moon").state, "ok")

    def test_thresholds_are_system_parameters(self):
        health = self.env["wechat.account.health"]
        for name, default in DEFAULTS.items():
            unit = name.rpartition("_")[2]
            self.assertEqual(health._get_threshold(name), timedelta(**{unit: default}))
            self.env["ir.config_parameter"].set_param(f"{PARAMETER}{name}", "nonsense")
            self.assertEqual(health._get_threshold(name), timedelta(**{unit: default}))
            self.env["ir.config_parameter"].set_param(f"{PARAMETER}{name}", "5")
            self.assertEqual(health._get_threshold(name), timedelta(**{unit: 5}))
