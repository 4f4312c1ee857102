"""An outbox that the tests of a file drain by hand."""

from collections.abc import Iterator

import pytest
from support.outbox import Outbox


@pytest.fixture(scope="module")
def opened(system) -> Iterator[Outbox]:
    """An outbox that is drained by hand. Receipts have tests of their own."""
    system.sandbox.post("accounts", app_id=system.sandbox.account()["app_id"], receipts="off")
    outbox = Outbox.open(system)
    yield outbox
    outbox.close()
    system.sandbox.post("accounts", app_id=system.sandbox.account()["app_id"], receipts="after")


@pytest.fixture
def outbox(opened) -> Iterator[Outbox]:
    """The outbox, without anything that an earlier test has stopped."""
    yield opened
    opened.reset()
