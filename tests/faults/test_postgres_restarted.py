"""PostgreSQL crashes and restarts during scans and sending: Odoo recovers without a restart."""

import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from support.cluster import Cluster, own_cluster
from support.odoo import wait_for
from support.running_outbox import LEASE_SECONDS, SEND_PATH, Clock, RunningOutbox, running_outbox

MESSAGES = 40
SCANNERS, SCANS = 4, 10
SEND_LATENCY_MS = 300
# WeChat waits 5 seconds between tries. Here refusals are repeated sooner, but after PostgreSQL is back.
RETRY_SECONDS = 4

FORGOTTEN = """
    UPDATE wechat_event
       SET create_date = create_date - interval '5 minutes', next_attempt_at = next_attempt_at - interval '5 minutes'
     WHERE state IN ('received', 'failed') AND event = 'subscribe'
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of its own, so that the other tests' databases do not crash."""
    with own_cluster(os.environ["WECHAT_TEST_TEMPLATE_DB"]) as cluster:
        yield cluster


@pytest.fixture
def outbox(cluster: Cluster) -> Iterator[RunningOutbox]:
    """The outbox of a system with workers, as in production. Without workers Odoo's scheduler may end."""
    with cluster.used(), running_outbox("restarted", workers=2, cron_threads=2) as outbox:
        yield outbox


class Scanner(threading.Thread):
    """A phone that scans one code after the other."""

    def __init__(self, outbox: RunningOutbox, scans: list[tuple[str, str]]):
        super().__init__()
        self.sandbox, self.scans = outbox.system.sandbox, scans
        self.results: list[dict] = []

    def run(self) -> None:
        for user, content in self.scans:
            self.results.append(self.sandbox.scan(user, content))


def prepare_scans(outbox: RunningOutbox) -> list[list[tuple[str, str]]]:
    """Return the codes by phone; each code has a merchant of its own."""
    system = outbox.system
    return [
        [
            (f"重启{phone}-{number}", system.code(system.merchant(f"重启商家 {phone}-{number}"))["qr_content"])
            for number in range(SCANS)
        ]
        for phone in range(SCANNERS)
    ]


def test_odoo_recovers_from_a_crash_of_postgres(outbox, cluster):
    """A push that failed binds when WeChat repeats it, each merchant gets one message, and no row is stuck."""
    system = outbox.system
    system.sandbox.post("accounts", app_id=system.channel.app_id, retry_delay=RETRY_SECONDS)
    scanners = [Scanner(outbox, scans) for scans in prepare_scans(outbox)]
    outbox.set_rate(100)
    outbox.queue(outbox.add_merchants(MESSAGES))
    system.sandbox.post("faults", path=SEND_PATH, latency_ms=SEND_LATENCY_MS, times=0)
    outbox.wake()
    wait_for(outbox.count_calls, "messages leave")
    for scanner in scanners:
        scanner.start()
    wait_for(lambda: all(scanner.results for scanner in scanners), "each phone has scanned")
    cluster.stop()
    cluster.start()
    for scanner in scanners:
        scanner.join()
    results = [result for scanner in scanners for result in scanner.results]
    assert max(len(result["tries"]) for result in results) > 1, "WeChat had to come again"
    assert all(result["ok"] for result in results)
    # Skip the time of leases and of the retry of unhandled events.
    Clock(outbox).skip(LEASE_SECONDS, leases=True)
    outbox.database.execute(FORGOTTEN)
    system.run_cron("model._cron_retry()")
    outbox.wake_until(outbox.is_settled, "everything is decided", 120)

    assert outbox.states() == {"delivered": MESSAGES}
    taken = Counter(call["body"]["touser"] for call in outbox.calls() if "msgid" in call and "repeats" not in call)
    assert set(taken.values()) == {1}
    assert len(taken) == MESSAGES
    number = SCANNERS * SCANS
    for table, state, expected in (
        ("wechat_event WHERE event = 'subscribe'", "done", number),
        ("wechat_event WHERE event != 'subscribe'", "done", MESSAGES),
        ("wechat_bind_code", "used", number),
        ("wechat_binding WHERE code_id IS NOT NULL", "bound", number),
    ):
        rows = outbox.database.execute(f"SELECT state, count(*) FROM {table} GROUP BY 1")
        assert rows == [{"state": state, "count": expected}], table
