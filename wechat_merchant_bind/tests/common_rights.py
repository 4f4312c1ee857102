"""Definitions and records for test_rights.py: all that the addon defines, and a record of each model.

There is a record of the users' own company and one of another company.
"""

import re

from odoo import Command, http
from odoo.exceptions import AccessError
from odoo.service.model import get_public_method

from .common_push import Push, WechatPushCase
from .rights import EMPLOYEE, FIELDS, MANAGER, METHODS, MODELS, PORTAL, PUBLIC, REPORTS, ROUTES, SECRETS, USER

ADDON = "odoo.addons.wechat_merchant_bind"
MODULE = "wechat_merchant_bind"
# The addon overrides these too. Their rights are in MODELS.
ORM_METHODS = frozenset({"create", "write", "unlink", "read", "search", "export_data", "load"})
SECRETIVE = re.compile("openid|secret|token|key|webhook|scene|ticket|qr_|share_url|undo_url|payload|signature")


# === WHAT THE ADDON DEFINES === #


def is_ours(cls):
    """Tell whether the addon defines a class."""
    return cls.__module__ == ADDON or cls.__module__.startswith(f"{ADDON}.")


def is_odoos(env, name, model):
    """Tell whether a class of the addon extends a model of Odoo other than this one."""
    return name != model and name in env.registry and env.registry[name]._original_module != MODULE


def find_models(env):
    """Return the names of the addon's own models, dialogs and reports included."""
    return {name for name, cls in env.registry.items() if cls._original_module == MODULE and not cls._abstract}


def find_methods(env):
    """Return "model.method" for every method that the addon defines or overrides and that RPC reaches."""
    own_models = find_models(env)
    found = set()
    for model, cls in env.registry.items():
        names = {
            name
            for base in cls.mro()
            # Additions to Odoo's abstract models have their row there.
            if is_ours(base) and not is_odoos(env, base._name, model)
            for name in vars(base)
        }
        for name in names - (ORM_METHODS if model in own_models else set()):
            try:
                get_public_method(env[model], name)
            except (AccessError, AttributeError):
                continue
            found.add(f"{model}.{name}")
    return found


def find_routes(env):
    """Return "METHOD /path" for every route that the addon defines or extends; "ANY" without methods."""
    found = set()
    for path, endpoint in env["ir.http"]._generate_routing_rules(sorted(env.registry._init_modules), converters=None):
        handler = endpoint.func
        if any(is_ours(cls) and handler.__name__ in vars(cls) for cls in type(handler.__self__).mro()):
            methods = set(endpoint.routing["methods"] or ["ANY"]) - {"OPTIONS"}
            found |= {f"{method} {path}" for method in methods}
    return found


def find_reports(env):
    """Return the names of the addon's reports."""
    reports = env["ir.actions.report"].search([("report_name", "=like", f"{MODULE}.%")])
    return set(reports.mapped("report_name"))


def find_fields(env):
    """Return "model.field" for every field that the addon adds to a model of another addon."""
    return {
        f"{model}.{name}"
        for model, cls in env.registry.items()
        if cls._original_module != MODULE
        for name, field in cls._fields.items()
        if field._modules == (MODULE,) and not is_inherited(env, model, cls, name)
    }


def is_inherited(env, model, cls, name):
    """Tell whether a model inherits a field from an abstract model such as mail.thread."""
    parents = {base._name for base in cls.mro() if getattr(base, "_name", None) in env.registry} - {model}
    return any(name in env.registry[parent]._fields for parent in parents)


def find_secretive_fields(env):
    """Return "model.field" for every field of the addon's models named like a secret or an OpenID."""
    return {f"{model}.{name}" for model in find_models(env) for name in env[model]._fields if SECRETIVE.search(name)}


TABLES = {
    "MODELS": MODELS,
    "METHODS": METHODS,
    "ROUTES": ROUTES,
    "REPORTS": REPORTS,
    "FIELDS": FIELDS,
    "SECRETS": SECRETS,
}


