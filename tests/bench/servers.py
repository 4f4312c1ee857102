"""Odoo in production's form, for as long as a run of the bench takes."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from support.database import Database
from support.odoo import OdooServer
from support.sandbox import Sandbox
from support.system import LOGS, System, connect, running_sandbox

WORKERS = 2
CRON_WORKERS = 2
# Connections that wait for a worker. By itself Odoo lets eight wait for each, and TCP repeats the others seconds later.
BACKLOG = 2048
# What the automation does, so that its runs can be counted.
AUTOMATION = "env['wechat.bench.run'].sudo().create([{'partner_id': record.id} for record in records])"
ROUNDS, QUICK_ROUNDS = 5, 3
_serial = itertools.count(1)
T = TypeVar("T")


def scratch_name(purpose: str) -> str:
    """Return the name of a database that ./setup/bench drops if this run is killed."""
    clone = os.environ["WECHAT_TEST_TEMPLATE_DB"].split("_")[2]
    return f"wechat_test_run_{clone}_{purpose}_{os.getpid()}"


def copy_database(purpose: str, template: str | None = None) -> Database:
    """Copy a database, by default the one in which the addon is installed, under a name of its own."""
    return Database.copied(scratch_name(f"{purpose}{next(_serial)}"), template or os.environ["WECHAT_TEST_TEMPLATE_DB"])


@dataclass
class Site:
    """One database, the Odoo that serves it, and an account that is connected to a sandbox."""

    system: System

    @property
    def url(self) -> str:
        return self.system.url

    @property
    def database(self) -> Database:
        return self.system.database

    def count(self, model: str, *domain: tuple) -> int:
        """Count records through the ORM, in the server that is measured."""
        return self.system.admin.call(model, "search_count", list(domain))


@contextmanager
def running_site(
    purpose: str, sandbox: Sandbox | None = None, database: Database | None = None, **server_options: object
) -> Iterator[Site]:
    """Odoo with workers on a database of its own, with an automation on `is_wechat_bound`.

    :param purpose: of the database, and of the files that are logged into
    :param sandbox: to connect to; by default one of its own
    :param database: dropped at the end; by default a copy of the template
    :param server_options: of :class:`OdooServer`
    """
    database = database or copy_database(purpose)
    options = {"workers": WORKERS, "cron_threads": CRON_WORKERS, "backlog": BACKLOG, **server_options}
    with ExitStack() as stack:
        stack.callback(database.drop)
        server = OdooServer(database.name, LOGS / f"odoo-{purpose}.log", **options)
        stack.callback(server.stop)
        sandbox = sandbox or stack.enter_context(running_sandbox(LOGS / f"sandbox-{purpose}.log"))
        server.wait()
        system = connect(database, [server], sandbox)
        add_automation(system)
        yield Site(system)


def add_automation(system: System) -> None:
    """Add an automation that creates a row for each bound merchant, as a third party's would."""
    [model] = system.admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
    [trigger] = system.admin.find(
        "ir.model.fields", [("model", "=", "res.partner"), ("name", "=", "is_wechat_bound")], ["id"]
    )
    action = {"name": "Code", "model_id": model["id"], "state": "code", "code": AUTOMATION}
    system.admin.create(
        "base.automation",
        {
            "name": "A merchant is bound",
            "model_id": model["id"],
            "trigger": "on_create_or_write",
            "trigger_field_ids": [(6, 0, [trigger["id"]])],
            "filter_domain": "[('is_wechat_bound', '=', True)]",
            "action_server_ids": [(0, 0, action)],
        },
    )


class Bench:
    """What the measures of a run share."""

    def __init__(self, quick: bool):
        self.quick = quick
        self._stack = ExitStack()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def rounds(self) -> int:
        """How often each side is measured."""
        return QUICK_ROUNDS if self.quick else ROUNDS

    def size(self, full: int, quick: int) -> int:
        """Return the size of a sample."""
        return quick if self.quick else full

    def keep(self, manager: AbstractContextManager[T]) -> T:
        """Enter a context that is left at the end of the run."""
        return self._stack.enter_context(manager)

    @cached_property
    def site(self) -> Site:
        """The site that measures share which leave nothing behind that others mind."""
        return self.keep(running_site("shared"))


def describe_machine() -> dict[str, str]:
    """Return what the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "unknown")
    version = subprocess.run(["psql", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {"cpu": model, "cores": str(os.cpu_count()), "postgresql": version, "load before the run": load}
