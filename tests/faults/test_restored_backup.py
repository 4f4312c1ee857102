"""A restored backup beside the original sends nothing and explains why.

Odoo's own commands create and neutralise the copy. The original has waiting work of every kind.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support import pushes
from support.database import Database, odoo_command
from support.odoo import OdooError, OdooServer, WebClient
from support.running_outbox import SEND_PATH, RunningOutbox, running_outbox
from support.system import LOGS, System

MESSAGES = 3
SENDING = """
    UPDATE wechat_message
       SET state = 'sending', lease_until = now() AT TIME ZONE 'UTC' - interval '1 second', attempts = 1,
           first_call_at = now() AT TIME ZONE 'UTC' - interval '1 minute', openid = 'oSending'
     WHERE id = (SELECT min(id) FROM wechat_message)
"""


@dataclass
class Backup:
    """A restored system with its original's server off, and a merchant with an open code."""

    original: System
    merchant: int
    code: dict

    @contextmanager
    def restored(self, name: str, *, is_neutralized: bool) -> Iterator[System]:
        """Restore it, and start a server that runs the scheduled actions."""
        database = Database(f"{self.original.database.name}_{name}")
        self._run_odoo("db", "duplicate", self.original.database.name, database.name)
        try:
            if is_neutralized:
                self._run_odoo("neutralize", "-d", database.name)
            server = OdooServer(database.name, LOGS / f"odoo-backup-{name}.log", cron_threads=2)
            try:
                server.wait()
                admin = WebClient(server.url, database.name, "admin", "admin")
                original = self.original
                channel = original.channel.at(server.url)
                yield System(database, [server], original.sandbox, admin, original.account_id, channel)
            finally:
                server.stop()
        finally:
            database.drop()

    def _run_odoo(self, *arguments: str) -> None:
        subprocess.run(odoo_command(*arguments), check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def backup() -> Iterator[Backup]:
    """A database in which messages, codes, bulk generations and scans wait, and an access token is good."""
    with running_outbox("backup") as outbox:
        system = outbox.system
        outbox.queue(outbox.add_merchants(MESSAGES))
        merchant = system.merchant("杭州西湖茶庄")
        code = system.code(merchant)
        failed = system.merchant("绍兴咸亨酒业")
        with system.automation(failed, "raise UserError('boom')"):
            pushes.scan(system.channel, pushes.new_openid(), system.code(failed)["scene_str"]).send(system.channel)
        waiting = [system.merchant(f"批量 {number}") for number in range(2)]
        system.admin.call("res.partner", "action_wechat_bind_code", waiting)
        system.database.execute(SENDING)
        system.servers[0].stop()
        yield Backup(system, merchant, code)


def run_crons(system: System, code: str = "model._cron%") -> None:
    """Run scheduled actions of the addon; by default all, including archived ones."""
    domain = [("model_id.model", "=like", "wechat.%"), ("code", "=like", code), ("active", "in", [True, False])]
    for cron in system.admin.find("ir.cron", domain, ["name"]):
        system.run_cron_by_id(cron["id"])


def read_question(system: System) -> tuple[bool, list[str]]:
    """Return whether the account waits for a confirmation, and the activities that ask for it.

    Other activities may exist, since scheduled actions of an old database are overdue.
    """
    account, admin = system.account_id, system.admin
    [row] = admin.read("wechat.account", [account], ["is_outbox_unconfirmed"])
    about = [("res_model", "=", "wechat.account"), ("res_id", "=", account), ("summary", "like", "确认")]
    return row["is_outbox_unconfirmed"], [
        activity["summary"] for activity in admin.find("mail.activity", about, ["summary"])
    ]


def test_neutralized_copy_sends_nothing(backup):
    """The neutralised copy sends nothing, calls no API and refuses pushes; the admin reads the reason."""
    with backup.restored("neutralized", is_neutralized=True) as copy:
        sandbox = copy.sandbox
        calls = sandbox.get("calls")["total"]
        outbox = RunningOutbox(copy)
        outbox.wake()
        run_crons(copy)
        answer = pushes.scan(copy.channel, pushes.new_openid(), backup.code["scene_str"]).send(copy.channel)
        assert answer.status == 403
        assert copy.state(backup.merchant) == "unbound"
        with pytest.raises(OdooError, match="尚未接入微信公众号") as caught:
            copy.code(copy.merchant("新商家"))
        assert caught.value.name == "odoo.exceptions.UserError"
        assert sandbox.get("calls")["total"] == calls
        assert outbox.states() == {"canceled": MESSAGES}
        notifications = copy.database.execute(
            "SELECT DISTINCT notification_status AS status FROM mail_notification WHERE notification_type = 'wechat'"
        )
        assert notifications == [{"status": "canceled"}], "the chatter does not say that they are being sent"
        codes = copy.database.execute("SELECT DISTINCT state, share_token FROM wechat_bind_code")
        assert codes == [{"state": "revoked", "share_token": None}]


def test_copy_waits_for_a_confirmation(backup):
    """A copy with another database UUID keeps its messages until a manager confirms that it should send."""
    with backup.restored("copied", is_neutralized=False) as copy:
        admin, sandbox = copy.admin, copy.sandbox
        sends = sandbox.calls(SEND_PATH)
        outbox = RunningOutbox(copy)
        run_crons(copy, "model._cron_send()")
        assert sandbox.calls(SEND_PATH) == sends
        assert read_question(copy) == (True, ["微信消息正在等待，请确认是否由本数据库发送"])
        admin.call("wechat.account", "action_confirm_outbox", [copy.account_id])
        run_crons(copy, "model._cron_send()")
        assert outbox.states() == {"sent": MESSAGES}
        assert read_question(copy) == (False, [])
