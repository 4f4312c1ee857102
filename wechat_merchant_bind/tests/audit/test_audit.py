from unittest.mock import patch

from odoo.exceptions import AccessError, UserError
from odoo.service.model import call_kw
from odoo.tools import file_open

from ..common import SECRET, WechatCase
from ..common_push import WechatPushCase


class AuditCase(WechatCase):
    def setUp(self):
        super().setUp()
        self.admin = self._create_user("wechat_admin", "base.group_system,base.group_partner_manager")
        self.manager.group_ids += self.env.ref("base.group_allow_export")
        self._run_precommit()
        self.last = self.env["wechat.operation"].search([], limit=1).id

    def _run_precommit(self):
        self.env.flush_all()
        self.env.cr.precommit.run()
        self.env.invalidate_all()

    def _get_new(self, *operations):
        """Return the entries of the log since the test began."""
        self._run_precommit()
        domain = [("id", ">", self.last or 0)]
        return self.env["wechat.operation"].search(
            domain + ([("operation", "in", operations)] if operations else []), order="id"
        )

    def _call(self, user, model, method, *args, **kwargs):
        """Call a method as RPC does."""
        return call_kw(self.env(user=user)[model], method, args, kwargs)


class TestSettings(AuditCase):
    """Changed settings are recorded with user, old and new values; of secrets, only the change itself."""

    def test_changed_settings_are_recorded_with_old_and_new_values(self):
        account = self.account.with_user(self.manager)
        account.write({"send_rate": 5, "leaver_policy": "erase", "name": "新名字", "sequence": 3, "leaver_days": 30})
        [operation] = self._get_new()
        self.assertRecordValues(
            operation,
            [
                {
                    "operation": "settings",
                    "user_id": self.manager.id,
                    "user_name": self.manager.name,
                    "account_id": self.account.id,
                    "account_name": "新名字",
                    "company_id": self.account.company_id.id,
                    "partner_id": False,
                }
            ],
        )
        for text in ("Send Rate: 20 → 5", "Data of Leavers: Keep → Erase", "→ 新名字"):
            self.assertIn(text, operation.note)
        for text in ("Sequence", "Erase after"):
            self.assertNotIn(text, operation.note)

    def test_changed_secrets_are_recorded_without_values(self):
        new = {
            "app_secret": "n" * 32,
            "webhook_token": "NewToken1",
            "encoding_aes_key": "b" * 43,
        }
        old = [self.account[name] for name in new]
        self.account.with_user(self.manager).write(new)
        [operation] = self._get_new()
        for text in ("App Secret: changed", "Token: changed", "EncodingAESKey: changed"):
            self.assertIn(text, operation.note)
        for secret in [*old, *new.values()]:
            self.assertNotIn(secret, operation.note)

    def test_unchanged_and_unimportant_values_are_not_recorded(self):
        self.account.with_user(self.manager).write({"send_rate": 20, "app_secret": SECRET, "sequence": 7})
        self.assertFalse(self._get_new())

    def test_added_archived_and_deleted_accounts_are_recorded(self):
        account = self.env["wechat.account"].with_user(self.manager).create({"name": "新公众号", "app_id": "wxnew"})
        account.active = False
        account.unlink()
        operations = self._get_new()
        self.assertEqual(operations.mapped("operation"), ["settings"] * 3)
        self.assertEqual(operations.mapped("account_name"), ["新公众号"] * 3)
        for operation, text in zip(operations, ("wxnew", "Active: yes → no", "deleted"), strict=True):
            self.assertIn(text, operation.note)
        self.assertFalse(operations.account_id)

    def test_changed_translations_are_recorded(self):
        self.account.with_user(self.manager).update_field_translations("bind_reply", {"en_US": "Hello {merchant}"})
        self.assertIn("Reply after Binding", self._get_new().note)

    def test_changed_system_parameters_are_recorded(self):
        parameters = self.env["ir.config_parameter"].with_user(self.admin)
        key = "wechat_merchant_bind.allow_insecure_api"
        parameters.search([("key", "=", key)]).unlink()
        self._run_precommit()
        self.last = self.env["wechat.operation"].search([], limit=1).id
        parameters.set_param(key, "True")
        parameters.set_param(key, "True")
        parameters.set_param(key, "1")
        parameters.set_param("web.something_else", "1")
        parameters.set_param(key, False)
        operations = self._get_new()
        self.assertEqual(len(operations), 3, operations.mapped("note"))
        for operation, text in zip(operations, ("empty → True", "True → 1", "(1) removed"), strict=True):
            self.assertEqual((operation.operation, operation.user_id), ("settings", self.admin))
            self.assertIn(text, operation.note)

    def test_new_members_are_recorded_however_they_join(self):
        group = self.env.ref("wechat_merchant_bind.group_manager")
        system = self.env.ref("base.group_system")
        for change in (
            lambda: self.employee.with_user(self.admin).write({"group_ids": [(4, group.id)]}),
            lambda: group.with_user(self.admin).write({"user_ids": [(4, self.employee.id)]}),
            # Through a group that implies it.
            lambda: self.employee.with_user(self.admin).write({"group_ids": [(4, system.id)]}),
            lambda: system.with_user(self.admin).write({"user_ids": [(4, self.employee.id)]}),
        ):
            with self.subTest(change=change), self.env.cr.savepoint() as savepoint:
                change()
                operations = self._get_new("settings")
                self.assertEqual(
                    operations.mapped("note"),
                    ["wechat_employee became a WeChat manager.", "wechat_employee became a WeChat user."],
                )
                self.assertEqual(operations.user_id, self.admin)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_former_managers_are_recorded(self):
        group = self.env.ref("wechat_merchant_bind.group_manager")
        self.manager.with_user(self.admin).write({"group_ids": [(3, group.id)]})
        self.assertIn("wechat_manager is no longer a WeChat manager.", self._get_new().mapped("note"))

    def test_users_created_as_managers_are_recorded(self):
        self._create_user("wechat_new", "wechat_merchant_bind.group_manager")
        self.assertIn("wechat_new became a WeChat manager.", self._get_new().mapped("note"))

    def test_other_groups_are_not_recorded(self):
        self.manager.with_user(self.admin).write({"group_ids": [(4, self.env.ref("base.group_allow_export").id)]})
        self._create_user("wechat_other", "base.group_portal")
        self.assertFalse(self._get_new())


