"""Two Odoo servers on one database share the work of the outbox."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.database import Database
from support.lanes import SEND_PATH, RunningOutbox
from support.odoo import OdooServer, wait_for
from support.sandbox import Sandbox
from support.system import LOGS, connect, running_sandbox

SHARE = 0.25
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
            servers += [start(database, sandbox, name) for name in ("one", "two")]
            for server in servers:
                server.wait()
            yield RunningOutbox(connect(database, servers, sandbox))
    finally:
        for server in servers:
            server.stop()
        database.drop()


def test_two_servers_share_the_messages(outbox, full_form, record_property):
    """Both servers make a fair share of the calls, each message is sent once, and a merchant's in order."""
    number = 5000 if full_form else 500
    outbox.set_rate(RATE)
    outbox.system.sandbox.post("faults", path=SEND_PATH, latency_ms=LATENCY_MS, times=0)
    merchants = outbox.add_merchants(number // 2)
    tomorrow = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1))
    outbox.queue(merchants, scheduled_at=tomorrow)
    outbox.queue(merchants, scheduled_at=tomorrow)
    outbox.database.execute(DUE_TOGETHER)
    outbox.wake()
    wait_for(lambda: not outbox.count_waiting(), "all are sent", 600)

    calls = outbox.calls()
    by_server = Counter(call["caller"] for call in calls)
    seconds = max(call["time"] for call in calls) - min(call["time"] for call in calls)
    record_property("share", f"{dict(by_server)} in {seconds:.0f} s")
    print(by_server, seconds)
    assert outbox.states() == {"sent": number}
    rows = outbox.read("openid, client_msg_id")
    assert Counter(call["body"]["client_msg_id"] for call in calls) == Counter(row["client_msg_id"] for row in rows)
    assert set(by_server) == {"one", "two"}
    assert min(by_server.values()) >= SHARE * number, by_server
    queued = defaultdict(list)
    for row in rows:
        queued[row["openid"]].append(row["client_msg_id"])
    called = defaultdict(list)
    for call in calls:
        called[call["body"]["touser"]].append(call)
    assert {openid: [call["body"]["client_msg_id"] for call in made] for openid, made in called.items()} == queued
    assert all(first["time"] + first["elapsed"] <= second["time"] for first, second in called.values())
    assert seconds >= number / RATE - 2, "no faster than the account may send"
