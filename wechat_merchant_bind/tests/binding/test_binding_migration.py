from contextlib import suppress
from datetime import timedelta
from unittest.mock import patch

import requests

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import Form

from ...tools.wechat_api import CHANGE_OPENID_BATCH
from ...tools.wechat_errors import CHANGE_OPENID_PATH
from ..common import WechatCase

CRON = "wechat_merchant_bind.ir_cron_migrate_bindings"
INVALID = {"errcode": 40003, "errmsg": "invalid openid"}


class MigrationCase(WechatCase):
    def setUp(self):
        super().setUp()
        self.former = self.account
        self.new = self._create_account(name="新公众号")
        self.binding = self._bind()
        self.openid = self.binding.openid

    def _create_merchants(self, count):
        partners = self.env["res.partner"].create([{"name": f"商家 {number}"} for number in range(count)])
        return self.env["wechat.binding"].create(
            [{"partner_id": p.id, "account_id": self.former.id, "openid": self._make_openid()} for p in partners]
        )

    def _start(self, **values):
        values = {"account_id": self.new.id, "former_account_id": self.former.id, **values}
        return self.env["wechat.binding.migration"].with_user(self.manager).create(values)

    def _translate(self, openid):
        return openid.replace("oTest", "oMove")

    def _answer(self, refused=(), times=1):
        """Let WeChat translate the OpenIDs of the next calls, but for some."""

        def answer(call):
            self.assertEqual(call.payload["from_appid"], self.former.app_id)
            results = [
                {"ori_openid": openid, "err_msg": "ori_openid error"}
                if openid in refused
                else {"ori_openid": openid, "new_openid": self._translate(openid), "err_msg": "ok"}
                for openid in call.payload["openid_list"]
            ]
            return {"errcode": 0, "errmsg": "ok", "result_list": results}

        self.wechat.answer(CHANGE_OPENID_PATH, *[answer] * times)

    def _run(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def _get_asked(self):
        return [call.payload["openid_list"] for call in self.wechat.calls if call.path == CHANGE_OPENID_PATH]


class TestMigration(MigrationCase):
    """The bindings of an account move to the one that has taken over its followers."""

    def test_a_binding_moves_with_its_history(self):
        before = (self.binding.bound_at, self.binding.source, self.binding.code_id)
        migration = self._start()
        self.assertRecordValues(migration, [{"state": "running", "total_count": 1, "user_id": self.manager.id}])
        self.assertFalse(self.wechat.calls, "The dialog waits for no call")
        self._answer()
        self._run()
        self.assertRecordValues(migration, [{"state": "done", "migrated_count": 1, "refused_count": 0}])
        self.assertBound(self.merchant, self._translate(self.openid), self.new)
        self.assertEqual((self.binding.bound_at, self.binding.source, self.binding.code_id), before)

    def test_each_change_is_recorded_with_masked_openids(self):
        self.manager.lang = "zh_CN"
        self._start()
        self._answer()
        self._run()
        operation = self._get_operations()[-1]
        self.assertEqual((operation.operation, operation.user_id), ("migrate", self.manager))
        masked = [self.env["wechat.operation"]._mask_openid(x) for x in (self.openid, self._translate(self.openid))]
        self.assertChatter(self.merchant, *masked, author=self.manager.partner_id)
        for text in (operation.note, str(self.merchant.message_ids[0].body)):
            self.assertNotIn(self.openid, text)
            self.assertNotIn(self._translate(self.openid), text)
        log = self.env["wechat.operation"].search([("account_id", "=", self.new.id), ("partner_id", "=", False)])
        self.assertEqual(log.mapped("operation")[:2], ["migrate"] * 2, "Its start and its end")

    def test_messages_take_the_new_openid(self):
        self._start()
        self._answer()
        self._run()
        template = self._create_template(account_id=self.new.id)
        message = self.env["wechat.message"]._queue(
            [{"partner_id": self.merchant.id, "template_id": template.id, "card": {"data": {}}, "body": "x"}]
        )
        self.send_wechat_outbox()
        self.assertEqual((message.state, message.openid), ("sent", self._translate(self.openid)))

    def test_a_hundred_a_call_and_only_live_bindings_of_the_former_account(self):
        other = self._bind(self.other_merchant, account=self._create_account())
        ended = self._bind(self._create_merchant("已解绑"))
        ended._unbind("")
        bindings = self.binding | self._create_merchants(CHANGE_OPENID_BATCH)
        openids = bindings.mapped("openid")
        self._start()
        self._answer(times=2)
        self._run()
        self.assertEqual(self._get_asked(), [openids[:CHANGE_OPENID_BATCH], openids[CHANGE_OPENID_BATCH:]])
        self.assertEqual(bindings.account_id, self.new)
        self.assertNotIn(self.new, (other | ended).account_id)

    def test_a_batch_takes_few_queries(self):
        self._create_merchants(CHANGE_OPENID_BATCH - 1)
        migration = self._start()
        self._answer()
        self.env.flush_all()
        before = self.env.cr.sql_log_count
        self._run()
        self.assertEqual(migration.migrated_count, CHANGE_OPENID_BATCH)
        self.assertLess(self.env.cr.sql_log_count - before, CHANGE_OPENID_BATCH)

    def test_who_was_thought_gone_follows_the_new_account(self):
        """Messages to the former OpenIDs have failed since the move."""
        self.binding._mark_unreachable("unfollowed")
        self.binding._mark_unreachable("blocked")
        self.binding.last_event_at = fields.Datetime.subtract(fields.Datetime.now(), hours=1)
        self._start()
        self._answer()
        self._run()
        self.assertEqual((self.binding.is_subscribed, self.binding.is_blocked), (True, False))


class TestRefusals(MigrationCase):
    """A binding that cannot move is reported with the reason, and the others go on."""

    def assertRefused(self, migration, binding, *texts):
        self.assertRecordValues(migration, [{"state": "done", "refused_count": 1}])
        line = migration.line_ids
        self.assertRecordValues(
            line,
            [
                {
                    "partner_id": binding.partner_id.id,
                    "merchant": binding.partner_id.display_name,
                    "openid_masked": binding.openid_masked,
                }
            ],
        )
        for text in texts:
            self.assertIn(text, line.reason)
        self.assertEqual((binding.account_id, binding.state), (self.former, "bound"))

    def test_an_unknown_openid(self):
        other = self._create_merchants(1)
        migration = self._start()
        self._answer(refused=[self.openid])
        self._run()
        self.assertRefused(migration, self.binding, "new binding code", "ori_openid error")
        self.assertEqual(other.account_id, self.new)

    def test_an_openid_that_the_answer_leaves_out(self):
        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, {"errcode": 0, "result_list": []})
        self._run()
        self.assertRefused(migration, self.binding)

    def test_an_unknown_openid_that_spoils_its_call(self):
        bindings = self._create_merchants(6)

        def answer(call):
            openids = call.payload["openid_list"]
            results = [{"ori_openid": o, "new_openid": self._translate(o), "err_msg": "ok"} for o in openids]
            return INVALID if self.openid in openids else {"errcode": 0, "result_list": results}

        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, *[answer] * 20)
        self._run()
        self.assertRefused(migration, self.binding, "invalid openid")
        self.assertEqual(bindings.account_id, self.new)

    def test_a_new_openid_that_is_bound_already(self):
        """The person has scanned a code of the new account for another merchant."""
        self._bind(self.other_merchant, self._translate(self.openid), self.new)
        migration = self._start()
        self._answer()
        self._run()
        self.assertRefused(migration, self.binding, self.other_merchant.name)
        self.assertNotIn(self._translate(self.openid), migration.line_ids.reason)

    def test_a_hidden_owner_of_the_new_openid_is_not_named(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        hidden = self._create_merchant("看不见的商家", company_id=company.id)
        self.new.company_id = False
        self._bind(hidden, self._translate(self.openid), self.new)
        migration = self._start()
        self._answer()
        self._run()
        self.assertRefused(migration, self.binding, "may not see")
        self.assertNotIn("看不见的商家", migration.line_ids.reason)

    def test_a_hidden_merchant_is_counted_and_not_shown(self):
        self.former.company_id = self.new.company_id = False
        self.merchant.company_id = self.env["res.company"].create({"name": "另一家公司"})
        migration = self._start()
        self._answer(refused=[self.openid])
        self._run()
        self.assertFalse(migration.line_ids)
        self.env.invalidate_all()
        self.assertEqual((migration.refused_count, len(migration.sudo().line_ids)), (1, 1))

    def test_two_that_get_the_same_new_openid(self):
        other = self._create_merchants(1)

        def answer(call):
            results = [{"ori_openid": o, "new_openid": "oSame", "err_msg": "ok"} for o in call.payload["openid_list"]]
            return {"errcode": 0, "result_list": results}

        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, answer)
        self._run()
        self.assertRefused(migration, other, self.merchant.name)

    def test_a_merchant_of_another_company(self):
        self.former.company_id = False
        company = self.env["res.company"].create({"name": "另一家公司"})
        self.merchant.company_id = company
        migration = self._start().sudo()
        self._answer()
        self._run()
        self.assertRefused(migration, self.binding, "different companies")

    def test_a_binding_that_ends_meanwhile_is_left_alone(self):
        def answer(call):
            self.binding._unbind("x")
            self.env.flush_all()
            (openid,) = call.payload["openid_list"]
            result = {"ori_openid": openid, "new_openid": self._translate(openid), "err_msg": "ok"}
            return {"errcode": 0, "result_list": [result]}

        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, answer)
        self._run()
        self.assertRecordValues(migration, [{"state": "done", "migrated_count": 0, "refused_count": 0}])
        self.assertEqual((self.binding.state, self.binding.openid), ("unbound", self.openid))

    def test_a_second_migration_tries_the_refused_ones_again(self):
        self._create_merchants(1)
        self._start()
        self._answer(refused=[self.openid])
        self._run()
        migration = self._start()
        self._answer()
        self._run()
        self.assertEqual(self._get_asked()[-1], [self.openid])
        self.assertEqual((migration.total_count, migration.migrated_count), (1, 1))


