"""Check the table of rights.py: every model, method, route and field of the addon, as each of five users.

The registry and the routing map tell what the addon defines, so that a new definition without a row is found. Each cell
is called as the user of its role, by the function that answers RPC or by the web server, and rolled back.
"""

from contextlib import contextmanager
from unittest.mock import patch
from urllib.parse import urlsplit

from odoo import fields, http
from odoo.exceptions import AccessError
from odoo.service.model import call_kw
from odoo.tools import mute_logger

from ..controllers.share import WechatShare
from ..models.binding.wechat_binding import WechatBinding
from .common import WechatCase
from .common_rights import MODULE, TABLES, RightsCase, find_gaps, find_methods
from .rights import (
    BAD_REQUEST,
    DOWNLOADS,
    FIELDS,
    INSTANCES,
    MANAGER,
    METHODS,
    MODELS,
    NO_ROLES,
    OK,
    PUBLIC,
    REDIRECTED,
    REPORTS,
    ROLES,
    ROUTES,
    SECRETS,
    TO_LOGIN,
    USER,
)


class RightsTableCase(RightsCase):
    @contextmanager
    def _undone(self):
        """Roll back the changes of a cell."""
        savepoint = self.env.cr.savepoint()
        try:
            with mute_logger("odoo.models", "odoo.addons.base.models.ir_model", "odoo.addons.base.models.ir_rule"):
                yield
        finally:
            savepoint.close(rollback=True)
            self.env.invalidate_all(flush=False)
            self.wechat.calls.clear()

    def _is_allowed(self, role, model, method, *args):
        """Call a method as RPC does.

        :return: whether the call is allowed. A refused one must not call WeChat.
        :rtype: bool
        """
        with self._undone():
            try:
                result = call_kw(self.env(user=self.roles[role])[model], method, args, {"context": {"lang": "en_US"}})
                self.env.flush_all()
            except AccessError:
                self.assertFalse(self.wechat.calls, "WeChat was called for a user without the right")
                return False
        if method == "load" and not result["ids"]:
            # An import returns the errors of its rows.
            self.assertIn("not allowed to", result["messages"][0]["message"])
            return False
        return True

    def _assertAllowed(self, expected, model, method, *args):
        """Check which roles a call is allowed for."""
        allowed = {role for role in ROLES if self._is_allowed(role, model, method, *args)}
        self.assertEqual(allowed, set(expected), f"Roles allowed to call {model}.{method}{args}")


class TestCompleteness(WechatCase):
    maxDiff = None

    def _assertGap(self, table, kind, *keys):
        """Check that a definition without a row, or a row without a definition, is reported."""
        self.assertLessEqual(set(keys), set(find_gaps(self.env).get(table, {}).get(kind, [])))

    def test_tables_match_the_addon(self):
        self.assertEqual(find_gaps(self.env), {}, "Add or remove these rows in tests/rights.py")

    def test_method_without_a_row_is_found(self):
        def method(self):
            return True

        with patch.multiple(WechatBinding, create=True, stray=method, _stray=method):
            self._assertGap("METHODS", "no row", "wechat.binding.stray")
            # Its name keeps it from RPC.
            self.assertNotIn("wechat.binding._stray", find_methods(self.env))

    def test_route_without_a_row_is_found(self):
        @http.route("/wechat/stray/<int:stray_id>", type="http", auth="public", methods=["GET", "POST"])
        def stray(self, stray_id):
            return "stray"

        with patch.object(WechatShare, "stray", stray, create=True):
            for method in ("GET", "POST"):
                self._assertGap("ROUTES", "no row", f"{method} /wechat/stray/<int:stray_id>")

    def test_model_without_a_row_is_found(self):
        with patch.dict(self.env.registry.models, {"stray.model": self.env.registry["wechat.access.token"]}):
            self._assertGap("MODELS", "no row", "stray.model")

    def test_field_without_a_row_is_found(self):
        stray = fields.Char()
        stray._modules = (MODULE,)
        for model, name, table in (
            ("res.partner", "stray_field", "FIELDS"),
            ("wechat.account", "stray_secret", "SECRETS"),
        ):
            with self.subTest(model=model), patch.dict(self.env.registry[model]._fields__, {name: stray}):
                self._assertGap(table, "no row", f"{model}.{name}")

    def test_row_without_a_definition_is_found(self):
        for table, rows in TABLES.items():
            with self.subTest(table=table), patch.dict(rows, {"wechat.gone": next(iter(rows.values()))}):
                self._assertGap(table, "no definition", "wechat.gone")


