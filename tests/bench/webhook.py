"""What the webhook costs, against the cheapest request that Odoo can answer.

All pushes are in safe mode, encrypted and signed before the clock starts, and sent by a client that costs next to
nothing, eight at a time.
"""

import math
import secrets
import statistics
import time
from collections.abc import Callable

from support import pushes
from support.odoo import wait_for

from bench.client import Answer, exchange, raw_request
from bench.data import Invitation, add_codes, add_crowd, add_sent_messages
from bench.measure import Outcome, alternate, measure, median_ratio, medians, require_rows
from bench.servers import Bench, Site, running_site

CONCURRENCY = 8
WARM_UP = 40
# How many requests a round has.
BINDINGS, QUICK_BINDINGS = 300, 100
EVENTS, QUICK_EVENTS = 600, 200
RECEIPTS, QUICK_RECEIPTS = 1500, 500
# What is bound, and lies in the inbox, already.
FEW, MANY, QUICK_MANY = 1_000, 1_000_000, 20_000
BURST, STORM = 200, 1000
# Seconds until an answer that is late counts as lost.
GIVE_UP = 900
# After the first try.
WECHAT_RETRIES = 3
NOOP_PATH = "/wechat_bench/noop"


def send(site: Site, requests: list[bytes]) -> tuple[list[Answer], float]:
    """Send requests and return their answers and how many were answered a second.

    :raise AssertionError: one was not answered with 200
    """
    answers, seconds = exchange(site.url, requests, CONCURRENCY)
    statuses = {answer.status for answer in answers}
    assert statuses == {200}, f"answered with {statuses}"
    return answers, len(requests) / seconds


def noop(site: Site, count: int) -> Callable[[], float]:
    """Return a function that measures a round of requests that do nothing."""
    requests = [raw_request(f"{site.url}{NOOP_PATH}")] * count
    return lambda: send(site, requests)[1]


def warm_up(site: Site) -> None:
    """Let every worker load what it needs, and measure nothing."""
    send(site, [raw_request(f"{site.url}{NOOP_PATH}")] * WARM_UP)
    bind(site, WARM_UP)


def bind(site: Site, count: int) -> float:
    """Bind merchants by scans, check what that has left behind, and return how many were bound a second."""
    channel = site.system.channel
    invitations = add_codes(site.database, site.system.account_id, count)
    scans = [raw_request(channel.url, pushes.scan(channel, one.openid, one.scene)) for one in invitations]
    answers, rate = send(site, scans)
    # A passive reply to the scanner, not "success".
    assert all(b"<Encrypt>" in answer.body for answer in answers)
    check_bindings(site, invitations)
    return rate


def wait_until_handled(site: Site) -> None:
    """Return when nothing waits in the inbox."""
    query = "SELECT 1 FROM wechat_event WHERE state = 'received' LIMIT 1"
    wait_for(lambda: not site.database.execute(query), "the inbox is empty")


def check_bindings(site: Site, invitations: list[Invitation]) -> None:
    """Check that each merchant is bound once, by its scan, and that all notifications exist."""
    partners = [one.partner_id for one in invitations]
    openids = [one.openid for one in invitations]
    count = len(invitations)
    found = site.system.admin.find(
        "wechat.binding", [("partner_id", "in", partners), ("state", "=", "bound")], ["partner_id", "openid"]
    )
    by_partner = {row["partner_id"]: row["openid"] for row in found}
    require_rows("bindings", count, len(found))
    require_rows("right bindings", count, sum(by_partner.get(one.partner_id) == one.openid for one in invitations))
    for what, model, *domain in (
        ("bound merchants", "res.partner", ("id", "in", partners), ("is_wechat_bound", "=", True)),
        ("runs of the automation", "wechat.bench.run", ("partner_id", "in", partners)),
        ("used codes", "wechat.bind.code", ("partner_id", "in", partners), ("state", "=", "used")),
        ("chatter entries", "mail.message", ("model", "=", "res.partner"), ("res_id", "in", partners)),
        ("rows of the log", "wechat.operation", ("partner_id", "in", partners), ("operation", "=", "bind")),
        ("handled events", "wechat.event", ("openid", "in", openids), ("state", "=", "done")),
    ):
        require_rows(what, count, site.count(model, *domain))


