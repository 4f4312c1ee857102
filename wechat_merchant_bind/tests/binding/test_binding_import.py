import csv
import io
from datetime import datetime, timedelta

import openpyxl

from odoo import fields, http
from odoo.exceptions import AccessError
from odoo.tools import file_open, mute_logger

from ..common import USER_PATH, USERS_PATH, WechatCase, WechatHttpBase

TITLES = ["商家", "OpenID", "公众号"]
COLUMNS = ["partner_id", "openid", "account_id"]
OPTIONS = {"quoting": '"', "separator": ",", "has_headers": True, "encoding": "utf-8"}


class BindingImportCase(WechatCase):
    """Helpers to import files as the import screen does."""

    def _import(self, rows, columns=COLUMNS, titles=TITLES, user=None, dryrun=False, **options):
        """Import a file.

        :return: what the import screen gets.
        """
        file = io.StringIO()
        csv.writer(file).writerows([titles[: len(columns)], *rows])
        screen = (
            self.env["base_import.import"]
            .with_user(user or self.manager)
            .create(
                {
                    "res_model": "wechat.binding",
                    "file": file.getvalue().encode(),
                    "file_name": "旧系统.csv",
                    "file_type": "text/csv",
                }
            )
        )
        self.env.flush_all()
        result = screen.execute_import(columns, titles[: len(columns)], {**OPTIONS, **options}, dryrun=dryrun)
        self.env.invalidate_all()
        return result

    def _get_report(self):
        return self.env["wechat.binding.import"].search([], limit=1)

    def _answer_users(self, *, leavers=(), **infos):
        def answer(call):
            asked = [user["openid"] for user in call.payload["user_list"]]
            return {
                "user_info_list": [
                    {"subscribe": 0 if openid in leavers else 1, "openid": openid, **infos} for openid in asked
                ]
            }

        self.wechat.answer(USERS_PATH, answer)

    def assertNothingImported(self, result, *texts):
        """Check that an import was refused as a whole, with messages that contain these texts, in this order."""
        self.assertFalse(result["ids"])
        messages = [message["message"] for message in result["messages"]]
        self.assertEqual(len(messages), len(texts), messages)
        for message, text in zip(messages, texts, strict=True):
            self.assertIn(text, message)
        self.assertFalse(self.env["wechat.binding"].search([("source", "=", "import")]))
        self.assertFalse(self.env["wechat.operation"].search([("operation", "=", "import")]))