class TestInterruptions(MigrationCase):
    """A migration goes on where it ended."""

    def test_a_killed_run_is_resumed_after_the_last_batch(self):
        bindings = self.binding | self._create_merchants(CHANGE_OPENID_BATCH)
        openids = bindings.mapped("openid")
        migration = self._start()
        self._answer()
        self.wechat.answer(CHANGE_OPENID_PATH, KeyboardInterrupt())
        # assertRaises() would roll back.
        with suppress(KeyboardInterrupt):
            self._run_killed()
        self.env.invalidate_all()
        self.assertEqual((migration.state, migration.migrated_count), ("running", CHANGE_OPENID_BATCH))
        self._answer()
        self._run()
        self.assertEqual(self._get_asked()[-1], openids[CHANGE_OPENID_BATCH:])
        self.assertRecordValues(migration, [{"state": "done", "migrated_count": len(openids), "refused_count": 0}])

    def _run_killed(self):
        handle = type(self.wechat).handle

        def handle_or_die(mock, request):
            queue = mock._answers[CHANGE_OPENID_PATH]
            if CHANGE_OPENID_PATH in request.url and queue and isinstance(queue[0], KeyboardInterrupt):
                raise queue.popleft()
            return handle(mock, request)

        with patch.object(type(self.wechat), "handle", handle_or_die):
            self._run()

    def test_a_run_out_of_time_ends_after_a_batch(self):
        self._create_merchants(CHANGE_OPENID_BATCH)
        migration = self._start()
        self._answer(times=2)
        crons, migrations = type(self.env["ir.cron"]), type(migration)
        commit, run, counts = crons._commit_progress, migrations._cron_run, []

        def run_and_count(model):
            run(model)
            counts.append(model.browse(migration.id).migrated_count)

        with (
            patch.object(crons, "_commit_progress", lambda cron, *args, **kw: commit(cron, *args, **kw) and 0.0),
            patch.object(migrations, "_cron_run", run_and_count),
        ):
            self._run()
        self.assertEqual(counts[:2], [CHANGE_OPENID_BATCH, CHANGE_OPENID_BATCH + 1], "Odoo runs it again")
        self.assertEqual(migration.state, "done")

    def test_a_passing_error_is_tried_again_by_itself(self):
        for answer in (502, requests.ReadTimeout(), {"errcode": -1}, {"errcode": 45009}):
            with self.subTest(answer):
                migration = self._start()
                self.wechat.answer(CHANGE_OPENID_PATH, answer)
                self._run()
                self.assertEqual(migration.state, "running")
                self.assertTrue(migration.error)
                later = fields.Datetime.now() + timedelta(minutes=9)
                domain = [("cron_id", "=", self.env.ref(CRON).id), ("call_at", ">", later)]
                triggers = self.env["ir.cron.trigger"].search(domain)
                self.assertTrue(triggers)
                triggers.unlink()
                self.assertEqual(self.binding.account_id, self.former)
                migration.sudo().unlink()
        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, 502)
        self._run()
        self._answer()
        self._run()
        self.assertRecordValues(migration, [{"state": "done", "error": False, "migrated_count": 1}])

    def test_a_refusal_stops_until_a_manager_continues(self):
        migration = self._start()
        self.wechat.answer(CHANGE_OPENID_PATH, {"errcode": 40013, "errmsg": "invalid appid rid: 1-2-3"})
        self._run()
        self.assertEqual(migration.state, "failed")
        for text in ("knows of no move", "40013", "rid: 1-2-3"):
            self.assertIn(text, migration.with_context(lang="en_US").error)
        self._run()
        self.assertEqual(len(self._get_asked()), 1)
        migration.action_continue()
        self._answer()
        self._run()
        self.assertRecordValues(migration, [{"state": "done", "error": False}])

    def test_one_that_fails_does_not_delay_another(self):
        other_former = self._create_account()
        other = self._bind(self.other_merchant, account=other_former)
        first = self._start()
        second = self._start(former_account_id=other_former.id)
        result = {"ori_openid": other.openid, "new_openid": "oNewOne", "err_msg": "ok"}
        self.wechat.answer(
            CHANGE_OPENID_PATH, {"errcode": 40013, "errmsg": "x"}, {"errcode": 0, "result_list": [result]}
        )
        self._run()
        self.assertEqual((first.state, second.state), ("failed", "done"))


