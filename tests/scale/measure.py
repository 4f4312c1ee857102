"""Measures the first pages of partner lists inside Odoo; a script that the tests run: measure.py DATABASE ROUNDS.

It writes JSON: for each page the milliseconds of every round, and the plan of each of its queries on partners. A page
is what the web client asks for when a list opens: `web_search_read` with the columns of the list, hidden optional ones
too, the domain and the context of the action, the domain of the chosen filter, no order of its own, 80 records and a
count up to 10,001. Fields that widgets read besides their own are left out, also of Odoo's list, which has more of
them.
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


class Page:
    """The first page of an action's list, with a filter of its search view chosen, or none."""

    def __init__(self, env: api.Environment, xmlid: str, filter_name: str | None = None, is_stock: bool = False):
        action = env.ref(xmlid)
        list_id = action.view_ids.filtered(lambda view: view.view_mode == "list").view_id.id
        views = env["res.partner"].get_views([(list_id, "list"), (action.search_view_id.id, "search")])["views"]
        self.search = etree.fromstring(views["search"]["arch"])
        self.domain = self._evaluate(env, action.domain or "[]")
        if filter_name:
            [node] = self.search.xpath(f"//filter[@name='{filter_name}']")
            self.domain += self._evaluate(env, node.get("domain"))
        self.context = {
            **env["res.users"].context_get(),
            "allowed_company_ids": env.companies.ids,
            "bin_size": True,
            **self._evaluate(env, action.context),
        }
        self.specification = self._get_specification(env, etree.fromstring(views["list"]["arch"]), is_stock)

    @property
    def filters(self) -> list[str]:
        """The names of the addon's filters in the search view."""
        return [node.get("name") for node in self.search.xpath("//filter[@domain][starts-with(@name, 'wechat_')]")]

    def _evaluate(self, env: api.Environment, expression: str) -> list | dict:
        """Evaluate a domain or a context by the names that the web client knows."""
        names = {"uid": env.uid, "datetime": datetime, "relativedelta": relativedelta}
        return safe_eval(expression, names | {"context_today": lambda: fields.Date.context_today(env.user)})

    def _get_specification(self, env: api.Environment, arch: etree._Element, is_stock: bool) -> dict:
        """Return which fields the web client reads for a list; without the addon's if it is to be Odoo's own list."""
        specification = {}
        for node in arch.xpath("//field[not(ancestor::field)]"):
            field = env["res.partner"]._fields[node.get("name")]
            if not (is_stock and ADDON in field._modules):
                specification[field.name] = {"fields": {"display_name": {}}} if field.relational else {}
        return specification

    def read(self, registry: Registry) -> float:
        """Ask for the page in a transaction of its own, as a request does; return the milliseconds."""
        started = time.perf_counter()
        with registry.cursor() as cr:
            options = {
                "domain": self.domain,
                "specification": self.specification,
                "offset": 0,
                "order": "",
                "limit": PAGE_SIZE,
                "count_limit": COUNT_LIMIT,
                "context": self.context,
            }
            call_kw(api.Environment(cr, ADMIN, {})["res.partner"], "web_search_read", [], options)
        return 1000 * (time.perf_counter() - started)

    def explain(self, registry: Registry) -> list[str]:
        """Return how PostgreSQL would find the page's partners and count them, were reading the whole table forbidden.

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
            self.read(registry)
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


def main() -> None:
    """Measure Odoo's contact list and every filter of the addon's, in turn, after two rounds that only warm up."""
    database, rounds = sys.argv[1], int(sys.argv[2])
    config.parse_config(["-d", database, "--log-level", "warn"])
    registry = Registry(database)
    with registry.cursor() as cr:
        env = api.Environment(cr, ADMIN, {})
        pages = {"stock": Page(env, CONTACTS, is_stock=True)}
        for name, xmlid in (("contacts", CONTACTS), ("merchants", MERCHANTS)):
            pages[name] = Page(env, xmlid)
            for filter_name in pages[name].filters:
                pages[f"{name} {filter_name}"] = Page(env, xmlid, filter_name)
    times = {name: [] for name in pages}
    for number in range(rounds + 2):
        # To and fro, so that no page always comes behind the same one.
        for name in list(pages) if number % 2 else reversed(pages):
            milliseconds = pages[name].read(registry)
            if number > 1:
                times[name].append(milliseconds)
    result = {name: {"ms": times[name], "plans": page.explain(registry)} for name, page in pages.items()}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
