"""How fast the outbox is drained, and what that takes."""

import statistics
import time
from functools import cache
from pathlib import Path

from bench.measure import Outcome, alternate, measure, median_ratio, medians, require_rows
from bench.outbox import LATENCY_MS, THREADS, get_outbox
from bench.servers import Bench
from bench.webhook import noop

MANY, MANY_QUICK, FEW = 100_000, 2000, 1000


@cache
def compare_with_pool(bench: Bench) -> dict[str, list[float]]:
    """Return the rates of the sender and of a bare pool, from waking the sender until the last result is committed."""
    number = bench.size(2500, 1500)
    outbox = get_outbox(bench)
    merchants = outbox.add_merchants(number)

    def drain() -> float:
        outbox.compose(merchants)
        return outbox.drain().rate

    return alternate(bench.rounds, drained=drain, bare=lambda: outbox.time_bare_pool(number))


@measure(
    "outbox_per_second",
    ">= 100",
    "/s",
    over=f"messages sent a second by one sender with {THREADS} threads, {LATENCY_MS} ms of latency, without receipts",
)
def outbox_per_second(bench: Bench) -> Outcome:
    """WeChat allows 100,000 a day: 100 a second send them in 17 minutes."""
    rates = compare_with_pool(bench)
    return Outcome(statistics.median(rates["drained"]), medians(rates))


@measure(
    "send_vs_raw_pool",
    ">= 0.5",
    over=f"messages sent a second over a bare pool of {THREADS} threads posting the same payloads",
)
def send_vs_raw_pool(bench: Bench) -> Outcome:
    """In the same rounds as outbox_per_second."""
    rates = compare_with_pool(bench)
    return Outcome(median_ratio(rates, "drained", "bare"), medians(rates))


@measure(
    "sustained_with_receipts_vs_noop",
    ">= 0.3",
    over="messages delivered a second while their receipts arrive, over no-op requests a second, two workers",
)
def sustained_with_receipts_vs_noop(bench: Bench) -> Outcome:
    """From waking the sender until the last receipt is applied."""
    number = bench.size(2500, 500)
    outbox = get_outbox(bench)
    merchants = outbox.add_merchants(number)
    outbox.set_receipts("after")

    def deliver() -> float:
        outbox.compose(merchants)
        began = time.monotonic()
        outbox.drain(is_delivered=True)
        return number / (time.monotonic() - began)

    try:
        rates = alternate(bench.rounds, delivered=deliver, noop=noop(outbox.site, number))
    finally:
        outbox.set_receipts("off")
    return Outcome(median_ratio(rates, "delivered", "noop"), medians(rates), note=f"{number} messages a round")


@measure("calls_per_message", "= 1", over="calls that send at the sandbox over messages, while receipts flow")
def calls_per_message(bench: Bench) -> Outcome:
    """All are delivered in the end, by a receipt each."""
    number = bench.size(5000, 500)
    outbox = get_outbox(bench)
    delivered = ("state", "=", "delivered")
    before, called = outbox.site.count("wechat.message", delivered), outbox.count_calls()
    outbox.set_receipts("after")
    try:
        outbox.compose(outbox.add_merchants(number))
        outbox.drain(is_delivered=True)
    finally:
        outbox.set_receipts("off")
    require_rows("messages delivered", number, outbox.site.count("wechat.message", delivered) - before)
    calls = outbox.count_calls() - called
    return Outcome(calls / number, {"calls": calls, "messages": number})


def read_peaks(process: int) -> dict[int, int]:
    """Return the most memory that each process of a server has had, in bytes, by its id."""
    peaks = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(lines["PPid"]) == process and "VmHWM" in lines:
            peaks[int(lines["Pid"])] = 1024 * int(lines["VmHWM"].split()[0])
    return peaks


@cache
def drain_many(bench: Bench) -> dict[str, Outcome]:
    """Drain a thousand messages several times, then all others at once; return what was found, by key."""
    many = bench.size(MANY, MANY_QUICK)
    note = "" if many == MANY else f"{many} messages instead of {MANY}"
    outbox = get_outbox(bench)
    merchants = outbox.add_merchants(many)
    few = []
    for _round in range(bench.size(bench.rounds, 1)):
        outbox.fill(merchants[:FEW])
        few.append(outbox.drain().sending_rate)
    outbox.fill(merchants)
    [server] = outbox.system.servers
    before = read_peaks(server.process.pid)
    drained = outbox.drain()
    after = read_peaks(server.process.pid)
    assert set(before) == set(after), "a worker was replaced meanwhile"
    rates = {f"{many}/s": drained.sending_rate, f"{FEW}/s": statistics.median(few)}
    growth = max(after[process] - before[process] for process in after) / 2**20
    return {
        "send_100k_vs_1k_rate": Outcome(drained.sending_rate / statistics.median(few), rates, note),
        "memory_100k_mb": Outcome(growth, {"peak MB": max(after.values()) / 2**20}, note),
    }


@measure("send_100k_vs_1k_rate", ">= 0.9", over="messages drained a second of 100,000 over those of 1,000")
def send_100k_vs_1k_rate(bench: Bench) -> Outcome:
    """One round of the many, from the first call on: waking the sender would weigh on the few alone."""
    return drain_many(bench)["send_100k_vs_1k_rate"]


@measure("memory_100k_mb", "< 200", "MB", over="growth of the peak memory of Odoo's worker while it drains 100,000")
def memory_100k_mb(bench: Bench) -> Outcome:
    """Of the worker that grows most (VmHWM), since it has drained some thousands."""
    return drain_many(bench)["memory_100k_mb"]
