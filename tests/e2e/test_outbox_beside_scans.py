"""Scans are answered in time while many messages are sent and their receipts arrive."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support import pushes
from support.odoo import wait_for
from support.running_outbox import RunningOutbox, running_outbox
from support.system import System

SCAN_SECONDS = 2
WELCOME_SECONDS = 10
# Seconds between two scans.
EVERY_SECONDS = 1
SHORT_SECONDS = 15
# The default of send_rate.
RATE = 20


@pytest.fixture
def outbox() -> Iterator[RunningOutbox]:
    """The outbox of a system of its own, with workers as in production."""
    with running_outbox("beside", workers=2, cron_threads=2) as outbox:
        yield outbox


@dataclass
class Scan:
    """A merchant's scan: its time and the duration of the answer."""

    openid: str
    time: float
    seconds: float


def scan(system: System, number: int) -> Scan:
    """Let a new merchant be created, get a code and scan it."""
    partner = system.merchant(f"路过的商家 {number}")
    scene = system.code(partner)["scene_str"]
    openid = pushes.new_openid()
    system.sandbox.post("followers", user=openid, subscribed=True)
    began = time.time()
    answer = pushes.scan(system.channel, openid, scene).send(system.channel)
    assert "绑定成功" in answer.text
    return Scan(openid, began, answer.seconds)


def percentile(values: list[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@pytest.mark.timed
def test_scans_are_answered_in_time_while_messages_are_sent(outbox, full_form, record_property):
    """Scans are answered in time, and the welcome message overtakes waiting messages."""
    number = 10_000 if full_form else 1000
    system = outbox.system
    system.admin.call("wechat.account", "write", [system.account_id], {"welcome_template_id": outbox.template_id})
    outbox.queue(outbox.add_merchants(number))
    # The first run loads the registry of its process.
    wait_for(lambda: outbox.count_calls() >= 2 * RATE, "the outbox is drained")
    already = outbox.count_calls()
    began = time.monotonic()
    scans = []
    while outbox.count_waiting() and (full_form or time.monotonic() < began + SHORT_SECONDS):
        scans.append(scan(system, len(scans)))
        time.sleep(max(0, began + len(scans) * EVERY_SECONDS - time.monotonic()))
    seconds = time.monotonic() - began

    def get_welcomes() -> dict[str, float]:
        sent = {call["body"]["touser"]: call["time"] for call in outbox.calls()}
        return {scan.openid: sent[scan.openid] for scan in scans if scan.openid in sent}

    welcomes = wait_for(lambda: len(found := get_welcomes()) == len(scans) and found, "all are welcomed", 30)
    waits = [welcomes[scan.openid] - scan.time for scan in scans]
    p99 = percentile([scan.seconds for scan in scans], 0.99)
    states = outbox.states()
    sent = states["sent"] + states["delivered"] - already
    figures = f"{len(scans)} scans: p99 {p99:.3f} s; welcome after {max(waits):.1f} s; {sent} sent in {seconds:.0f} s"
    record_property("beside", figures)
    print(figures, states)
    assert p99 < SCAN_SECONDS, figures
    assert max(waits) < WELCOME_SECONDS, figures
    assert sent > 0.8 * RATE * seconds, "the outbox went on beside the scans"
    if full_form:
        wait_for(lambda: outbox.states() == {"delivered": number + len(scans)}, "each receipt was applied")
        taken = Counter(call["body"]["client_msg_id"] for call in outbox.calls())
        assert set(taken.values()) == {1}
