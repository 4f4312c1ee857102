"""Bulk generation of codes, compared with the bare calls."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2

from support.bare_pool import time_posts
from support.sandbox import Sandbox
from support.system import System

QR_PATH = "/cgi-bin/qrcode/create"
THREADS = 16
LATENCY_MS = 80
WARM_UP = 5


def make_merchants(system: System, name: str, number: int) -> list[int]:
    """Create merchants; return their ids."""
    values = [{"name": f"{name} {serial:03}", "is_company": True, "lang": "zh_CN"} for serial in range(number)]
    return system.admin.call("res.partner", "create", values)


def press(system: System, partners: list[int]) -> int:
    """Press 批量生成绑定码; return the batch."""
    return system.admin.call("res.partner", "action_wechat_bind_code", partners)["res_id"]


class Watcher:
    """Watches the lines of batches by SQL, at almost no cost."""

    def __init__(self, system: System):
        self.connection = psycopg2.connect(dbname=system.database.name)
        self.connection.autocommit = True

    def states(self, batch: int) -> Counter:
        """Return the number of lines by state."""
        with self.connection.cursor() as cr:
            cr.execute("SELECT state, count(*) FROM wechat_bind_batch_line WHERE batch_id = %s GROUP BY 1", [batch])
            return Counter(dict(cr.fetchall()))

    def wait(self, batch: int, seconds: float = 120) -> Counter:
        """Return the states once no line is waiting any more."""
        deadline = time.monotonic() + seconds
        while (states := self.states(batch))["pending"]:
            assert time.monotonic() < deadline, f"the batch does not end: {states}"
            time.sleep(0.01)
        return states


@contextmanager
def watching(system: System) -> Iterator[Watcher]:
    """A watcher with a connection of its own to the database."""
    watcher = Watcher(system)
    try:
        yield watcher
    finally:
        watcher.connection.close()


@dataclass
class Comparison:
    """Seconds of bulk generations, from the press of the button to the commit of the last code, and of the calls alone.

    They were measured alternately.
    """

    bare: list[float] = field(default_factory=list)
    odoo: list[float] = field(default_factory=list)


def compare(system: System, watcher: Watcher, number: int, rounds: int, niceness: int = 0) -> Comparison:
    """Have codes made by bulk generation and by a bare pool of as many threads, each taking WeChat as long as on the
    way to Shenzhen.

    :param number: codes a round
    :param niceness: of the bare pool
    :raise AssertionError: a code is missing, or WeChat was called for one twice
    """
    sandbox = system.sandbox
    url = f"{sandbox.url}{QR_PATH}?access_token={sandbox.fetch_token()}"
    # The first run fills the caches.
    watcher.wait(press(system, make_merchants(system, "热身", WARM_UP)))
    comparison = Comparison()
    with latency(sandbox):
        for serial in range(rounds):
            partners = make_merchants(system, f"量贩 {serial}", number)
            payloads = [prepare_payload(f"bare_{serial}_{place}") for place in range(number)]
            comparison.bare.append(time_posts(url, payloads, THREADS, niceness))
            before = sandbox.calls(QR_PATH)
            began = time.perf_counter()
            states = watcher.wait(press(system, partners))
            comparison.odoo.append(time.perf_counter() - began)
            assert states == {"done": number}
            assert sandbox.calls(QR_PATH) - before == number
    return comparison


def prepare_payload(scene: str) -> dict:
    """Return the payload of a request for a code."""
    return {
        "expire_seconds": 2_592_000,
        "action_name": "QR_STR_SCENE",
        "action_info": {"scene": {"scene_str": scene}},
    }


@contextmanager
def latency(sandbox: Sandbox) -> Iterator[None]:
    """Delay each code by the usual latency to Shenzhen."""
    sandbox.post("faults", path=QR_PATH, latency_ms=LATENCY_MS, times=0)
    try:
        yield
    finally:
        sandbox.post("faults/release", path=QR_PATH)