class TestOpenids(AuditCase):
    """Each way in which a full OpenID leaves the server is recorded: reveals, exports and calls of the API."""

    def setUp(self):
        super().setUp()
        self.openid = self._make_openid()
        self.binding = self._bind(openid=self.openid)
        self._bind(self.other_merchant, self._make_openid())

    def assertAudited(self, operation, *texts, partner=None):
        """Check that the last calls made one entry of the log with these texts."""
        [entry] = self._get_new("reveal", "export")
        self.assertRecordValues(
            entry,
            [
                {
                    "operation": operation,
                    "user_id": self.manager.id,
                    "partner_id": (partner or self.env["res.partner"]).id,
                    "partner_name": partner.display_name if partner else False,
                }
            ],
        )
        for text in texts:
            self.assertIn(text, entry.note)
        self.assertNotIn(self.openid, entry.note)
        self.last = entry.id

    def test_reading_by_rpc_is_recorded(self):
        merchant, binding = self.merchant.ids, self.binding.ids
        for model, method, args, kwargs in (
            ("res.partner", "read", (merchant, ["name", "wechat_openid"]), {}),
            ("res.partner", "web_read", (merchant, {"wechat_openid": {}}), {}),
            ("res.partner", "search_read", ([("id", "in", merchant)], ["wechat_openid"]), {}),
            ("res.partner", "web_search_read", ([("id", "in", merchant)], {"wechat_openid": {}}), {}),
            ("wechat.binding", "read", (binding, ["openid"]), {}),
            ("wechat.binding", "search_read", ([("id", "in", binding)], []), {}),
            ("wechat.binding", "web_read", (binding, {"partner_id": {"fields": {"wechat_openid": {}}}}), {}),
        ):
            with self.subTest(model=model, method=method):
                result = self._call(self.manager, model, method, *args, **kwargs)
                self.assertIn(self.openid, str(result))
                self.assertAudited("reveal", "1 OpenIDs", self.merchant.name, partner=self.merchant)

    def test_readings_of_one_transaction_make_one_entry(self):
        partners = self.merchant + self.other_merchant + self._create_merchant("未绑定")
        self._call(self.manager, "res.partner", "read", partners.ids, ["wechat_openid"])
        self._call(self.manager, "res.partner", "read", partners.ids, ["wechat_openid"])
        self.assertAudited("reveal", "2 OpenIDs", self.merchant.name, self.other_merchant.name)

    def test_grouping_is_recorded(self):
        for args in (([], ["wechat_openid"], ["__count"]), ([], [], ["wechat_openid:array_agg"])):
            with self.subTest(args):
                result = self._call(self.manager, "res.partner", "formatted_read_group", *args)
                self.assertIn(self.openid, str(result))
                self.assertAudited("reveal", "OpenIDs")
        result = self._call(
            self.manager, "wechat.binding", "formatted_read_group", [], ["partner_id.wechat_openid"], ["__count"]
        )
        self.assertIn(self.openid, str(result))
        self.assertAudited("reveal", "OpenIDs")

    def test_exports_are_recorded(self):
        self._call(self.manager, "res.partner", "export_data", self.merchant.ids, ["name", "wechat_openid"])
        self.assertAudited("export", "1 OpenIDs", self.merchant.name, partner=self.merchant)
        partners = self.merchant + self.other_merchant
        self._call(self.manager, "res.partner", "export_data", partners.ids, ["wechat_binding_ids/openid"])
        self.assertAudited("export", "2 OpenIDs")
        self._call(self.manager, "wechat.binding", "export_data", self.binding.ids, ["partner_id/wechat_openid"])
        self.assertAudited("export", "1 OpenIDs", partner=self.merchant)

    def test_only_managers_export_openids(self):
        self.user.group_ids += self.env.ref("base.group_allow_export")
        for model, ids, name in (
            ("res.partner", self.merchant.ids, "wechat_openid"),
            ("wechat.binding", self.binding.ids, "openid"),
        ):
            with self.subTest(model=model), self.assertRaises(AccessError):
                self._call(self.user, model, "export_data", ids, [name])

    def test_calls_that_reveal_no_openid_are_not_recorded(self):
        self._call(self.manager, "res.partner", "read", self.merchant.ids, ["name", "wechat_openid_masked"])
        self._call(self.manager, "res.partner", "search_count", [("wechat_openid", "!=", False)])
        self._call(self.manager, "res.partner", "export_data", self.merchant.ids, ["name", "wechat_openid_masked"])
        self._call(self.manager, "wechat.binding", "web_search_read", [], {"openid_masked": {}, "partner_id": {}})
        self._call(self.manager, "res.partner", "read", self._create_merchant("未绑定").ids, ["wechat_openid"])
        self.merchant.sudo().read(["wechat_openid"])
        self.assertFalse(self._get_new("reveal", "export"))

    def test_reading_in_a_read_only_transaction_is_recorded(self):
        """As on a replica: the access is recorded by a cursor of its own."""
        with patch.object(type(self.env.cr), "readonly", True):
            self._call(self.manager, "res.partner", "read", self.merchant.ids, ["wechat_openid"])
            self.env.cr.precommit.run()
        self.assertAudited("reveal", partner=self.merchant)

    def test_no_view_shows_full_openids(self):
        """Opening the addon's windows reads no full OpenID."""
        for model, views in (
            ("wechat.binding", ["list"]),
            ("wechat.event", ["list", "form"]),
            ("res.partner", ["list", "form", "kanban"]),
        ):
            for view in views:
                arch = self.env[model].with_user(self.manager).get_view(view_type=view)
                shown = arch["models"][model]
                with self.subTest(model=model, view=view):
                    self.assertTrue(set(self.env[model]._wechat_openid_fields).isdisjoint(shown))