def push_clicks(site: Site, count: int) -> float:
    """Send clicks on a menu, which bind nothing, check that they were stored, and return how many came a second."""
    channel = site.system.channel
    openids = [pushes.new_openid() for _number in range(count)]
    events = [pushes.seal(channel, pushes.event_xml(channel, openid, "CLICK", "menu_orders")) for openid in openids]
    _answers, rate = send(site, [raw_request(channel.url, event) for event in events])
    require_rows("clicks", count, site.count("wechat.event", ("openid", "in", openids), ("event", "=", "click")))
    return rate


class Redelivery:
    """Scans that were answered once."""

    def __init__(self, site: Site, count: int):
        self.site = site
        channel = site.system.channel
        self.invitations = add_codes(site.database, site.system.account_id, count)
        scans = [pushes.scan(channel, one.openid, one.scene) for one in self.invitations]
        self.requests = [raw_request(channel.url, scan) for scan in scans]
        send(site, self.requests)

    def send(self) -> float:
        """Send them again, check that they change nothing, and return how many were answered a second."""
        answers, rate = send(self.site, self.requests)
        assert all(b"<Encrypt>" in answer.body for answer in answers)
        openids = [one.openid for one in self.invitations]
        require_rows("first deliveries", len(openids), self.site.count("wechat.event", ("openid", "in", openids)))
        check_bindings(self.site, self.invitations)
        return rate


def push_receipts(site: Site, count: int) -> float:
    """Send receipts, wait until they are applied, check what they say, and return how many were applied a second."""
    channel, database = site.system.channel, site.database
    invitations = add_codes(database, site.system.account_id, count)
    messages = add_sent_messages(database, site.system.account_id, invitations, secrets.randbelow(2**60))
    receipts = [
        pushes.seal(channel, pushes.receipt_xml(channel, message["openid"], message["msgid"])) for message in messages
    ]
    requests = [raw_request(channel.url, receipt) for receipt in receipts]
    started = time.monotonic()
    send(site, requests)
    wait_until_handled(site)
    seconds = time.monotonic() - started
    ids, openids = [message["id"] for message in messages], [message["openid"] for message in messages]
    require_rows("receipts", count, site.count("wechat.event", ("openid", "in", openids), ("state", "=", "done")))
    require_rows(
        "delivered messages", count, site.count("wechat.message", ("id", "in", ids), ("state", "=", "delivered"))
    )
    return count / seconds


def compare_with_noop(bench: Bench, noops: int, **what: Callable[[], float]) -> Outcome:
    """Measure something in turn with requests that do nothing.

    :param noops: how many of them a round has
    :param what: its name, and what measures a round of it
    """
    [name] = what
    rates = alternate(bench.rounds, noop=noop(bench.site, noops), **what)
    return Outcome(median_ratio(rates, name, "noop"), medians(rates))


@measure("webhook_bind_vs_noop", ">= 0.4", over="binding pushes a second over no-op requests a second")
def bind_vs_noop(bench: Bench) -> Outcome:
    site = bench.site
    count = bench.size(BINDINGS, QUICK_BINDINGS)
    warm_up(site)
    return compare_with_noop(bench, 2 * count, bindings=lambda: bind(site, count))


@measure("webhook_event_vs_noop", ">= 0.5", over="stored clicks a second over no-op requests a second")
def event_vs_noop(bench: Bench) -> Outcome:
    site = bench.site
    count = bench.size(EVENTS, QUICK_EVENTS)
    warm_up(site)
    return compare_with_noop(bench, count, events=lambda: push_clicks(site, count))


