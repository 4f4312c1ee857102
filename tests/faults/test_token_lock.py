"""A dead or hanging process holds the lock on the access token: codes and messages go on."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from support.odoo import at_once, timed
from support.system import System

TOKEN_PATH = "/cgi-bin/stable_token"
# The lock timeout, and the tolerance for the fetch after it.
PATIENCE_SECONDS = 8
SLACK_SECONDS = 6


@contextmanager
def dead_worker(system: System) -> Iterator[None]:
    """An open transaction that holds the lock on an expired token."""
    system.forget_token()
    connection = psycopg2.connect(dbname=system.database.name)
    try:
        with connection.cursor() as cr:
            cr.execute("SELECT id FROM wechat_access_token WHERE account_id = %s FOR UPDATE", [system.account_id])
        yield
    finally:
        connection.close()


@pytest.mark.timed
def test_locked_token_is_fetched_without_the_lock(system, outbox):
    """Each process fetches a token without the lock; after the lock is released, one token is stored for all."""
    message_ids = outbox.queue(*(outbox.new_merchant() for _number in range(3)))
    clients = [system.admin.at(server.url) for server in system.servers]
    partner_ids = [system.merchant(f"锁住的商家 {number}") for number in range(len(clients))]
    with dead_worker(system):
        calls = [lambda pair=pair: system.code(*pair) for pair in zip(partner_ids, clients, strict=True)]
        results = at_once([lambda job=job: timed(job) for job in (*calls, outbox.drain)])
        [row] = system.database.execute("SELECT token FROM wechat_access_token")
    assert all(PATIENCE_SECONDS <= seconds < PATIENCE_SECONDS + SLACK_SECONDS for _result, seconds in results), results
    assert {code["state"] for code, _seconds in results[:-1]} == {"active"}
    assert {outbox.read(message_id)["state"] for message_id in message_ids} == {"sent"}
    assert row["token"] is None, "the row is its holder's"
    fetched = system.sandbox.calls(TOKEN_PATH)
    for number in range(2):
        system.code(system.merchant(f"锁已解除的商家 {number}"))
    assert system.sandbox.calls(TOKEN_PATH) - fetched == 1