class TestBindingImport(BindingImportCase):
    """A manager imports the OpenIDs of another system."""

    def test_contacts_of_a_disabled_merchant_are_refused(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        self.merchant.active = False
        result = self._import([(str(contact.id), self._make_openid(), "")], ["partner_id/.id", *COLUMNS[1:]])
        self.assertNothingImported(result, "is disabled")
        self.assertNotBound(contact)

    def test_imported_rows_bind_the_merchants(self):
        first, second = self._make_openid(), self._make_openid()
        code = self._make_code()
        self._answer_users(leavers=[second], subscribe_time=1_700_000_000)
        result = self._import([(self.merchant.name, first, ""), (self.other_merchant.name, second, self.account.name)])
        self.assertEqual(result["messages"], [])
        bindings = self.env["wechat.binding"].browse(result["ids"])
        self.assertBound(self.merchant, first)
        self.assertRecordValues(
            bindings,
            [
                {"state": "bound", "source": "import", "is_subscribed": True, "account_id": self.account.id},
                {"state": "bound", "source": "import", "is_subscribed": False, "account_id": self.account.id},
            ],
        )
        self.assertEqual(bindings[0].last_event_at, datetime(2023, 11, 14, 22, 13, 20))
        self.assertEqual(self.other_merchant.wechat_state, "unfollowed")
        self.assertLess(fields.Datetime.now() - bindings[1].last_event_at, timedelta(minutes=1))
        self.assertEqual(code.state, "revoked")
        self.assertOperations(self.merchant, ["generate", "import", "revoke"])
        operation = self._get_operations(self.other_merchant)
        self.assertEqual((operation.user_id, operation.openid_masked), (self.manager, bindings[1].openid_masked))
        self.assertChatter(self.other_merchant, "imported", "doesn't follow", author=self.manager.partner_id)
        self.assertNotIn(second, self.other_merchant.message_ids.mapped("body")[0])

    def test_the_report_lists_the_results(self):
        first, second = self._make_openid(), self._make_openid()
        self._answer_users(leavers=[second])
        result = self._import([(self.merchant.name, first), (self.other_merchant.name, second)], COLUMNS[:2])
        report = self._get_report().with_user(self.manager)
        self.assertRecordValues(
            report,
            [
                {
                    "file_name": "旧系统.csv",
                    "user_id": self.manager.id,
                    "total_count": 2,
                    "imported_count": 1,
                    "unfollowed_count": 1,
                    "refused_count": 0,
                }
            ],
        )
        self.assertRecordValues(
            report.line_ids.sorted("row"),
            [
                {"row": 1, "merchant": self.merchant.name, "partner_id": self.merchant.id, "result": "imported"},
                {"row": 2, "merchant": "绍兴黄酒行", "partner_id": self.other_merchant.id, "result": "unfollowed"},
            ],
        )
        self.assertEqual(result["wechat_report"]["res_id"], report.id)
        [notice] = result["wechat_notices"]
        self.assertIn("(rows 2)", notice)

    def test_a_dry_run_asks_wechat_and_writes_nothing(self):
        openid = self._make_openid()
        self._answer_users(leavers=[openid])
        result = self._import([(self.merchant.name, openid)], COLUMNS[:2], dryrun=True)
        self.assertTrue(result["ids"])
        self.assertTrue(result["wechat_notices"], "A dry run tells which merchants don't follow")
        self.assertEqual(self.wechat.count(USERS_PATH), 1)
        self.assertNotBound(self.merchant)
        self.assertFalse(self._get_report())
        self.assertFalse(self._get_operations())

    def test_a_refused_row_refuses_the_file(self):
        """Each wrong row is reported with its number, also by a dry run, and nothing is imported."""
        bound = self._create_merchant("已绑定商家")
        taken = self._make_openid()
        self._bind(bound, taken)
        disabled = self._create_merchant("停用商家", active=False)
        twins = [self._create_merchant("同名商家") for _i in range(2)]
        foreign = self._create_merchant("外地商家", company_id=self.env["res.company"].create({"name": "X"}).id)
        unreadable = self._create_account(company_id=foreign.company_id.id)
        good, twice = self._make_openid(), self._make_openid()
        rows = [
            ("0", self.merchant.id, good, ""),
            ("1", self.merchant.id, self._make_openid(), ""),
            ("2", self.other_merchant.id, twice, ""),
            ("3", twins[0].id, twice, ""),
            ("4", bound.id, self._make_openid(), ""),
            ("5", twins[1].id, taken, ""),
            ("6", disabled.id, self._make_openid(), ""),
            ("7", self._create_merchant("带空格").id, "o with spaces", ""),
            ("8", self._create_merchant("空").id, "", ""),
            ("9", foreign.id, self._make_openid(), ""),
            ("10", self._create_merchant("甲").id, self._make_openid(), unreadable.id),
            ("11", self._create_merchant("乙").id, self._make_openid(), 0x7FFFFFFF),
        ]
        columns = ["partner_id/.id", "openid", "account_id/.id"]
        for dryrun in (True, False):
            with self.subTest(dryrun=dryrun), mute_logger("odoo.sql_db"):
                result = self._import([row[1:] for row in rows], columns, dryrun=dryrun)
                told = {message["record"]: message["message"] for message in result["messages"]}
                self.assertEqual(sorted(told), [2, 4, 5, 6, 7, 8, 9, 10, 11, 12])
                for number, text in (
                    (2, "stands in row 1 already"),
                    (4, "stands in row 3 already"),
                    (5, "already bound to another OpenID"),
                    (6, "already bound to 已绑定商家"),
                    (7, "disabled"),
                    (8, "only letters"),
                    (9, "needs a merchant and an OpenID"),
                    (10, "see"),
                    (11, "no such Official Account"),
                    (12, "No matching record"),
                ):
                    self.assertIn(text, told[number])
        self.assertNotBound(self.merchant)
        self.assertEqual(self._get_live_binding(bound).openid, taken)
        report = self._get_report()
        self.assertEqual((report.refused_count, report.left_out_count, report.imported_count), (10, 2, 0))
        self.assertEqual(report.line_ids.filtered(lambda line: line.row == 5).reason, told[5])

    def test_ambiguous_names_are_refused(self):
        self._create_merchant("同名商家")
        self._create_merchant("同名商家")
        result = self._import([("同名商家", self._make_openid())], COLUMNS[:2])
        self.assertNothingImported(result, "database ID")

    def test_unknown_merchants_are_not_created(self):
        result = self._import(
            [("查无此人", self._make_openid())], COLUMNS[:2], name_create_enabled_fields={"partner_id": True}
        )
        self.assertNothingImported(result, "查无此人")
        self.assertFalse(self.env["res.partner"].search([("name", "=", "查无此人")]))

    def test_rows_are_not_skipped(self):
        result = self._import([("查无此人", self._make_openid())], COLUMNS[:2], import_skip_records=["partner_id"])
        self.assertNothingImported(result, "查无此人")

    def test_rows_that_are_bound_already_stay_unchanged(self):
        openid, other = self._make_openid(), self._make_openid()
        binding = self._bind(openid=openid)
        result = self._import([(self.other_merchant.name, other), (self.merchant.name, openid)], COLUMNS[:2])
        self.assertEqual(self._get_live_binding(), binding)
        self.assertEqual(len(result["ids"]), 1)
        self.assertBound(self.other_merchant, other)
        self.assertEqual((self._get_report().unchanged_count, self._get_report().imported_count), (1, 1))
        self.assertOperations(self.merchant, [])

    def test_an_unbound_openid_can_be_imported_again(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.assertTrue(self._import([(self.merchant.name, openid)], COLUMNS[:2])["ids"])
        self.assertBound(self.merchant, openid)

    def test_the_report_masks_openids_in_wrong_columns(self):
        openid = "oABCDabcd_-0123456789ABCDEFG"
        self._import([(openid, openid)], COLUMNS[:2])
        line = self._get_report().line_ids
        self.assertEqual(line.result, "refused")
        self.assertNotIn(openid, str(line.read()))

    def test_the_parts_of_a_long_file_make_one_report(self):
        merchants = [self._create_merchant(f"商家 {number}") for number in range(5)]
        rows = [(merchant.name, self._make_openid()) for merchant in merchants]
        file = "\n".join(",".join(row) for row in [TITLES[:2], *rows])
        screen = (
            self.env["base_import.import"]
            .with_user(self.manager)
            .create({"res_model": "wechat.binding", "file": file.encode(), "file_type": "text/csv"})
        )
        self.env.flush_all()
        skip, rounds = 0, 0
        while rounds == 0 or skip:
            options = {**OPTIONS, "skip": skip, "limit": 2}
            result = screen.execute_import(COLUMNS[:2], TITLES[:2], options)
            self.assertEqual(result["messages"], [])
            skip, rounds = result["nextrow"], rounds + 1
        self.assertEqual((rounds, self.wechat.count(USERS_PATH)), (3, 3))
        self.env.invalidate_all()
        self.assertEqual({merchant.wechat_state for merchant in merchants}, {"bound"})
        [report] = self.env["wechat.binding.import"].search([])
        self.assertEqual(report.line_ids.sorted("row").mapped("row"), [1, 2, 3, 4, 5])

    def test_a_concurrent_scan_refuses_the_import(self):
        """A scan that binds the OpenID after the checks is detected by the database."""
        openid = self._make_openid()

        def bind_meanwhile(call):
            self._bind(self.other_merchant, openid)
            return {"user_info_list": [{"subscribe": 1, "openid": openid}]}

        self.wechat.answer(USERS_PATH, bind_meanwhile)
        with mute_logger("odoo.sql_db"):
            result = self._import([(self.merchant.name, openid)], COLUMNS[:2])
        self.assertNothingImported(result, "already bound")
        self.assertEqual(self._get_report().line_ids.result, "refused")

    def test_the_screen_offers_the_columns_of_the_import(self):
        tree = self.env["base_import.import"].with_user(self.manager).get_fields_tree("wechat.binding")
        self.assertEqual([field["name"] for field in tree], COLUMNS)
        self.assertEqual([field["name"] for field in tree[0]["fields"]], ["id", ".id"])

    def test_the_titles_of_the_template_are_recognised(self):
        for lang in ("zh_CN", "en_US"):
            bindings = self.env["wechat.binding"].with_user(self.manager).with_context(lang=lang)
            [template] = bindings.get_import_templates()
            with self.subTest(lang=lang), file_open(template["template"].lstrip("/"), "rb") as file:
                book = openpyxl.load_workbook(file)
                book.active.append([self.merchant.name, self._make_openid(), self.account.name])
                content = io.BytesIO()
                book.save(content)
                screen = (
                    self.env["base_import.import"]
                    .with_user(self.manager)
                    .with_context(lang=lang)
                    .create(
                        {
                            "res_model": "wechat.binding",
                            "file": content.getvalue(),
                            "file_name": "bindings.xlsx",
                            "file_type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                        }
                    )
                )
                preview = screen.parse_preview({**OPTIONS, "headers": True})
                self.assertNotIn("error", preview)
                self.assertEqual(preview["matches"], {n: [name] for n, name in enumerate(COLUMNS)})


class TestBindingImportAsksWechat(BindingImportCase):
    """OpenIDs are imported only after WeChat has confirmed them."""

    def _rows(self, count):
        merchants = [self._create_merchant(f"商家 {number}") for number in range(count)]
        return [(merchant.name, self._make_openid()) for merchant in merchants]

    def test_wechat_is_asked_in_batches_of_100(self):
        rows = self._rows(101)
        self.assertEqual(len(self._import(rows, COLUMNS[:2])["ids"]), 101)
        calls = [call for call in self.wechat.calls if call.path == USERS_PATH]
        self.assertEqual([len(call.payload["user_list"]) for call in calls], [100, 1])

    def test_each_account_is_asked_about_its_openids(self):
        second = self._create_account()
        rows = [(*row, account.name) for row, account in zip(self._rows(2), (self.account, second), strict=True)]
        self._import(rows)
        self.assertEqual(self.wechat.count(USERS_PATH), 2)
        bindings = self.env["wechat.binding"].search([("source", "=", "import")])
        self.assertEqual(bindings.account_id, self.account + second)

    def test_an_unknown_openid_refuses_the_import(self):
        """WeChat refuses the whole batch, so each OpenID is checked by a call of its own."""
        rows = self._rows(3)
        unknown = rows[1][1]
        self.wechat.answer(USERS_PATH, {"errcode": 40003, "errmsg": f"invalid openid {unknown} rid: 1"})
        self.wechat.answer(
            USER_PATH, *[lambda call: {"errcode": 40003} if call.query["openid"] == unknown else {"subscribe": 1}] * 3
        )
        result = self._import(rows, COLUMNS[:2])
        self.assertNothingImported(result, "doesn't know")
        self.assertEqual((result["messages"][0]["record"], self.wechat.count(USER_PATH)), (2, 3))
        self.assertEqual(self._get_report().line_ids.mapped("result").count("left_out"), 2)

    def test_an_openid_missing_in_the_answer_is_refused(self):
        [row] = self._rows(1)
        self.wechat.answer(USERS_PATH, {"user_info_list": []})
        self.assertNothingImported(self._import([row], COLUMNS[:2]), "doesn't know")

    def test_a_failed_call_refuses_the_import(self):
        rows = self._rows(2)
        for answer in ({"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 1"}, 502):
            self.wechat.answer(USERS_PATH, answer)
            with self.subTest(answer):
                result = self._import(rows, COLUMNS[:2])
                self.assertNothingImported(result, "could not be asked")
                self.assertNotIn("record", result["messages"][0])
                self.assertEqual(set(self._get_report().line_ids.mapped("result")), {"left_out"})
                self.assertIn("could not be asked", self._get_report().line_ids[0].reason)

    def test_a_failed_single_call_refuses_the_import(self):
        self.wechat.answer(USERS_PATH, {"errcode": 40003})
        self.wechat.answer(USER_PATH, {"errcode": 50002})
        self.assertNothingImported(self._import(self._rows(2), COLUMNS[:2]), "could not be asked")

    def test_wechat_is_not_asked_about_refused_rows(self):
        self._import([(self.merchant.name, "no openid")], COLUMNS[:2])
        self.assertEqual(self.wechat.calls, [])


class TestForgery(BindingImportCase):
    """Only scans, managers' imports and unbinding create, change or end bindings."""

    def setUp(self):
        super().setUp()
        self.admin = self._create_user("wechat_admin", "base.group_system,base.group_partner_manager")
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)
        self.code = self._make_code(self.other_merchant)

    def _as_each(self, forge, *users):
        """Run an attempt to forge a binding as each user, and roll it back."""
        for user in users or (self.portal, self.employee, self.user, self.manager, self.admin):
            with self.subTest(user=user.login), self.env.cr.savepoint() as savepoint:
                forge(user)
                self._assert_unchanged()
                savepoint.rollback()
                self.env.invalidate_all()

    def _assert_unchanged(self):
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertBound(self.merchant, self.openid)
        self.assertNotBound(self.other_merchant)
        self.assertEqual(self.env["wechat.binding"].search_count([("account_id", "=", self.account.id)]), 1)
        self.assertEqual(self.code.state, "active")

    def test_only_managers_import(self):
        def forge(user):
            with self.assertRaises(AccessError):
                self.env["wechat.binding"].with_user(user).load(
                    ["partner_id", "openid"], [[self.other_merchant.name, self._make_openid()]]
                )

        self._as_each(forge, self.portal, self.employee, self.user)

    def test_system_administrators_are_managers(self):
        openid = self._make_openid()
        self._import([(self.other_merchant.name, openid)], COLUMNS[:2], user=self.admin)
        self.assertBound(self.other_merchant, openid)

    def test_exported_bindings_can_not_be_imported_again(self):
        [[xml_id]] = self.binding.export_data(["id"])["datas"]
        name = self.other_merchant.name

        def forge(user):
            bindings = self.env["wechat.binding"].with_user(user)
            for columns, row in (
                (["id", "openid", "partner_id"], [xml_id, "oForged", name]),
                ([".id", "openid", "partner_id"], [str(self.binding.id), "oForged", name]),
                (["openid", "partner_id", "state"], ["oForged", name, "unbound"]),
                (["openid", "partner_id", "source"], ["oForged", name, "scan"]),
                (["openid", "partner_id", "is_subscribed"], ["oForged", name, "1"]),
                (["openid", "partner_id", "code_id/.id"], ["oForged", name, str(self.code.id)]),
                (["openid", "partner_id/name"], ["oForged", name]),
                (["openid"], ["oForged"]),
                (["partner_id"], [name]),
            ):
                result = bindings.load(columns, [row])
                self.assertFalse(result["ids"], columns)
                self.assertTrue(result["messages"])

        self._as_each(forge, self.manager, self.admin)
        self.assertEqual(self.wechat.count(USERS_PATH), 0)

    def test_values_of_the_context_are_ignored(self):
        bindings = self.env["wechat.binding"].with_user(self.manager)
        forged = {
            "mode": "update",
            "default_state": "unbound",
            "default_source": "scan",
            "default_code_id": self.code.id,
            "default_company_id": self.env["res.company"].create({"name": "X"}).id,
            "default_reason": "forged",
            "wechat_loaded_rows": True,
            "wechat_file": {"rows": {}, "is_refused": False},
        }
        openid = self._make_openid()
        result = bindings.with_context(**forged).load(["partner_id", "openid"], [[self.other_merchant.name, openid]])
        self.assertRecordValues(
            self.env["wechat.binding"].browse(result["ids"]),
            [
                {
                    "state": "bound",
                    "source": "import",
                    "code_id": False,
                    "company_id": self.account.company_id.id,
                    "reason": False,
                }
            ],
        )

    def test_rpc_can_not_write_bindings_and_codes(self):
        values = {"partner_id": self.other_merchant.id, "account_id": self.account.id, "openid": self._make_openid()}

        def forge(user):
            bindings = self.env["wechat.binding"].with_user(user)
            binding, code = self.binding.with_user(user), self.code.with_user(user)
            for call in (
                lambda: bindings.create(values),
                lambda: bindings.with_context(wechat_loaded_rows=1, import_file=1).create(values),
                lambda: binding.write({"partner_id": self.other_merchant.id}),
                lambda: binding.write({"state": "unbound"}),
                lambda: binding.web_save({"openid": "oForged"}, {}),
                binding.copy,
                binding.unlink,
                lambda: bindings.name_create(self.other_merchant.name),
                lambda: code.write({"state": "used"}),
                code.copy,
                code.unlink,
            ):
                with self.assertRaises(AccessError):
                    call()

        self._as_each(forge)

    def test_bindings_can_not_be_written_through_the_merchant(self):
        bind = {"account_id": self.account.id, "openid": self._make_openid()}
        code = {"account_id": self.account.id, "scene_str": "mb_x", "ticket": "t", "qr_content": "q"}
        code["expires_at"] = "2040-01-01"

        def forge(user):
            merchant, other = self.merchant.with_user(user), self.other_merchant.with_user(user)
            for target, values in (
                (other, {"wechat_binding_ids": [(0, 0, bind)]}),
                (other, {"wechat_binding_ids": [(4, self.binding.id)]}),
                (other, {"wechat_binding_ids": [(6, 0, self.binding.ids)]}),
                (merchant, {"wechat_binding_ids": [(1, self.binding.id, {"openid": "oForged"})]}),
                (merchant, {"wechat_binding_ids": [(2, self.binding.id)]}),
                (merchant, {"wechat_binding_ids": [(3, self.binding.id)]}),
                (merchant, {"wechat_binding_ids": [(5,)]}),
                (other, {"wechat_bind_code_ids": [(0, 0, code)]}),
                (other, {"wechat_bind_code_ids": [(1, self.code.id, {"state": "used"})]}),
                (other, {"wechat_bind_code_ids": [(2, self.code.id)]}),
                (merchant, {"wechat_bind_code_ids": [(4, self.code.id)]}),
                (other, {"wechat_openid": "oForged"}),
                (other, {"is_wechat_bound": True}),
                (other, {"wechat_state": "bound"}),
            ):
                with self.assertRaises(AccessError):
                    target.write(values)
                with self.assertRaises(AccessError):
                    target.create({"name": "伪造", **values})

        self._as_each(forge)

    def test_the_superuser_can_not_write_through_the_merchant(self):
        """Code that writes merchants as the superuser may pass on a caller's values."""
        for values in ({"wechat_binding_ids": [(5,)]}, {"wechat_openid": "oForged"}):
            with self.assertRaises(AccessError):
                self.merchant.write(values)

    def test_defaults_of_the_context_are_ignored(self):
        defaults = {
            "default_wechat_openid": "oForged",
            "default_is_wechat_bound": True,
            "default_wechat_state": "bound",
            "default_wechat_binding_ids": [(0, 0, {"account_id": self.account.id, "openid": self._make_openid()})],
        }

        def forge(user):
            partners = self.env["res.partner"].with_user(user).with_context(**defaults)
            for merchants in (partners, partners.sudo()):
                self.assertNotBound(self.env["res.partner"].browse(merchants.create({"name": "伪造"}).id))

        # Only managers may set a default of the OpenID.
        self._as_each(forge, self.manager, self.admin)

    def test_stored_defaults_are_ignored(self):
        self.env["ir.default"].set("res.partner", "wechat_openid", "oForged")
        self.env["ir.default"].set("res.partner", "is_wechat_bound", True)
        self.assertNotBound(self._create_merchant("伪造"))

    def test_importing_merchants_does_not_bind(self):
        def forge(user):
            partners = self.env["res.partner"].with_user(user)
            for columns, row in (
                (["name", "wechat_openid"], ["伪造", "oForged"]),
                (["name", "is_wechat_bound"], ["伪造", "1"]),
                (["name", "wechat_state"], ["伪造", "bound"]),
                ([".id", "wechat_openid"], [str(self.other_merchant.id), "oForged"]),
                (
                    ["name", "wechat_binding_ids/openid", "wechat_binding_ids/account_id"],
                    ["伪造", "oForged", self.account.name],
                ),
                (
                    [".id", "wechat_binding_ids/.id", "wechat_binding_ids/openid"],
                    [str(self.merchant.id), str(self.binding.id), "oForged"],
                ),
            ):
                result = partners.load(columns, [row])
                self.assertFalse(result["ids"], columns)
                self.assertTrue(result["messages"])

        # Only users have access to these fields and accounts.
        self._as_each(forge, self.user, self.manager, self.admin)

    def test_bindings_can_not_be_written_through_users(self):
        """A user inherits the fields of its partner."""

        def forge(user):
            for values in ({"wechat_openid": "oForged"}, {"wechat_binding_ids": [(5,)]}):
                with self.assertRaises(AccessError):
                    self.portal.with_user(user).write(values)

        self._as_each(forge, self.portal, self.employee, self.manager, self.admin)
        self.assertNotBound(self.portal.partner_id)


class TestPortalForm(WechatHttpBase):
    def test_forged_fields_of_the_address_form_are_ignored(self):
        """The address form of the portal writes its own fields only."""
        self.portal.password = self.portal.login
        self.authenticate(self.portal.login, self.portal.login)
        data = {
            "csrf_token": http.Request.csrf_token(self),
            "name": "门户商家",
            "email": "portal@example.com",
            "phone": "+86 571 8888 8888",
            "street": "西湖大道 1 号",
            "city": "杭州",
            "country_id": self.env.ref("base.cn").id,
            "state_id": self.env.ref("base.state_cn_ZJ").id,
            "zip": "310000",
            "partner_id": self.portal.partner_id.id,
            "address_type": "billing",
            "required_fields": "name",
            "wechat_openid": "oForged",
            "is_wechat_bound": "1",
            "wechat_state": "bound",
        }
        response = self.url_open("/my/address/submit", data=data)
        self.assertEqual(response.status_code, 200)
        self.env.invalidate_all()
        self.assertEqual(self.portal.partner_id.street, "西湖大道 1 号", response.text)
        self.assertNotBound(self.portal.partner_id)
