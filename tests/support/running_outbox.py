"""The outbox of a system with a running sender, its bound merchants, and the calls that WeChat received."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from support.database import Database
from support.odoo import OdooServer, wait_for
from support.system import LOGS, System, connect, running_sandbox

SEND_PATH = "/cgi-bin/message/template/send"
CALLS_SHOWN = 20_000
COMPOSED_AT_ONCE = 1000
SEND, APPLY_RECEIPTS = "model._cron_send()", "model._cron_apply_receipts()"
# After this time a sender can no longer write the results of its claims.
LEASE_SECONDS = 76
WAKE = """
    INSERT INTO ir_cron_trigger (cron_id, call_at, create_uid, write_uid, create_date, write_date)
    SELECT cron.id, moment, 1, 1, moment, moment
      FROM ir_cron AS cron
      JOIN ir_act_server AS action ON action.id = cron.ir_actions_server_id AND action.code = ANY(%s),
           LATERAL (SELECT now() AT TIME ZONE 'UTC' AS moment) AS clock
"""
# Bindings by SQL, without thousands of scans.
MERCHANTS = """
    WITH merchant AS MATERIALIZED (
        SELECT nextval('res_partner_id_seq') AS id, now() AT TIME ZONE 'UTC' - interval '1 day' AS moment
          FROM generate_series(1, %(count)s)
    ), partner AS (
        INSERT INTO res_partner (
            id, commercial_partner_id, name, complete_name, is_company, active, partner_share, type, lang, color,
            wechat_openid, is_wechat_bound, wechat_bound_at, wechat_state,
            create_uid, write_uid, create_date, write_date
        )
        SELECT id, id, '茶庄 ' || id, '茶庄 ' || id, TRUE, TRUE, TRUE, 'contact', 'zh_CN', 0,
               'oMerchant' || lpad(id::varchar, 19, '0'), TRUE, moment, 'bound', 1, 1, moment, moment
          FROM merchant
    )
    INSERT INTO wechat_binding (
        partner_id, account_id, company_id, openid, state, source, is_subscribed, bound_at, last_event_at,
        create_uid, write_uid, create_date, write_date
    )
    SELECT merchant.id, account.id, account.company_id, 'oMerchant' || lpad(merchant.id::varchar, 19, '0'), 'bound',
           'scan', TRUE, moment, moment, 1, 1, moment, moment
      FROM merchant, wechat_account AS account
     WHERE account.id = %(account)s
 RETURNING partner_id, openid
"""


class RunningOutbox:
    """The outbox of a system, with a template of its own."""

    def __init__(self, system: System):
        self.system = system
        self.database = system.database

    @cached_property
    def template_id(self) -> int:
        return self._make_template()

    def set_rate(self, rate: float) -> None:
        """Set the account's messages a second."""
        self.system.admin.call("wechat.account", "write", [self.system.account_id], {"send_rate": rate})

    def add_merchants(self, count: int) -> list[int]:
        """Add bound merchants that follow the account."""
        rows = self.database.execute(MERCHANTS, count=count, account=self.system.account_id)
        self.system.sandbox.post("followers", users=[row["openid"] for row in rows], subscribed=True)
        return [row["partner_id"] for row in rows]

    def queue(self, partners: list[int], **options: object) -> None:
        """Queue a message to each of these merchants by the composer.

        :param options: other fields of the composer.
        """
        for start in range(0, len(partners), COMPOSED_AT_ONCE):
            values = {
                "template_id": self.template_id,
                "res_model": "res.partner",
                "res_ids": json.dumps(partners[start : start + COMPOSED_AT_ONCE]),
                **options,
            }
            composer = self.system.admin.create("wechat.composer", values)
            self.system.admin.call("wechat.composer", "action_send", [composer])

    def read(self, fields: str = "*") -> list[dict]:
        """Return columns of all messages, in the order in which they were queued."""
        return self.database.execute(f"SELECT {fields} FROM wechat_message ORDER BY id")

    def states(self) -> Counter:
        """Return the number of messages by state."""
        rows = self.database.execute("SELECT state, count(*) FROM wechat_message GROUP BY 1")
        return Counter({row["state"]: row["count"] for row in rows})

    def count_waiting(self) -> int:
        """Return the number of messages without a final state."""
        states = self.states()
        return states["outgoing"] + states["sending"]

    def is_settled(self) -> bool:
        """Return whether all messages have a final state, and all receipts are applied."""
        if self.count_waiting() or self.system.sandbox.get("state")["pending_pushes"]:
            return False
        [row] = self.database.execute("SELECT EXISTS (SELECT FROM wechat_event WHERE state = 'received') AS is_busy")
        return not row["is_busy"]

    def seconds_to_next(self) -> float:
        """Return the seconds until the next message is due; None while a message is being sent."""
        [row] = self.database.execute(
            "SELECT EXTRACT(EPOCH FROM min(next_attempt_at) - now() AT TIME ZONE 'UTC')::float AS seconds FROM ("
            "SELECT GREATEST(next_attempt_at, send_paused_until) AS next_attempt_at FROM wechat_message"
            " JOIN wechat_account AS account ON account.id = account_id WHERE state = 'outgoing' UNION ALL "
            "SELECT COALESCE(next_attempt_at, create_date) FROM wechat_event WHERE state = 'received') AS waiting"
            " WHERE NOT EXISTS (SELECT FROM wechat_message WHERE state = 'sending')"
        )
        return row["seconds"] or 0

    def wake(self, *codes: str) -> None:
        """Trigger the sender and the receipts' scheduled action, as queuing a message does.

        :param codes: the scheduled actions to trigger; all by default
        """
        self.database.execute(WAKE, list(codes or (SEND, APPLY_RECEIPTS)))
        Database("postgres").execute("SELECT pg_notify('cron_trigger', %s)", self.database.name)

    def wake_until(self, condition, what: str, seconds: float = 60) -> None:
        """Trigger the sender, also that of a starting process, until `condition` is true."""
        deadline = time.monotonic() + seconds
        while True:
            self.wake()
            try:
                wait_for(condition, what, 2)
            except AssertionError:
                if time.monotonic() >= deadline:
                    raise
            else:
                return

    def send_one_and_fail_one(self, partner: int) -> None:
        """Send a merchant a message that arrives and one that WeChat refuses. WeChat refuses all later ones too."""
        self.queue([partner])
        wait_for(lambda: self.states()["delivered"] == 1, "the message is told by its receipt")
        refusal = {"errcode": 47003, "errmsg": "argument invalid! data.thing1.value invalid"}
        self.system.sandbox.post("faults", path=SEND_PATH, **refusal)
        self.queue([partner])
        wait_for(lambda: self.states()["failed"] == 1, "WeChat refuses the message")

    def send_all(self) -> None:
        """Run the sender once, in a request."""
        admin = self.system.admin
        [model] = admin.find("ir.model", [("model", "=", "wechat.message")], ["id"])
        values = {"name": "Send", "model_id": model["id"], "state": "code", "code": "model.sudo()._cron_send()"}
        admin.call("ir.actions.server", "run", [admin.create("ir.actions.server", values)])

    def is_sender_idle(self) -> bool:
        """Return whether the sender does not run. A running one locks its scheduled action."""
        rows = self.database.execute(
            "SELECT id FROM ir_cron WHERE ir_actions_server_id IN"
            " (SELECT id FROM ir_act_server WHERE code = 'model._cron_send()') FOR NO KEY UPDATE SKIP LOCKED"
        )
        return bool(rows)

    def count_calls(self) -> int:
        """Return the number of messages that WeChat received."""
        return self.system.sandbox.calls(SEND_PATH)

    def calls(self) -> list[dict]:
        """Return the calls that sent messages, oldest first, with the parsed body."""
        answer = self.system.sandbox.get("calls", path=SEND_PATH, limit=CALLS_SHOWN)
        assert answer["total"] == len(answer["calls"]), "the sandbox has forgotten some calls"
        return [{**call, "body": json.loads(call["body"])} for call in answer["calls"]]

    def _make_template(self) -> int:
        admin, sandbox = self.system.admin, self.system.sandbox
        uid = sandbox.post("templates", title="到货通知", content="商家:{{thing1.DATA}}\n")["template_id"]
        admin.call("wechat.account", "action_sync_templates", [self.system.account_id])
        [template] = admin.find("wechat.template", [("template_uid", "=", uid)], ["line_ids"])
        [model] = admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
        admin.call("wechat.template", "write", [template["id"]], {"model_id": model["id"]})
        admin.call("wechat.template.line", "write", template["line_ids"], {"value": "{{ object.name }}"})
        return template["id"]