@measure("webhook_repeat_vs_noop", ">= 0.8", over="redelivered scans a second over no-op requests a second")
def repeat_vs_noop(bench: Bench) -> Outcome:
    site = bench.site
    count = bench.size(EVENTS, QUICK_EVENTS)
    warm_up(site)
    redelivery = Redelivery(site, count)
    return compare_with_noop(bench, count, repeated=redelivery.send)


@measure("webhook_receipt_vs_noop", ">= 0.5", over="receipts applied a second over no-op requests a second")
def receipt_vs_noop(bench: Bench) -> Outcome:
    site = bench.site
    count = bench.size(RECEIPTS, QUICK_RECEIPTS)
    warm_up(site)
    return compare_with_noop(bench, count, receipts=lambda: push_receipts(site, count))


@measure("webhook_1m_vs_1k", ">= 0.8", over="bindings a second among 1,000,000 codes, bindings and events over 1,000")
def million_vs_thousand(bench: Bench) -> Outcome:
    count = bench.size(BINDINGS, QUICK_BINDINGS)
    crowd = bench.size(MANY, QUICK_MANY)
    with running_site("few") as few, running_site("many") as many:
        add_crowd(few.database, few.system.account_id, FEW)
        add_crowd(many.database, many.system.account_id, crowd)
        for site in (few, many):
            warm_up(site)
        rates = alternate(bench.rounds, many=lambda: bind(many, count), few=lambda: bind(few, count))
    note = "" if crowd == MANY else f"{crowd} rows instead of {MANY}"
    return Outcome(median_ratio(rates, "many", "few"), medians(rates), note)


@measure("burst_200_p99_s", "< 4", "s", over="the answer of 99 of 100 of 200 scans at once; then 1,000, with retries")
def burst(bench: Bench) -> Outcome:
    site = bench.site
    warm_up(site)
    p99s = [burst_once(site, BURST) for _round in range(bench.rounds)]
    tries = storm(site, STORM)
    note = f"of {STORM} at once each was bound once, after {max(tries)} tries at most"
    return Outcome(statistics.median(p99s), {f"tries of {STORM}": sum(tries)}, note)


def burst_once(site: Site, count: int) -> float:
    """Send scans all at once, check that they bind, and return the seconds within which 99 of 100 were answered."""
    channel = site.system.channel
    invitations = add_codes(site.database, site.system.account_id, count)
    requests = [raw_request(channel.url, pushes.scan(channel, one.openid, one.scene)) for one in invitations]
    answers, _seconds = exchange(site.url, requests, count, GIVE_UP)
    require_rows("answered scans", count, sum(answer.status == 200 for answer in answers))
    # What took longer than WeChat waits was answered before it was done.
    wait_until_handled(site)
    check_bindings(site, invitations)
    return sorted(answer.seconds for answer in answers)[math.ceil(0.99 * count) - 1]


def storm(site: Site, count: int) -> list[int]:
    """Send scans all at once, each again as WeChat does it, check that each binds once, and return the tries of each.

    :raise MissingRowsError: a scan was lost, or bound twice
    """
    channel = site.system.channel
    invitations = add_codes(site.database, site.system.account_id, count)
    requests = [raw_request(channel.url, pushes.scan(channel, one.openid, one.scene)) for one in invitations]
    tries = [0] * count
    missed = list(range(count))
    for _try in range(1 + WECHAT_RETRIES):
        again = [requests[number] for number in missed]
        answers, _seconds = exchange(site.url, again, len(again), pushes.WECHAT_WAITS)
        for number in missed:
            tries[number] += 1
        missed = [number for number, answer in zip(missed, answers, strict=True) if answer.status != 200]
        if not missed:
            break
    # What WeChat has given up waiting for is handled all the same. Behind it stands this request.
    exchange(site.url, [raw_request(f"{site.url}{NOOP_PATH}")], 1, GIVE_UP)
    wait_until_handled(site)
    check_bindings(site, invitations)
    return tries
