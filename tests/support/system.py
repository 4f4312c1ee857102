"""The whole system: Odoo's processes with an account that is connected to the sandbox."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.database import Database
from support.odoo import OdooError, OdooServer, WebClient, free_port, wait_for
from support.pushes import Channel
from support.sandbox import Sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
# ./setup/test gives each run a folder of its own: two runs of a clone may overlap.
LOGS = Path(os.environ.get("WECHAT_TEST_LOGS") or REPOSITORY / ".run" / "tests")


@contextmanager
def running_sandbox(log_file: Path) -> Iterator[Sandbox]:
    """Start the sandbox on a free port, and stop it at the end.

    :raise AssertionError: it does not answer
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, REPOSITORY / "setup" / "sandbox", "--port", str(port)], stdout=log, stderr=log
        )
    sandbox = Sandbox(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert process.poll() is None, f"the sandbox ended by itself: read {log_file}"
        try:
            return sandbox.get("health")["ok"]
        except OSError:
            return False

    try:
        wait_for(answers, "the sandbox answers")
        yield sandbox
    finally:
        process.terminate()
        process.wait()


@dataclass
class System:
    """The database, servers, sandbox and client of a test."""

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
        """Create a merchant with the language Chinese."""
        return self.admin.create("res.partner", {"name": name, "is_company": True, "lang": "zh_CN"})

    def code(self, partner_id: int, client: WebClient | None = None) -> dict:
        """Press 生成绑定码; return the code's fields."""
        client = client or self.admin
        action = client.call("res.partner", "action_wechat_bind_code", [partner_id])
        show = client.read("wechat.bind.code.show", [action["res_id"]], ["code_id"])[0]
        return client.read("wechat.bind.code", [show["code_id"]], ["qr_content", "scene_str", "share_url", "state"])[0]

    def activate_language(self, code: str) -> None:
        """Let people choose a language; the databases of the tests begin with Chinese alone."""
        context = {"active_test": False}
        [lang] = self.admin.call("res.lang", "search_read", [("code", "=", code)], ["active"], context=context)
        if not lang["active"]:
            self.admin.call("res.lang", "write", [lang["id"]], {"active": True})

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

    def check_connection(self) -> dict[str, dict]:
        """Press 测试连接; return the lines by subject."""
        action = self.admin.call("wechat.account", "action_test_connection", [self.account_id])
        lines = self.admin.find(
            "wechat.account.check.line", [("check_id", "=", action["res_id"])], ["subject", "result", "message"]
        )
        return {line["subject"]: line for line in lines}

    def check_of(self, word: str) -> dict:
        """Press 测试连接; return the line with a word in its subject."""
        return line_about(self.check_connection(), word)

    def forget_token(self) -> None:
        """Expire the access token, so that the next call fetches one."""
        self.database.execute("UPDATE wechat_access_token SET token = NULL, expires_at = NULL, held_until = NULL")

    def run_cron(self, code: str) -> None:
        """Run a scheduled action by its code, after a run in progress."""
        [cron] = self.admin.find("ir.cron", [("code", "=", code)], ["id"])
        self.run_cron_by_id(cron["id"])

    def run_cron_by_id(self, cron_id: int) -> None:
        """Run a scheduled action, after a run in progress."""
        wait_for(lambda: self._has_run(cron_id), f"scheduled action {cron_id} is run")

    def _has_run(self, cron_id: int) -> bool:
        """Run a scheduled action unless it is running, in which case Odoo raises a UserError."""
        try:
            return self.admin.call("ir.cron", "method_direct_trigger", [cron_id])
        except OdooError as error:
            if error.name != "odoo.exceptions.UserError":
                raise
            return False

    @contextmanager
    def automation(self, partner_id: int, code: str) -> Iterator[None]:
        """Run server code whenever a merchant becomes bound, by an automation."""
        domain = [("id", "=", partner_id), ("is_wechat_bound", "=", True)]
        with self.automation_on("res.partner", "is_wechat_bound", domain, code):
            yield

    @contextmanager
    def automation_on(self, model_name: str, field: str, domain: list, code: str) -> Iterator[None]:
        """Run server code whenever a field is written and the record matches a domain."""
        [model] = self.admin.find("ir.model", [("model", "=", model_name)], ["id"])
        [trigger] = self.admin.find("ir.model.fields", [("model", "=", model_name), ("name", "=", field)], ["id"])
        rule = self.admin.create(
            "base.automation",
            {
                "name": "Third party",
                "model_id": model["id"],
                "trigger": "on_create_or_write",
                "trigger_field_ids": [(6, 0, [trigger["id"]])],
                "filter_domain": str(domain),
                "action_server_ids": [(0, 0, {"name": "Code", "model_id": model["id"], "state": "code", "code": code})],
            },
        )
        try:
            yield
        finally:
            self.admin.call("base.automation", "unlink", [rule])


def line_about(lines: dict[str, dict], word: str) -> dict:
    """Return the line of a check with a word in its subject."""
    [line] = [line for subject, line in lines.items() if word in subject]
    return line


def connect(database: Database, servers: list[OdooServer], sandbox: Sandbox) -> System:
    """Create an account for the sandbox's first one, in safe mode, and enter its webhook into the sandbox."""
    admin = WebClient(servers[0].url, database.name, "admin", "admin")
    admin.call("res.users", "write", [admin.user_id], {"lang": "zh_CN", "tz": "Asia/Shanghai"})
    known = sandbox.account()
    # Nothing calls it before it is attached.
    values = {"name": known["name"], "app_id": known["app_id"], "original_id": known["original_id"]}
    return attach(database, servers, sandbox, admin, admin.create("wechat.account", values))


def attach(
    database: Database, servers: list[OdooServer], sandbox: Sandbox, admin: WebClient, account_id: int
) -> System:
    """Let an account, which has the app ID of the sandbox's first one, call the sandbox and be called by it."""
    for key, value in (
        ("web.base.url", servers[0].url),
        ("web.base.url.freeze", "True"),
        ("wechat_merchant_bind.allow_insecure_api", "True"),
    ):
        admin.call("ir.config_parameter", "set_param", key, value)
    known = sandbox.account()
    values = {"app_secret": known["secret"], "api_base_url": sandbox.url}
    admin.call("wechat.account", "write", [account_id], values)
    [account] = admin.read("wechat.account", [account_id], ["webhook_token", "encoding_aes_key", "webhook_url"])
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