class TestStart(MigrationCase):
    """A migration is started by a manager, for an account with bindings."""

    def test_only_managers_start_one(self):
        for user in (self.user, self.employee, self.portal):
            with self.subTest(user.login), self.assertRaises(AccessError):
                self.env["wechat.binding.migration"].with_user(user).create(
                    {"account_id": self.new.id, "former_account_id": self.former.id}
                )

    def test_only_the_accounts_are_taken_from_the_values(self):
        migration = self._start(user_id=self.user.id, state="done", migrated_count=5, last_binding_id=10**9)
        self.assertRecordValues(
            migration,
            [{"user_id": self.manager.id, "state": "running", "migrated_count": 0, "last_binding_id": 0}],
        )
        with self.assertRaises(AccessError):
            migration.state = "done"

    def test_defaults_forge_no_values(self):
        context = {"default_user_id": self.user.id, "default_state": "done", "default_last_binding_id": 10**9}
        migration = (
            self.env["wechat.binding.migration"]
            .with_user(self.manager)
            .with_context(**context)
            .create({"account_id": self.new.id, "former_account_id": self.former.id})
        )
        self.assertRecordValues(
            migration, [{"user_id": self.manager.id, "state": "running", "last_binding_id": 0, "total_count": 1}]
        )

    def test_accounts_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        foreign = self._create_account(company_id=company.id)
        for values in ({"account_id": foreign.id}, {"former_account_id": foreign.id}):
            with self.subTest(values), self.assertRaises(AccessError), self.env.cr.savepoint():
                self._start(**values)

    def test_what_cannot_be_migrated_is_refused_in_words(self):
        empty = self._create_account()
        for values in ({"former_account_id": self.new.id}, {"former_account_id": empty.id}):
            with self.subTest(values), self.assertRaises(UserError), self.env.cr.savepoint():
                self._start(**values)
        self._start()
        with self.assertRaisesRegex(UserError, "already"):
            self._start()

    def test_an_archived_account_is_migrated(self):
        self.former.active = False
        migration = self._start()
        self._answer()
        self._run()
        self.assertEqual((migration.state, self.binding.account_id), ("done", self.new))

    def test_the_dialog_starts_it(self):
        migrations = self.env["wechat.binding.migration"].with_user(self.manager)
        with Form(migrations.with_context(default_account_id=self.new.id)) as form:
            form.former_account_id = self.former
            self.assertEqual(form.former_app_id, self.former.app_id)
        self.assertEqual((form.record.state, form.record.total_count), ("running", 1))

    def test_the_action_menu_of_an_account_is_the_managers(self):
        for user, names in ((self.manager, {"Migrate Bindings", "Migration Reports"}), (self.user, set())):
            with self.subTest(user.login):
                actions = self.env["ir.actions.actions"].with_user(user).with_context(lang="en_US")
                bound = actions.get_bindings("wechat.account").get("action", ())
                self.assertEqual(
                    {action["name"] for action in bound} & {"Migrate Bindings", "Migration Reports"}, names
                )

    def test_the_report_is_shown_after_the_start(self):
        migration = self._start()
        self.assertEqual(migration.action_open()["res_id"], migration.id)
