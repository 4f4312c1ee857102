"""An outbox with senders that the tests run by hand."""

from collections.abc import Iterator

import pytest
from support.outbox import Outbox


@pytest.fixture(scope="module")
def opened(system) -> Iterator[Outbox]:
    """An outbox without receipts, which have their own tests."""
    system.sandbox.post("accounts", app_id=system.sandbox.account()["app_id"], receipts="off")
    outbox = Outbox.open(system)
    yield outbox
    outbox.close()
    system.sandbox.post("accounts", app_id=system.sandbox.account()["app_id"], receipts="after")


@pytest.fixture
def outbox(opened) -> Iterator[Outbox]:
    """The outbox without suspensions of earlier tests."""
    yield opened
    opened.reset()
