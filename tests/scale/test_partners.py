"""The addon among a million partners: the cost of its installation and of the first page of its lists.

In the long form (./setup/test --all) it goes by the clock; only ratios and a difference count, for both sides are
measured in the same run, one after the other. The short form has 20,000 partners, too few for a clock, and asks instead
whether a partner was written and how PostgreSQL would find the page.
"""

import ast
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.crowd import Crowd
from support.database import Database
from support.lists import STOCK, UNBOUND, UNBOUND_PAGES, measure_lists
from support.system import LOGS, REPOSITORY

IS_LONG = os.environ.get("WECHAT_TEST_ALL") == "1"
pytestmark = [pytest.mark.timed] if IS_LONG else []

MILLION, FEW = 1_000_000, 20_000
FREE_MB = 3_000
INSTALL_SECONDS = 60
# How many times as much as Odoo's own the first page of the unbound may cost, and anything else: enough for a filter by
# the codes, whose cost grows with their number, and too little for what reads all partners one by one.
UNBOUND_RATIO, OTHER_RATIO = 1.5, 20
ROUNDS = 15
INDEX = "res_partner_wechat_unbound_idx"


@dataclass
class Installation:
    """The addon in the database of the crowd."""

    crowd: Crowd
    # How many partners the installation has written.
    written: int
    # How long it took, and how long in a database without partners; in the long form.
    seconds: float | None = None
    empty_seconds: float | None = None


def scratch_name(purpose: str) -> str:
    """Return the name of a database that ./setup/test drops if this run is killed."""
    clone = os.environ["WECHAT_TEST_TEMPLATE_DB"].split("_")[2]
    return f"wechat_test_run_{clone}_{purpose}_{os.getpid()}"


def install(database: Database) -> float:
    """Install the addon and return the seconds that it took."""
    started = time.monotonic()
    database.run_odoo(LOGS / f"{database.name}.log", "-i", "wechat_merchant_bind")
    return time.monotonic() - started


def install_among_a_million() -> Iterator[Installation]:
    """Install the addon twice on what it depends on: without partners, and with a million."""
    free = shutil.disk_usage(Database("").filestore.parent).free // 2**20
    assert free > FREE_MB, f"{free} MB free, a million partners need up to {FREE_MB} MB"
    manifest = REPOSITORY / "wechat_merchant_bind" / "__manifest__.py"
    depends = ast.literal_eval(manifest.read_text(encoding="utf-8"))["depends"]
    base = Database(scratch_name("base"))
    databases = [base]
    try:
        base.run_odoo(LOGS / "scale-base.log", "-i", ",".join(depends), "--load-language", "zh_CN")
        for purpose in ("empty", "million"):
            databases.append(Database.copied(scratch_name(purpose), base.name))
        _base, empty, million = databases
        crowd = Crowd(million, MILLION)
        versions = crowd.versions()
        empty_seconds = install(empty)
        yield Installation(crowd, crowd.count_written(versions), install(million), empty_seconds)
    finally:
        for database in databases:
            database.drop()


def install_among_few() -> Iterator[Installation]:
    """Take the addon's columns from the partners of a copy of the tests' database, add a crowd, update the addon."""
    database = Database.copied(scratch_name("few"), os.environ["WECHAT_TEST_TEMPLATE_DB"])
    try:
        for row in database.execute(
            """
            SELECT format('ALTER TABLE res_partner DROP COLUMN %%I', column_name) AS statement
              FROM information_schema.columns
             WHERE table_name = 'res_partner' AND column_name LIKE '%%wechat%%'
            """
        ):
            database.execute(row["statement"])
        crowd = Crowd(database, FEW)
        versions = crowd.versions()
        database.run_odoo(LOGS / "scale-few.log", "-u", "wechat_merchant_bind")
        yield Installation(crowd, crowd.count_written(versions))
    finally:
        database.drop()


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """The addon, installed where the crowd was before it."""
    yield from install_among_a_million() if IS_LONG else install_among_few()


def test_installing_writes_no_partner(installation, full_form):
    """Installing writes no partner: with a million partners it takes less than a minute longer than with none.

    Odoo would compute a new stored field for every partner; the addon creates the columns with their values first. The
    rows are told by PostgreSQL's transaction that wrote them.
    """
    assert installation.written == 0
    if full_form:
        print(f"installed in {installation.seconds:.1f} s, empty in {installation.empty_seconds:.1f} s")
        assert installation.seconds - installation.empty_seconds < INSTALL_SECONDS


def get_yardstick(name: str) -> str:
    """Return which of Odoo's own calls one of the addon's is to be compared with."""
    if name == "form":
        return "stock form"
    return "stock groups" if name.endswith("groups") or name.startswith(("graph", "overview")) else STOCK


@pytest.mark.parametrize("unbound", UNBOUND)
def test_first_page_of_the_unbound_is_fast(installation, full_form, unbound):
    """The first page of 未绑定 costs at most 1.5 times that of Odoo's contact list, for all unbound shares.

    Both in Odoo's contact list and in the merchants' list. Measured in one process inside Odoo, without the web
    server's share, which would only make the ratio smaller: each round makes every call once, each in a transaction of
    its own, and the medians count. The bindings are rows of the addon's tables, as a scan leaves them.

    The pages of all other filters, a merchant's form, the groups, the start page and its graphs are measured with them
    and held against the like of Odoo's, so that none of them reads what it should not.
    """
    installation.crowd.bind_all_but(unbound)
    calls = measure_lists(installation.crowd.database, ROUNDS if full_form else 0)
    for name in UNBOUND_PAGES:
        page, count = calls[name]["plans"]
        assert f"Index Scan using {INDEX}" in page and "Sort" not in page, page
        # The more there are, the sooner any way has found those that are counted.
        assert f"Index Only Scan using {INDEX}" in count or unbound > 1, count
    for name, call in calls.items():
        assert "wechat_" not in name or "Seq Scan on res_partner" not in str(call["plans"]), name
    if full_form:
        medians = {name: statistics.median(call["ms"]) for name, call in calls.items()}
        ratios = {name: median / medians[get_yardstick(name)] for name, median in medians.items()}
        print(f"{unbound} % unbound")
        for name, ratio in ratios.items():
            print(f"{name}: {medians[name]:.1f} ms, {ratio:.2f} times {get_yardstick(name)}")
        for name, ratio in ratios.items():
            assert ratio <= (UNBOUND_RATIO if name in UNBOUND_PAGES else OTHER_RATIO), f"{name}: {ratio:.2f}"