class TestImmutableLog(AuditCase):
    """Entries of the log can't be changed or deleted, and outlive the records that they name."""

    def setUp(self):
        super().setUp()
        self._bind()
        self.merchant.with_user(self.manager).action_wechat_unbind("x")
        self.operation = self._get_new("unbind")

    def test_no_user_changes_the_log(self):
        for user in (self.portal, self.employee, self.user, self.manager, self.admin):
            operation = self.operation.with_user(user)
            for call in (
                lambda operation=operation: operation.write({"note": "x"}),
                lambda operation=operation: operation.web_save({"note": "x"}, {}),
                operation.unlink,
                operation.copy,
                lambda operation=operation: operation.create({"operation": "bind", "note": "forged"}),
            ):
                with self.subTest(user=user.login), self.assertRaises(UserError):
                    call()

    def test_the_superuser_does_not_change_the_log(self):
        """Also by the code of a server action."""
        for call in (lambda: self.operation.write({"note": "x"}), self.operation.unlink):
            with self.assertRaises(UserError):
                call()
        action = self.env["ir.actions.server"].create(
            {
                "name": "Forge",
                "model_id": self.env["ir.model"]._get_id("wechat.operation"),
                "state": "code",
                "code": "env['wechat.operation'].sudo().search([]).write({'note': 'forged'})",
            }
        )
        with self.assertRaises(UserError):
            action.with_user(self.admin).run()

    def test_entries_outlive_their_records(self):
        account = self._create_account()
        account_name = account.name
        self.env["wechat.operation"]._log("settings", account, {account.id: "x"})
        user = self._create_user("wechat_gone", "wechat_merchant_bind.group_manager")
        merchant = self._create_merchant("短命商家")
        self._bind(merchant)
        merchant.with_user(user).action_wechat_unbind("y")
        operation = self.env["wechat.operation"].search([("partner_id", "=", merchant.id)])
        settings = self.env["wechat.operation"].search([("account_id", "=", account.id)], limit=1)
        merchant.unlink()
        account.unlink()
        self.env.cr.execute("DELETE FROM res_users WHERE id = %s", [user.id])
        self.env.invalidate_all()
        self.assertRecordValues(
            operation, [{"partner_id": False, "partner_name": "短命商家", "user_id": False, "user_name": "wechat_gone"}]
        )
        self.assertRecordValues(settings, [{"account_id": False, "account_name": account_name}])


