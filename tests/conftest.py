"""The system under test: a database of its own, two Odoo processes on it, and the stand-in for WeChat.

Run by ./setup/test, which provides the installed template and the environment.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.odoo import Database, OdooServer, WebClient, free_port, wait_for
from support.pushes import Channel
from support.sandbox import Sandbox

REPOSITORY = Path(__file__).resolve().parent.parent
LOGS = REPOSITORY / ".run" / "tests"
COLLEAGUE = "colleague"


@dataclass
class System:
    """Everything that a test reaches."""

    database: Database
    servers: list[OdooServer]
    sandbox: Sandbox
    admin: WebClient
    account_id: int
    channel: Channel

    @property
    def url(self) -> str:
        return self.servers[0].url

    def merchant(self, name: str) -> int:
        """Create a merchant who reads Chinese."""
        return self.admin.create("res.partner", {"name": name, "is_company": True, "lang": "zh_CN"})

    def code(self, partner_id: int, client: WebClient | None = None) -> dict:
        """Press 生成绑定码; return the code's fields."""
        client = client or self.admin
        action = client.call("res.partner", "action_wechat_bind_code", [partner_id])
        show = client.read("wechat.bind.code.show", [action["res_id"]], ["code_id"])[0]
        return client.read("wechat.bind.code", [show["code_id"]], ["qr_content", "scene_str", "share_url", "state"])[0]

    def state(self, partner_id: int) -> str:
        """Return a merchant's wechat_state."""
        return self.admin.read("res.partner", [partner_id], ["wechat_state"])[0]["wechat_state"]

    def bindings(self, partner_id: int) -> list[dict]:
        """Return the live bindings of a merchant."""
        return self.admin.find(
            "wechat.binding", [("partner_id", "=", partner_id), ("state", "=", "bound")], ["openid", "is_subscribed"]
        )

    def events(self, *domain: tuple) -> list[dict]:
        """Return rows of the inbox, oldest first."""
        return self.admin.find("wechat.event", list(domain), ["state", "error", "event", "openid"], order="id")

    def operations(self, partner_id: int, operation: str) -> list[dict]:
        """Return the rows of the operations log about a merchant."""
        return self.admin.find(
            "wechat.operation", [("partner_id", "=", partner_id), ("operation", "=", operation)], ["note"]
        )


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that remembers nothing."""
    LOGS.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (LOGS / "sandbox.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, REPOSITORY / "setup" / "sandbox", "--port", str(port)], stdout=log, stderr=log
        )
    sandbox = Sandbox(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: process.poll() is None and _answers(sandbox), "the sandbox answers")
        yield sandbox
    finally:
        process.terminate()
        process.wait()


def _answers(sandbox: Sandbox) -> bool:
    try:
        return sandbox.get("health")["ok"]
    except OSError:
        return False


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A copy of the template, dropped at the end."""
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    # By such a name ./setup/test drops what a killed run has left: wechat_test_run_<clone>_<process>.
    clone = template.split("_")[2]
    name = f"wechat_test_run_{clone}_{os.getpid()}"
    database = Database(name, template, Path(os.environ["WECHAT_TEST_FILESTORE"]))
    yield database
    database.drop()


@pytest.fixture(scope="session")
def servers(database: Database) -> Iterator[list[OdooServer]]:
    """Two Odoo processes on one database. The second runs the crons, so that the first has its cores for itself."""
    servers = [OdooServer(database.name, LOGS / f"odoo-{n}.log", cron_threads=n - 1) for n in (1, 2)]
    try:
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def system(sandbox: Sandbox, database: Database, servers: list[OdooServer]) -> System:
    """The whole system with an account connected to the sandbox, in safe mode."""
    admin = WebClient(servers[0].url, database.name, "admin", "admin")
    for key, value in (
        ("web.base.url", servers[0].url),
        ("web.base.url.freeze", "True"),
        ("wechat_merchant_bind.allow_insecure_api", "True"),
    ):
        admin.call("ir.config_parameter", "set_param", key, value)
    admin.call("res.users", "write", [admin.user_id], {"lang": "zh_CN", "tz": "Asia/Shanghai"})
    known = sandbox.account()
    account_id = admin.create(
        "wechat.account",
        {
            "name": known["name"],
            "app_id": known["app_id"],
            "app_secret": known["secret"],
            "original_id": known["original_id"],
            "api_base_url": sandbox.url,
        },
    )
    account = admin.read("wechat.account", [account_id], ["webhook_token", "encoding_aes_key", "webhook_url"])[0]
    sandbox.post(
        "accounts",
        app_id=known["app_id"],
        token=account["webhook_token"],
        encoding_aes_key=account["encoding_aes_key"],
        mode="safe",
        webhook_url=account["webhook_url"],
    )
    channel = Channel(
        account["webhook_url"],
        known["app_id"],
        known["original_id"],
        account["webhook_token"],
        account["encoding_aes_key"],
    )
    return System(database, servers, sandbox, admin, account_id, channel)


@pytest.fixture(scope="session")
def colleague(system: System) -> WebClient:
    """A second admin, who may generate codes and manages nothing."""
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