class TestModels(RightsTableCase):
    def test_reading_follows_the_table(self):
        for model, row in MODELS.items():
            ids = self.own[model].ids
            with self.subTest(model=model):
                self._assertAllowed(row.read, model, "read", ids, ["display_name"])
                self._assertAllowed(row.read, model, "search", [])
                self._assertAllowed(row.read, model, "web_search_read", [("id", "in", ids)], {"display_name": {}})
                self._assertAllowed(row.read, model, "formatted_read_group", [], [], ["__count"])
                self._assertAllowed(row.read, model, "export_data", ids, ["display_name"])

    def test_creating_follows_the_table(self):
        for model, row in MODELS.items():
            columns, cells = self._prepare_import(model)
            with self.subTest(model=model):
                self._assertAllowed(row.create, model, "create", [self._prepare_values(model)])
                self._assertAllowed(row.create, model, "load", columns, [cells])

    def test_writing_follows_the_table(self):
        for model, row in MODELS.items():
            record_id = self.own[model].id
            columns, cells = self._prepare_import(model)
            with self.subTest(model=model):
                self._assertAllowed(row.write, model, "write", [record_id], self._prepare_values(model))
                self._assertAllowed(row.write, model, "load", [".id", *columns], [[str(record_id), *cells]])

    def test_deleting_follows_the_table(self):
        for model, row in MODELS.items():
            with self.subTest(model=model):
                self._assertAllowed(row.unlink, model, "unlink", self.own[model].ids)

    def test_records_of_another_company_are_refused(self):
        for model in MODELS:
            if self.env[model]._transient:
                # A dialog belongs to its user. TestFields checks its content.
                continue
            ids = self.foreign[model].ids
            with self.subTest(model=model):
                self._assertAllowed(NO_ROLES, model, "read", ids, ["display_name"])
                self._assertAllowed(NO_ROLES, model, "write", ids, self._prepare_values(model))
                self._assertAllowed(NO_ROLES, model, "unlink", ids)
                for user in self.roles.values():
                    records = self.env[model].with_user(user)
                    self.assertFalse(records.has_access("read") and records.search([("id", "in", ids)]))


class TestMethods(RightsTableCase):
    def _get_call(self, name, records):
        """Return the arguments of _assertAllowed() for a row."""
        row = METHODS[name]
        model, method = name.rsplit(".", 1)
        return INSTANCES.get(model, model), method, *([records[row.on].ids] if row.on else []), *row.args

    def test_calls_in_the_own_company_follow_the_table(self):
        for name, row in METHODS.items():
            with self.subTest(method=name):
                self._assertAllowed(row.allowed, *self._get_call(name, self.own))

    def test_calls_in_another_company_follow_the_table(self):
        for name, row in METHODS.items():
            with self.subTest(method=name):
                self._assertAllowed(row.foreign, *self._get_call(name, self.foreign))


