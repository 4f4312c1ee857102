"""What an admin waits for: lists, notices to many, codes for many."""

import json
import re
import statistics
import time

from support.bare_pool import CRON_NICENESS
from support.bulk import THREADS, compare, watching
from support.crowd import Crowd
from support.lists import STOCK, UNBOUND, UNBOUND_PAGES, measure_lists
from support.odoo import wait_for

from bench.measure import Outcome, measure, require_rows
from bench.outbox import get_outbox, tomorrow
from bench.servers import Bench, copy_database

MILLION, FEW = 1_000_000, 20_000
# Odoo logs of each request the queries, the seconds that they took and the others.
REQUEST = r"/{model}/{method}\S* HTTP/1\.1\" 200 - (\d+) ([\d.]+) ([\d.]+)"


@measure("compose_10k_s", unit="s", over="seconds to render and queue 10,000 messages by the composer from a list")
def compose_10k_s(bench: Bench) -> Outcome:
    """The press of 发送, for a template with one keyword."""
    number = bench.size(10_000, 1000)
    outbox = get_outbox(bench)
    merchants = outbox.add_merchants(number)
    system = outbox.system
    [server] = system.servers
    values = {
        "template_id": outbox.template_id,
        "res_model": "res.partner",
        "res_ids": json.dumps(merchants),
        "scheduled_at": tomorrow(),
    }
    composer = system.admin.create("wechat.composer", values)
    logged = len(server.log.read_bytes())
    began = time.perf_counter()
    system.admin.call("wechat.composer", "action_send", [composer])
    seconds = time.perf_counter() - began
    require_rows("messages queued", number, outbox.site.count("wechat.message", ("partner_id", "in", merchants)))
    pattern = REQUEST.format(model="wechat.composer", method="action_send")
    [found] = wait_for(lambda: re.findall(pattern, server.read_log(logged)), "the request is logged")
    outbox.drain()
    queries, query_seconds, _other_seconds = found
    figures = {
        "queries a record": int(queries) / number,
        "s in PostgreSQL": float(query_seconds),
        "records/s": number / seconds,
    }
    return Outcome(seconds, figures, note=f"{number} recipients")


@measure(
    "bulk_codes_vs_raw_pool",
    ">= 0.67",
    over=f"codes a second of bulk generation over a bare pool of {THREADS} threads",
)
def bulk_codes_vs_raw_pool(bench: Bench) -> Outcome:
    """From the press of the button until the last code is committed."""
    number = bench.size(500, 100)
    system = bench.site.system
    with watching(system) as watcher:
        found = compare(system, watcher, number, bench.rounds, CRON_NICENESS)
        made = bench.site.count("wechat.bind.code", ("partner_id.name", "like", "量贩 %"))
        require_rows("codes", number * bench.rounds, made)
    rates = {"bulk/s": number / statistics.median(found.odoo), "bare/s": number / statistics.median(found.bare)}
    ratio = statistics.median(bare / odoo for bare, odoo in zip(found.bare, found.odoo, strict=True))
    return Outcome(ratio, rates, note=f"{number} codes a round")


@measure(
    "list_1m_unbound_vs_plain",
    "<= 1.5",
    over="first page of the unbound with its count over that of Odoo's contact list, among 1,000,000 partners",
)
def list_1m_unbound_vs_plain(bench: Bench) -> Outcome:
    """The worst of the shares of unbound partners, and of both lists."""
    count = bench.size(MILLION, FEW)
    database = copy_database("lists")
    rates, worst = {}, 0.0
    try:
        crowd = Crowd(database, count)
        for unbound in UNBOUND:
            crowd.bind_all_but(unbound)
            calls = measure_lists(database, bench.size(15, 3), STOCK, *UNBOUND_PAGES)
            medians = {name: statistics.median(call["ms"]) for name, call in calls.items()}
            rates[f"stock ms at {unbound} %"] = medians[STOCK]
            rates[f"unbound ms at {unbound} %"] = max(medians[name] for name in UNBOUND_PAGES)
            worst = max(worst, *(medians[name] / medians[STOCK] for name in UNBOUND_PAGES))
    finally:
        database.drop()
    return Outcome(worst, rates, note=f"{count} partners")
