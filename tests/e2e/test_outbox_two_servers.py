"""Two Odoo servers on one database: one sends, and the other takes over."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.database import Database
from support.odoo import OdooServer
from support.running_outbox import LEASE_SECONDS, SEND_PATH, Clock, RunningOutbox
from support.sandbox import Sandbox
from support.system import LOGS, connect, running_sandbox

NAMES = ("one", "two")
RATE = 100
LATENCY_MS = 150
# The second message of a merchant is due while the first is at WeChat.
DUE_TOGETHER = """
    UPDATE wechat_message AS message
       SET next_attempt_at = now() AT TIME ZONE 'UTC' + (2 + 0.025 * place + 0.05 * turn) * interval '1 second'
      FROM (
            SELECT id, dense_rank() OVER (ORDER BY partner_id) AS place,
                   row_number() OVER (PARTITION BY partner_id ORDER BY id) AS turn
              FROM wechat_message
           ) AS ordered
     WHERE ordered.id = message.id
"""


def start(database: Database, sandbox: Sandbox, name: str) -> OdooServer:
    """Start a server that runs one scheduled action at a time and names itself in its calls to WeChat."""
    proxy = sandbox.url.replace("//", f"//{name}:x@")
    log = LOGS / f"odoo-outbox-{name}.log"
    return OdooServer(database.name, log, cron_threads=1, http_proxy=proxy, no_proxy="")


@pytest.fixture
def outbox() -> Iterator[RunningOutbox]:
    """The outbox of a system of its own with two servers, and without receipts, which would be work too."""
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    database = Database.copied(f"wechat_test_run_{template.split('_')[2]}_share_{os.getpid()}", template)
    servers = []
    try:
        with running_sandbox(LOGS / "sandbox-share.log") as sandbox:
            sandbox.post("accounts", app_id=sandbox.account()["app_id"], receipts="off")
            servers += [start(database, sandbox, name) for name in NAMES]
            for server in servers:
                server.wait()
            yield RunningOutbox(connect(database, servers, sandbox))
    finally:
        for server in servers:
            server.stop()
        database.drop()


def test_another_server_takes_over(outbox, full_form, record_property):
    """One server sends at a time; when it dies, the other goes on. Each message arrives once, a merchant's in order."""
    number = 5000 if full_form else 500
    outbox.set_rate(RATE)
    outbox.system.sandbox.post("faults", path=SEND_PATH, latency_ms=LATENCY_MS, times=0)
    merchants = outbox.add_merchants(number // 2)
    tomorrow = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1))
    outbox.queue(merchants, scheduled_at=tomorrow)
    outbox.queue(merchants, scheduled_at=tomorrow)
    outbox.database.execute(DUE_TOGETHER)
    outbox.wake_until(lambda: outbox.count_calls() > number // 4, "a server sends", 600)
    first = outbox.calls()[-1]["caller"]
    servers = dict(zip(NAMES, outbox.system.servers, strict=True))
    servers[first].kill()
    Clock(outbox).skip(LEASE_SECONDS, leases=True)
    outbox.wake_until(lambda: not outbox.count_waiting(), "the other server sends the rest", 600)

    calls = sorted(outbox.calls(), key=lambda call: call["time"])
    by_server = Counter(call["caller"] for call in calls)
    record_property("callers", dict(by_server))
    print(by_server)
    assert outbox.states() == {"sent": number}
    rows = outbox.read("openid, client_msg_id")
    arrived = [call for call in calls if "msgid" in call and "repeats" not in call]
    assert Counter(call["body"]["client_msg_id"] for call in arrived) == Counter(row["client_msg_id"] for row in rows)
    assert set(by_server) == set(NAMES)
    switched = next(number for number, call in enumerate(calls) if call["caller"] != first)
    assert {call["caller"] for call in calls[switched:]} == set(NAMES) - {first}, "one server at a time"
    queued, called = defaultdict(list), defaultdict(list)
    for row in rows:
        queued[row["openid"]].append(row["client_msg_id"])
    for call in arrived:
        called[call["body"]["touser"]].append(call)
    assert {openid: [call["body"]["client_msg_id"] for call in made] for openid, made in called.items()} == queued
    assert all(first["time"] + first["elapsed"] <= second["time"] for first, second in called.values())