class TestUnreadableMerchants(RightsTableCase):
    """A shared Official Account gives no access to merchants that the user may not read."""

    # These models have only the company of the account.
    MODELS = ("wechat.bind.code", "wechat.bind.request", "wechat.binding", "wechat.bind.batch.line")
    RECORDS = ("bound_merchant", "dialog", "invited_merchant", "merchant", "request", "unbind_dialog")

    def setUp(self):
        super().setUp()
        company = self.env["res.company"].create({"name": "第三家公司"})
        self.shared = self._make_records(company, is_shared=True)
        self.env.flush_all()
        self.wechat.calls.clear()

    def test_records_are_hidden(self):
        for model in self.MODELS:
            record = self.shared[model]
            with self.subTest(model=model):
                self._assertAllowed(NO_ROLES, model, "read", record.ids, ["display_name"])
                self._assertAllowed(NO_ROLES, model, "export_data", record.ids, ["display_name"])
                for user in self.roles.values():
                    records = self.env[model].with_user(user)
                    self.assertFalse(records.has_access("read") and records.search([("id", "in", record.ids)]))

    def test_records_are_read_by_users_of_the_merchants_company(self):
        user = self._create_user(
            "wechat_third",
            "wechat_merchant_bind.group_user",
            company_id=self.shared["merchant"].company_id.id,
            company_ids=self.shared["merchant"].company_id.ids,
        )
        for model in self.MODELS:
            with self.subTest(model=model):
                record = self.shared[model].with_user(user)
                self.assertTrue(record.read(["display_name"]))
                self.assertEqual(record.search([("id", "in", record.ids)]), record)

    def test_secrets_are_hidden(self):
        for key in SECRETS:
            model, name = key.rsplit(".", 1)
            if model not in (*self.MODELS, "wechat.bind.code.show"):
                continue
            for role, user in self.roles.items():
                with self.subTest(field=key, role=role), self._undone():
                    try:
                        self.assertFalse(self.shared[model].with_user(user).read([name])[0][name])
                    except AccessError:
                        continue

    def test_actions_are_refused(self):
        for name, row in METHODS.items():
            if row.on not in self.RECORDS:
                continue
            model, method = name.rsplit(".", 1)
            with self.subTest(method=name):
                self._assertAllowed(row.foreign, model, method, self.shared[row.on].ids, *row.args)

    def test_batch_actions_leave_them_out(self):
        """Actions on a batch of the user's own company apply to its readable merchants only."""
        batch, line = self.own["batch"], self.shared["wechat.bind.batch.line"]
        own_line = batch.line_ids
        line.batch_id = batch
        self.env.flush_all()
        for method in ("action_retry_failed", "action_cancel", "action_email"):
            (own_line + line).write({"state": "failed", "email_state": False})
            if method == "action_cancel":
                (own_line + line).state = "pending"
            before = line.state, line.email_state
            with self.subTest(method=method):
                getattr(batch.with_user(self.user), method)()
                self.assertEqual((line.state, line.email_state), before)
                self.assertNotEqual((own_line.state, own_line.email_state), before)
        names = str(batch.with_user(self.user)._get_list_rows())
        self.assertIn(own_line.partner_id.name, names)
        self.assertNotIn(line.code_id.share_token, names)
        self.assertEqual(batch.with_user(self.user)._get_open_lines(), own_line)

    def test_pictures_and_prints_are_refused(self):
        for role in (USER, MANAGER):
            self.authenticate(self.roles[role].login, self.roles[role].login)
            for path, row in DOWNLOADS.items():
                url = path.format(**{name: record.id for name, record in self.shared.items()})
                with self.subTest(path=path, role=role), mute_logger("odoo.http"):
                    self.assertEqual(self.url_open(url).status_code, row.foreign)
            for name, row in REPORTS.items():
                url = f"/report/html/{name}/{self.shared[row.on].id}"
                with self.subTest(report=name, role=role), mute_logger("odoo.http"):
                    response = self.url_open(url)
                    self.assertFalse(response.status_code == OK and urlsplit(response.url).path.endswith(url))