class TestNeutralized(WechatPushCase):
    """A neutralized copy of the database does not communicate with WeChat."""

    def test_a_neutralized_database_makes_no_calls_and_refuses_pushes(self):
        openid = self._make_openid()
        code = self._make_code()
        account_token = self.env["wechat.access.token"].search([("account_id", "=", self.account.id)])
        account_token.write({"token": "still-good", "expires_at": "2040-01-01"})
        self._bind(self.other_merchant, openid)
        old_path = self.account.webhook_url.split("/", 3)[3]
        self._neutralize()
        self.wechat.calls.clear()
        self.assertFalse(self.account.active)
        self.assertFalse(any(self.account[name] for name in ("app_secret", "webhook_token", "encoding_aes_key")))
        self.assertFalse(account_token.token)
        with self.assertRaisesRegex(UserError, "No WeChat Official Account"):
            self._create_merchant("新商家").with_user(self.user)._wechat_get_bind_code()
        self.account.active = True
        with self.assertRaises(UserError):
            self._create_merchant("新商家").with_user(self.user)._wechat_get_bind_code()
        self.assertEqual(self.wechat.calls, [])
        self.assertEqual(code.state, "revoked")
        for path in (old_path, self.account.webhook_url.split("/", 3)[3]):
            response = self.url_open(f"/{path}", data="<xml/>", headers={"Content-Type": "text/xml"})
            self.assertEqual(response.status_code, 403)

    def _neutralize(self):
        with file_open("wechat_merchant_bind/data/neutralize.sql") as script:
            self.env.flush_all()
            self.env.cr.execute(script.read())
            self.env.invalidate_all()
