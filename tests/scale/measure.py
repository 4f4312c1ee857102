"""Measure the web client's calls inside Odoo. The tests run it as a script: measure.py DATABASE ROUNDS [CALL...].

It writes JSON: for each call the milliseconds of every round, and how PostgreSQL would answer its queries on partners.

A list's first page is `web_search_read` with the columns of the list, hidden optional ones too, the domain and the
context of the action, the domain of a filter, no order of its own, 80 records and a count up to 10,001. Fields that
widgets read besides their own are left out, also of Odoo's list, which has more of them.
"""

import json
import sys
import time

from dateutil.relativedelta import relativedelta
from lxml import etree

from odoo import api, fields
from odoo.modules.registry import Registry
from odoo.service.model import call_kw
from odoo.sql_db import Cursor
from odoo.tools import config
from odoo.tools.safe_eval import datetime, safe_eval

ADMIN = 2
ADDON = "wechat_merchant_bind"
CONTACTS, MERCHANTS = "contacts.action_contacts", f"{ADDON}.wechat_merchant_action"
PAGE_SIZE, COUNT_LIMIT = 80, 10_001
WARM_UP = 2


class Call:
    """A call of the web client's, made as the administrator."""

    def __init__(self, model: str, method: str, *args: object, **kwargs: object):
        self.model, self.method, self.args, self.kwargs = model, method, args, kwargs

    def make(self, registry: Registry) -> float:
        """Make the call in a transaction of its own, as a request does; return the milliseconds."""
        started = time.perf_counter()
        with registry.cursor() as cr:
            call_kw(api.Environment(cr, ADMIN, {})[self.model], self.method, list(self.args), self.kwargs)
        return 1000 * (time.perf_counter() - started)

    def explain(self, registry: Registry) -> list[str]:
        """Return how PostgreSQL would find and count a page's partners, were reading the whole table forbidden.

        On a small table it is not, and PostgreSQL is right to read it; which way there is besides tells the same
        on a table of any size.
        """
        queries = []
        execute = Cursor.execute

        def recording_execute(cr: Cursor, *args: object, **kwargs: object) -> object:
            result = execute(cr, *args, **kwargs)
            queries.append(cr._obj.query.decode())
            return result

        Cursor.execute = recording_execute
        try:
            self.make(registry)
        finally:
            Cursor.execute = execute
        plans = []
        with registry.cursor() as cr:
            cr.execute("SET LOCAL enable_seqscan = off")
            for query in queries:
                if 'FROM "res_partner"' in query and "LIMIT" in query:
                    # The driver's own cursor: the text is complete, a percent sign in it no placeholder.
                    cr._obj.execute(f"EXPLAIN {query}")
                    plans.append("\n".join(line for [line] in cr._obj.fetchall()))
        return plans


