"""What the settings of a server cost: docs/production.md has the figures."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlencode

from support import pushes
from support.database import Database
from support.odoo import OdooServer
from support.system import LOGS

from bench.client import exchange, raw_request
from bench.measure import Outcome, alternate, measure, median_ratio, medians
from bench.servers import WORKERS, Bench, scratch_name

CONCURRENCY = 8
# How many more databases there are in the second comparison.
DATABASES = 20


@contextmanager
def filtered_server(database: Database) -> Iterator[OdooServer]:
    """Serve a database once more, by its name and by a filter that fits it alone."""
    server = OdooServer(
        database.name, LOGS / "odoo-dbfilter.log", workers=WORKERS, arguments=("--db-filter", f"^{database.name}$")
    )
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@measure(
    "webhook_dbfilter_vs_db_name",
    over="checks of the webhook's address a second, with db_name and dbfilter over db_name alone, many databases",
)
def dbfilter_vs_db_name(bench: Bench) -> Outcome:
    """A request without a session finds its database by name, or by filtering all databases."""
    site = bench.site
    channel = site.system.channel
    number = bench.size(400, 200)
    query = pushes.seal(channel, pushes.event_xml(channel, pushes.new_openid(), "CLICK", "menu")).query

    def rate(server: OdooServer) -> float:
        url = channel.at(server.url).url
        request = raw_request(f"{url}?{urlencode({**query, 'echostr': '7318'})}")
        answers, seconds = exchange(server.url, [request] * number, CONCURRENCY)
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"7318")}
        return number / seconds

    with ExitStack() as stack:
        filtered = stack.enter_context(filtered_server(site.database))
        alone = alternate(bench.rounds, named=lambda: rate(site.system.servers[0]), filtered=lambda: rate(filtered))
        for serial in range(bench.size(DATABASES, DATABASES // 4)):
            stack.callback(Database.copied(scratch_name(f"beside{serial}"), "template0").drop)
        many = alternate(bench.rounds, named=lambda: rate(site.system.servers[0]), filtered=lambda: rate(filtered))
    ratio = median_ratio(alone, "filtered", "named")
    return Outcome(median_ratio(many, "filtered", "named"), medians(many), f"with this one database: {ratio:.2f}")