class Clock:
    """Time that passes for the outbox only: its stored dates move into the past.

    WeChat's clock is unchanged, so `at` converts the time of a call into the outbox's time.
    """

    def __init__(self, outbox: RunningOutbox):
        self.outbox = outbox
        self.jumps: list[tuple[float, float]] = []

    def skip(self, seconds: float, *, leases: bool = False) -> None:
        """Let time pass.

        :param leases: move the leases too. Their senders must be dead, since a running sender ignores the change.
        """
        columns = ["next_attempt_at", "first_call_at", *(["lease_until"] if leases else [])]
        moved = ", ".join(f"{column} = {column} - %(seconds)s * interval '1 second'" for column in columns)
        self.outbox.database.execute(
            f"UPDATE wechat_message SET {moved} WHERE state IN ('outgoing', 'sending')", seconds=seconds
        )
        self.outbox.database.execute(
            "UPDATE wechat_account SET send_paused_until = send_paused_until - %(seconds)s * interval '1 second'",
            seconds=seconds,
        )
        self.outbox.database.execute(
            "UPDATE wechat_event SET next_attempt_at = next_attempt_at - %(seconds)s * interval '1 second'"
            " WHERE state = 'received'",
            seconds=seconds,
        )
        self.jumps.append((time.time(), seconds))

    def at(self, moment: float) -> float:
        """Return the outbox's time for a moment of the real clock."""
        return moment + sum(seconds for jump, seconds in self.jumps if jump <= moment)


def kill_in_a_send(server: OdooServer, outbox: RunningOutbox, number: int = 1) -> None:
    """Kill a server as soon as this number of its calls is unanswered."""
    # After an answer of -1 a run ends; the next one goes on.
    outbox.wake_until(
        lambda: outbox.system.sandbox.get("state")["held_calls"] >= number, "WeChat holds unanswered sends"
    )
    server.kill()


@contextmanager
def running_outbox(name: str, **server_options) -> Iterator[RunningOutbox]:
    """The outbox of a system of its own with one server.

    :param name: of its database and logs
    :param server_options: of :class:`OdooServer`
    """
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    database = Database.copied(f"wechat_test_run_{template.split('_')[2]}_{name}_{os.getpid()}", template)
    server = OdooServer(database.name, LOGS / f"odoo-{name}.log", **server_options)
    try:
        server.wait()
        with running_sandbox(LOGS / f"sandbox-{name}.log") as sandbox:
            yield RunningOutbox(connect(database, [server], sandbox))
    finally:
        server.stop()
        database.drop()
