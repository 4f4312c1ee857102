"""The system under test: a database of its own, two Odoo processes on it, and the sandbox.

Run by ./setup/test, which provides the installed template and the environment.
"""

import os
from collections.abc import Iterator

import pytest
from support.database import Database
from support.odoo import OdooServer, WebClient
from support.sandbox import Sandbox
from support.system import LOGS, System, connect, running_sandbox

COLLEAGUE = "colleague"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A new sandbox."""
    with running_sandbox(LOGS / "sandbox.log") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A copy of the template, dropped at the end."""
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    # ./setup/test drops the databases of killed runs by this pattern: wechat_test_run_<clone>_<process>.
    clone = template.split("_")[2]
    database = Database.copied(f"wechat_test_run_{clone}_{os.getpid()}", template)
    yield database
    database.drop()


@pytest.fixture(scope="session")
def servers(database: Database) -> Iterator[list[OdooServer]]:
    """Two Odoo processes on one database. Only the second runs scheduled actions."""
    servers = [OdooServer(database.name, LOGS / f"odoo-{n}.log", cron_threads=n - 1) for n in (1, 2)]
    try:
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def prefork(system: System) -> Iterator[OdooServer]:
    """A third Odoo on the same database, with two workers and in proxy mode, as in production."""
    server = OdooServer(system.database.name, LOGS / "odoo-prefork.log", workers=2, arguments=("--proxy-mode",))
    try:
        server.wait()
        server.wait_for_websockets()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def system(sandbox: Sandbox, database: Database, servers: list[OdooServer]) -> System:
    """The whole system with an account connected to the sandbox, in safe mode."""
    return connect(database, servers, sandbox)


@pytest.fixture(scope="session")
def colleague(system: System) -> WebClient:
    """A second admin with the right to generate codes but no manager's rights."""
    group_ids = [
        system.admin.find("ir.model.data", [("module", "=", module), ("name", "=", name)], ["res_id"])[0]["res_id"]
        for module, name in (("base", "group_user"), ("wechat_merchant_bind", "group_user"))
    ]
    system.admin.create(
        "res.users",
        {
            "name": "王小云",
            "login": COLLEAGUE,
            "password": COLLEAGUE,
            "lang": "zh_CN",
            "tz": "Asia/Shanghai",
            "group_ids": [(6, 0, group_ids)],
        },
    )
    return WebClient(system.url, system.database.name, COLLEAGUE, COLLEAGUE)


@pytest.fixture
def full_form() -> bool:
    """Whether the tests that repeat or load run in their long form (./setup/test --all)."""
    return os.environ.get("WECHAT_TEST_ALL") == "1"
