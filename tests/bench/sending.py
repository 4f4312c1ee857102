"""How fast the outbox is drained, and what that takes."""

import statistics
from functools import cache
from pathlib import Path

from bench.measure import Outcome, alternate, measure, median_ratio, medians, require_rows
from bench.outbox import LANES, LATENCY_MS, THREADS, get_outbox
from bench.servers import Bench

MANY, MANY_QUICK, FEW = 100_000, 2000, 1000


@measure(
    "send_vs_raw_pool",
    ">= 0.8",
    over=f"messages drained a second ({LANES} lanes with {THREADS} threads in all, {LATENCY_MS} ms of latency) over a "
    "bare pool of as many threads posting the same payloads",
)
def send_vs_raw_pool(bench: Bench) -> Outcome:
    """From the moment at which the lanes are woken until the last result is committed."""
    number = bench.size(2500, 1500)
    outbox = get_outbox(bench)
    merchants = outbox.add_merchants(number)

    def drain() -> float:
        outbox.compose(merchants)
        return outbox.drain().rate

    rates = alternate(bench.rounds, drained=drain, bare=lambda: outbox.time_bare_pool(number))
    return Outcome(median_ratio(rates, "drained", "bare"), medians(rates), note=f"{number} messages a round")


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
    """One round of the many, from the first call on: waking the lanes would weigh on the few alone."""
    return drain_many(bench)["send_100k_vs_1k_rate"]


@measure("memory_100k_mb", "< 200", "MB", over="growth of the peak memory of Odoo's worker while it drains 100,000")
def memory_100k_mb(bench: Bench) -> Outcome:
    """Of the worker that grows most (VmHWM), since it has drained some thousands."""
    return drain_many(bench)["memory_100k_mb"]