def find_gaps(env):
    """Compare the tables of rights.py with the addon.

    :return: by table, the keys without a row and the rows without a definition; empty if all agree.
    :rtype: dict[str, dict[str, list[str]]]
    """
    found = {
        "MODELS": find_models(env),
        "METHODS": find_methods(env),
        "ROUTES": find_routes(env),
        "REPORTS": find_reports(env),
        "FIELDS": find_fields(env),
        "SECRETS": find_secretive_fields(env),
    }
    gaps = {}
    for table, rows in TABLES.items():
        pairs = (("no row", found[table] - set(rows)), ("no definition", set(rows) - found[table]))
        if gap := {name: sorted(keys) for name, keys in pairs if keys}:
            gaps[table] = gap
    return gaps


# === RECORDS === #


class RightsCase(WechatPushCase):
    """Provide five users, and the same records twice: self.own of their company and self.foreign of another one.

    All users may export in Odoo, so that only the addon's rights refuse an export.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.roles = {
            PUBLIC: cls.public,
            PORTAL: cls.portal,
            EMPLOYEE: cls.employee,
            USER: cls.user,
            MANAGER: cls.manager,
        }
        for user in cls.roles.values():
            user.group_ids += cls.env.ref("base.group_allow_export")
        # Pages in another language are redirected to the address of that language.
        cls.env["ir.default"].set("res.partner", "lang", "en_US")
        cls.foreign_company = cls.env["res.company"].create({"name": "另一家公司"})

    def setUp(self):
        super().setUp()
        self.own = self._make_records(self.env.company)
        self.foreign = self._make_records(self.foreign_company)
        # The code on the portal user's own page.
        self.portal.partner_id._wechat_get_bind_code()
        self.env.flush_all()
        self.wechat.calls.clear()

    def _make_records(self, company, is_shared=False):
        """Create a record of every model of the addon, and the records for the methods of the table.

        :param res.company company: the records' company.
        :param bool is_shared: whether the merchants use an Official Account shared by all companies.
        :return: records by name; for the rows of models by the model's name.
        :rtype: dict[str, models.Model]
        """
        env = self.env(context={**self.env.context, "allowed_company_ids": [company.id]})
        account = self._create_account(company_id=not is_shared and company.id)
        merchant, bound_merchant, invited = (
            self._create_merchant(f"商家 {number}", company_id=company.id).with_env(env) for number in range(3)
        )
        # The codes use the first account of the company.
        account.sequence = -1
        self.env.flush_all()
        code = invited._wechat_get_bind_code().sudo()
        binding = self._bind(bound_merchant, account=account)
        request = env["wechat.bind.request"].create(
            {
                "partner_id": invited.id,
                "code_id": code.id,
                "account_id": account.id,
                "openid": self._make_openid(),
                "scanned_at": "2026-01-01 00:00:00",
                "method": "approval",
            }
        )
        batch = env["wechat.bind.batch"]._create_for(merchant)
        batch.line_ids.write({"state": "failed", "reason": "x", "code_id": code.id})
        env["wechat.operation"]._log("bind", binding, {binding.id: "x"})
        check = env["wechat.account.check"].create({"account_id": account.id})
        dialog = env["wechat.bind.code.show"].create({"partner_id": invited.id, "code_id": code.id})
        event = env["wechat.event"].create({"account_id": account.id, "dedupe_key": f"rights {company.id}"})
        import_report = env["wechat.binding.import"].create({"line_ids": [Command.create({"result": "imported"})]})
        # Without a history, so that it can be deleted.
        new_account = self._create_account(company_id=company.id, sequence=99)
        migration = env["wechat.binding.migration"].create(
            {"account_id": new_account.id, "former_account_id": account.id}
        )
        migration.write(
            {"state": "failed", "line_ids": [Command.create({"openid_masked": "oTes…0001", "reason": "x"})]}
        )
        template = env["wechat.template"].create(
            {
                "name": "订单通知",
                "account_id": account.id,
                "template_uid": f"t{company.id}",
                "model_id": env["ir.model"]._get_id("res.partner"),
                "line_ids": [Command.create({"key": "thing1", "label": "商家"})],
            }
        )
        message = env["wechat.message"].create(
            {
                "partner_id": bound_merchant.id,
                "account_id": account.id,
                "company_id": company.id,
                "openid": binding.openid,
                "template_id": template.id,
                "card": {"data": {"thing1": {"value": "x"}}},
                "state": "failed",
            }
        )
        template.line_ids.value = "{{ object.name }}"
        composer = env["wechat.composer"].create(
            {"template_id": template.id, "res_model": "res.partner", "res_ids": f"[{bound_merchant.id}]"}
        )
        template_test = env["wechat.template.test"].create(
            {"template_id": template.id, "partner_id": bound_merchant.id}
        )
        template_add = env["wechat.template.add"].create(
            {"account_id": account.id, "template_id_short": "1", "words": "商家"}
        )
        unbind_dialog = env["wechat.unbind"].create({"partner_id": bound_merchant.id})
        return {
            "account": account,
            "batch": batch,
            "bound_merchant": bound_merchant,
            "code": code,
            "composer": composer,
            "dialog": dialog,
            "event": event,
            "group": self.env.ref("wechat_merchant_bind.group_manager"),
            "email": self.env["mail.mail"].create({"body_html": "x"}),
            "other_user": self.env.ref("base.user_admin"),
            "parameter": self.env["ir.config_parameter"].search([], limit=1),
            "ir.actions.server": env["ir.actions.server"].create(
                {"name": "x", "model_id": env["ir.model"]._get_id("res.partner"), "state": "wechat"}
            ),
            "import_screen": env["base_import.import"].create(
                {"res_model": "wechat.binding", "file": b"oOpenid", "file_type": "text/csv"}
            ),
            "invited_merchant": invited,
            "mail_template": self.env.ref("wechat_merchant_bind.mail_template_wechat_bind_code"),
            "merchant": merchant,
            "request": request,
            "res.users": self.portal,
            "scheduled_message": env["mail.scheduled.message"].create(
                {
                    "author_id": merchant.id,
                    "body": "x",
                    "model": merchant._name,
                    "res_id": merchant.id,
                    "scheduled_date": "2040-01-01",
                }
            ),
            "template": template,
            "template_add": template_add,
            "template_test": template_test,
            "unbind_dialog": unbind_dialog,
            "mail.message": merchant.message_post(body="x", message_type="wechat"),
            "wechat.access.token": env["wechat.access.token"].search([("account_id", "=", account.id)]),
            "wechat.account": new_account,
            "wechat.account.health": account.health_ids[:1],
            "wechat.account.check": check,
            "wechat.account.check.line": env["wechat.account.check.line"].create(
                {"check_id": check.id, "subject": "x", "result": "ok"}
            ),
            "wechat.bind.batch": batch,
            "wechat.bind.batch.line": batch.line_ids,
            "wechat.bind.code": code,
            "wechat.bind.code.show": dialog,
            "wechat.bind.funnel": env["wechat.bind.funnel"].search([("code_id", "=", code.id)]),
            "wechat.bind.report": env["wechat.bind.report"].search(
                [("company_id", "=", company.id), ("kind", "=", "bind")], limit=1
            ),
            "wechat.bind.request": request,
            "wechat.binding": binding,
            "wechat.binding.import": import_report,
            "wechat.binding.import.line": import_report.line_ids,
            "wechat.binding.migration": migration,
            "wechat.binding.migration.line": migration.line_ids,
            # Its days are those of the reader's time zone, and OdooBot's day differs from the users' after 16:00 UTC.
            "wechat.bound.rate": env["wechat.bound.rate"]
            .with_context(tz=self.user.tz)
            .search([("company_id", "=", company.id)], limit=1),
            "wechat.composer": composer,
            "wechat.event": event,
            "wechat.message": message,
            "wechat.message.report": env["wechat.message.report"].browse(message.id),
            "wechat.openid.show": env["wechat.openid.show"].create({"binding_id": binding.id}),
            "wechat.operation": env["wechat.operation"].search([("partner_id", "=", bound_merchant.id)], limit=1),
            "wechat.portal.attempt": env["wechat.portal.attempt"].create({"partner_id": merchant.id}),
            "wechat.template": template,
            "wechat.template.add": template_add,
            "wechat.template.line": template.line_ids,
            "wechat.template.preview": env["wechat.template.preview"].create({"template_id": template.id}),
            "wechat.template.test": template_test,
            "wechat.unbind": unbind_dialog,
        }

    def _prepare_values(self, model):
        """Return values to create a record of a model with, or to write on one.

        :rtype: dict
        """
        # Without write access any value is refused, and every stored model has a company.
        return {
            "wechat.account": {"name": "x", "app_id": "wx-rights", "account_kind": "service"},
            "wechat.account.check": {"account_id": self.own["account"].id},
            "wechat.account.check.line": {
                "check_id": self.own["wechat.account.check"].id,
                "subject": "x",
                "result": "ok",
            },
            "wechat.bind.code.show": {"partner_id": self.own["merchant"].id},
            "wechat.portal.attempt": {"partner_id": self.own["merchant"].id},
            "wechat.binding.migration": {
                "account_id": self.own["wechat.account"].id,
                "former_account_id": self.own["account"].id,
            },
            "wechat.openid.show": {"binding_id": self.own["wechat.binding"].id},
            "wechat.template": {"name": "x", "account_id": self.own["account"].id, "template_uid": "x"},
            "wechat.composer": {
                "template_id": self.own["template"].id,
                "res_model": "res.partner",
                "res_ids": f"[{self.own['merchant'].id}]",
            },
            "wechat.template.add": {
                "account_id": self.own["account"].id,
                "template_id_short": "1",
                "words": "x",
            },
            "wechat.template.preview": {"template_id": self.own["template"].id},
            "wechat.template.test": {"template_id": self.own["template"].id},
            "wechat.template.line": {"template_id": self.own["wechat.template"].id, "key": "thing2"},
            "wechat.unbind": {"partner_id": self.own["bound_merchant"].id},
        }.get(model, {"company_id": self.env.company.id})

    def _prepare_import(self, model):
        """Return these values as the columns and the row of an import.

        :rtype: tuple[list[str], list[str]]
        """
        values = self._prepare_values(model)
        columns = [f"{name}/.id" if self.env[model]._fields[name].relational else name for name in values]
        return columns, [str(value) for value in values.values()]

    def _prepare_request(self, route, is_foreign=False):
        """Return a request that calls a route with a key or record that grants the access.

        :param str route: a key of ROUTES.
        :param bool is_foreign: with a key or record that does not: an unknown secret, another account's key, another
            company's record.
        :return: the arguments of url_open().
        :rtype: dict
        """
        method, path = route.split(" ")
        records = self.foreign if is_foreign else self.own
        values = {
            "<string:share_token>": "unknown" if is_foreign else records["code"].share_token,
            "<string:undo_token>": "unknown" if is_foreign else records["wechat.binding"].undo_url.rpartition("/")[2],
            "<any(digits,unbind):page>": "unbind",
            "<string:page_token>": (
                "unknown" if is_foreign else records["wechat.binding"]._get_page_url().rpartition("/")[2]
            ),
            "<string:webhook_key>": records["account"].webhook_key,
            "<int:batch_id>": str(records["batch"].id),
        }
        for placeholder, value in values.items():
            path = path.replace(placeholder, value)
        call = {"url": path, "method": method, "allow_redirects": False}
        if "<string:webhook_key>" in route:
            # Signed by the own account, also if the address has a foreign key.
            account = self.own["account"]
            push = Push(account, self._event_fields("VIEW", self._make_openid(), account=account))
            call["params"] = {**push.query, "echostr": "12345"} if method == "GET" else push.query
            return call | ({"headers": push.headers, "data": push.body.encode()} if method == "POST" else {})
        values = {}
        if is_foreign and path.startswith("/my/"):
            # These addresses hold no id. An id in the form or the query must change nothing.
            values = dict.fromkeys(("partner_id", "merchant", "id"), records["merchant"].id)
        if method == "POST":
            return call | {"data": {"csrf_token": http.Request.csrf_token(self), **values}}
        return call | {"params": values}