class Window:
    """An action's window as the web client opens it."""

    def __init__(self, env: api.Environment, xmlid: str):
        self.env = env
        self.action = env.ref(xmlid)
        self.model = self.action.res_model
        self.domain = self._evaluate(self.action.domain or "[]")
        own_context = self._evaluate(self.action.context)
        self.context = {**env["res.users"].context_get(), "allowed_company_ids": env.companies.ids, **own_context}
        views = {view.view_mode: view.view_id.id for view in self.action.view_ids}
        wanted = [(views.get(mode, False), mode) for mode in self.action.view_mode.split(",") if mode != "kanban"]
        found = env[self.model].get_views([*wanted, (self.action.search_view_id.id, "search")])["views"]
        self.archs = {mode: etree.fromstring(view["arch"]) for mode, view in found.items()}

    def _evaluate(self, expression: str) -> list | dict:
        """Evaluate a domain or a context by the names that the web client knows."""
        names = {"uid": self.env.uid, "datetime": datetime, "relativedelta": relativedelta}
        return safe_eval(expression, names | {"context_today": lambda: fields.Date.context_today(self.env.user)})

    @property
    def filters(self) -> list[str]:
        """The names of the addon's filters in the search view."""
        found = self.archs["search"].xpath("//filter[@domain][starts-with(@name, 'wechat_')]")
        return [node.get("name") for node in found]

    def _get_domain(self, filter_names: list[str]) -> list:
        """Return the action's domain, with filters of the search view chosen."""
        domain = list(self.domain)
        for name in filter_names:
            [node] = self.archs["search"].xpath(f"//filter[@name='{name}']")
            domain += self._evaluate(node.get("domain"))
        return domain

    def _get_specification(self, arch: etree._Element, model: str, is_stock: bool = False) -> dict:
        """Return which fields the web client reads for a view; without the addon's if it is to be Odoo's own one."""
        specification = {}
        for node in arch.iter("field"):
            owner = next(ancestor for ancestor in node.iterancestors() if ancestor is arch or ancestor.tag == "field")
            field = self.env[model]._fields[node.get("name")] if owner is arch else None
            if field is None or (is_stock and ADDON in field._modules):
                continue
            specification[field.name] = {}
            if field.relational:
                rows = node.find("list")
                nested = {"display_name": {}} if rows is None else self._get_specification(rows, field.comodel_name)
                specification[field.name] = {"fields": nested}
        return specification

    def first_page(self, *filter_names: str, is_stock: bool = False) -> Call:
        """Return the call for the first page of the list, with filters chosen."""
        return Call(
            self.model,
            "web_search_read",
            domain=self._get_domain(filter_names),
            specification=self._get_specification(self.archs["list"], self.model, is_stock),
            offset=0,
            order="",
            limit=PAGE_SIZE,
            count_limit=COUNT_LIMIT,
            context={**self.context, "bin_size": True},
        )

    def groups(self, *group_by: str) -> Call:
        """Return the call for the groups of the list."""
        return Call(self.model, "formatted_read_group", self.domain, group_by, ["__count"], context=self.context)

    def form(self, record_id: int, is_stock: bool = False) -> Call:
        """Return the call that opens a record."""
        specification = self._get_specification(self.archs["form"], self.model, is_stock)
        return Call(self.model, "web_read", [record_id], specification, context={**self.context, "bin_size": True})

    def graph(self) -> Call:
        """Return the call for the graph, with the filters that the action chooses."""
        chosen = [name.removeprefix("search_default_") for name in self.context if name.startswith("search_default_")]
        group_by, measures = [], ["__count"]
        for node in self.archs["graph"].iter("field"):
            field = self.env[self.model]._fields[node.get("name")]
            if node.get("type") == "measure":
                measures.append(f"{field.name}:{field.aggregator or 'sum'}")
            else:
                interval = node.get("interval") or ("month" if field.type in ("date", "datetime") else "")
                group_by.append(f"{field.name}:{interval}" if interval else field.name)
        domain = self._get_domain(chosen)
        return Call(self.model, "formatted_read_group", domain, group_by, measures, context=self.context)


def get_calls(env: api.Environment) -> dict[str, Call]:
    """Return what is measured: of Odoo its contacts' list, groups and form, and what the addon adds."""
    windows = {"contacts": Window(env, CONTACTS), "merchants": Window(env, MERCHANTS)}
    bound = env["wechat.binding"].search([("state", "=", "bound"), ("partner_id.parent_id", "=", False)], limit=1)
    calls = {
        "stock": windows["contacts"].first_page(is_stock=True),
        "stock groups": windows["contacts"].groups("country_id"),
        "stock form": windows["contacts"].form(bound.partner_id.id, is_stock=True),
        "form": windows["merchants"].form(bound.partner_id.id),
        "overview": Call("wechat.account", "get_overview"),
    }
    for name, window in windows.items():
        calls[f"{name} groups"] = window.groups("wechat_state")
        calls[f"{name} list"] = window.first_page()
        for filter_name in window.filters:
            calls[f"{name} {filter_name}"] = window.first_page(filter_name)
    for report in ("bound_rate", "bind_funnel", "bind_report"):
        calls[f"graph {report}"] = Window(env, f"{ADDON}.wechat_{report}_action").graph()
    return calls


def main() -> None:
    """Make all calls, or those named, in turn, after rounds that only warm up; without rounds only tell the plans."""
    database, rounds, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    config.parse_config(["-d", database, "--log-level", "warn"])
    registry = Registry(database)
    with registry.cursor() as cr:
        calls = get_calls(api.Environment(cr, ADMIN, {}))
    calls = {name: calls[name] for name in names or calls}
    times = {name: [] for name in calls}
    for number in range(rounds and rounds + WARM_UP):
        # To and fro, so that no call always comes behind the same one.
        for name in list(calls) if number % 2 else reversed(calls):
            milliseconds = calls[name].make(registry)
            if number >= WARM_UP:
                times[name].append(milliseconds)
    result = {name: {"ms": times[name], "plans": call.explain(registry)} for name, call in calls.items()}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