class TestRoutes(RightsTableCase):
    def _log_in(self, role):
        login = None if role == PUBLIC else self.roles[role].login
        self.authenticate(login, login)

    def _get_response(self, request):
        with self._undone(), mute_logger("odoo.http"):
            return self.url_open(**request)

    def _get_status(self, request):
        response = self._get_response(request)
        leads_to_login = response.status_code == REDIRECTED and "/web/login" in response.headers["Location"]
        return TO_LOGIN if leads_to_login else response.status_code

    def test_routes_follow_the_table(self):
        for role in ROLES:
            self._log_in(role)
            for route, row in ROUTES.items():
                with self.subTest(route=route, role=role):
                    self.assertEqual(self._get_status(self._prepare_request(route)), row.get_status(role))
                    foreign = self._get_status(self._prepare_request(route, is_foreign=True))
                    self.assertEqual(foreign, row.get_foreign_status(role))

    def test_forms_of_other_sites_are_refused(self):
        """A form without the CSRF token is refused."""
        for role in ROLES:
            self._log_in(role)
            for route in ROUTES:
                request = self._prepare_request(route)
                if not isinstance(request.get("data"), dict):
                    continue
                del request["data"]["csrf_token"]
                with self.subTest(route=route, role=role):
                    self.assertIn(self._get_status(request), (BAD_REQUEST, TO_LOGIN))

    def test_downloads_follow_the_table(self):
        for role in ROLES:
            self._log_in(role)
            for path, row in DOWNLOADS.items():
                with self.subTest(path=path, role=role):
                    for records, allowed, refused in (
                        (self.own, row.allowed, row.refused),
                        (self.foreign, NO_ROLES, row.foreign),
                    ):
                        url = path.format(**{name: record.id for name, record in records.items()})
                        expected = OK if role in allowed else refused
                        self.assertEqual(self._get_status({"url": url}), expected)

    def test_reports_follow_the_table(self):
        for role in ROLES:
            self._log_in(role)
            for name, row in REPORTS.items():
                with self.subTest(report=name, role=role):
                    for records, allowed in ((self.own, row.allowed), (self.foreign, NO_ROLES)):
                        url = f"/report/html/{name}/{records[row.on].id}"
                        # Odoo redirects to the address with the user's language, and without a session to the login.
                        response = self._get_response({"url": url})
                        is_drawn = response.status_code == OK and urlsplit(response.url).path.endswith(url)
                        self.assertEqual(is_drawn, role in allowed)


class TestFields(RightsTableCase):
    def test_fields_on_models_of_odoo_follow_the_table(self):
        for key, expected in FIELDS.items():
            model, name = key.rsplit(".", 1)
            model = INSTANCES.get(model, model)
            field = self.env[model]._fields[name]
            for role, user in self.roles.items():
                own = user.partner_id if model == "res.partner" else self.own[model]
                calls = [("read", own.ids, [name])]
                if field.store:
                    calls.append(("search_count", [(name, "!=", False)]))
                if field.store and field.column_type:
                    group = f"{name}:month" if field.type == "datetime" else name
                    calls.append(("formatted_read_group", [], [group], ["__count"]))
                    calls.append(("search_read", [], ["id"], 0, 1, name))
                with self.subTest(field=key, role=role):
                    self.assertEqual(name in self.env[model].with_user(user).fields_get(), role in expected)
                    for call in calls:
                        self.assertEqual(self._is_allowed(role, model, *call), role in expected, call)

    def test_secrets_follow_the_table(self):
        for key, expected in SECRETS.items():
            model, name = key.rsplit(".", 1)
            with self.subTest(field=key):
                self._assertAllowed(expected, model, "read", self.own[model].ids, [name])

    def test_secrets_of_another_company_are_hidden(self):
        for key in SECRETS:
            model, name = key.rsplit(".", 1)
            for role, user in self.roles.items():
                with self.subTest(field=key, role=role), self._undone():
                    try:
                        self.assertFalse(self.foreign[model].with_user(user).read([name])[0][name])
                    except AccessError:
                        continue
