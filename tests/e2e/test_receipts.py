"""WeChat's receipts over HTTP: messages show them within seconds, at any time and with any status."""

from collections.abc import Iterator

import pytest
from support import pushes
from support.odoo import wait_for
from support.running_outbox import SEND_PATH, RunningOutbox

# From a receipt's arrival to its message, on a busy machine.
SECONDS = 5
ENDED = ("delivered", "failed")


@pytest.fixture(scope="module")
def outbox(system) -> Iterator[RunningOutbox]:
    """The outbox; WeChat's receipts are as usual at the end."""
    yield RunningOutbox(system)
    configure(system)


def configure(system, **settings: object) -> None:
    """Change the sandbox's receipts."""
    usual = {"receipts": "after", "receipt_delay": 0, "receipt_status": None}
    system.sandbox.post("accounts", app_id=system.channel.app_id, **{**usual, **settings})


def send(outbox: RunningOutbox) -> int:
    """Send a new merchant a message; return the merchant."""
    [partner] = outbox.add_merchants(1)
    outbox.queue([partner])
    return partner


def find(outbox: RunningOutbox, partner: int) -> dict:
    """Return the one message of a merchant."""
    [row] = outbox.database.execute("SELECT * FROM wechat_message WHERE partner_id = %s", partner)
    return row


def wait_for_state(outbox: RunningOutbox, partner: int, *states: str) -> dict:
    """Return the one message of a merchant as soon as its state is one of these."""
    return wait_for(
        lambda: (row := find(outbox, partner))["state"] in states and row, f"the message is {' or '.join(states)}"
    )


def wait_for_notification(outbox: RunningOutbox, message: dict, status: str) -> None:
    """Wait for the state of Odoo's notification."""
    query = "SELECT notification_status AS status FROM mail_notification WHERE id = %s"
    wait_for(
        lambda: outbox.database.execute(query, message["notification_id"])[0]["status"] == status,
        f"the notification says {status}",
    )


@pytest.mark.parametrize(
    "settings", [{"receipts": "before"}, {"receipts": "after"}, {"receipt_delay": 1}, {"receipt_delay": 4}]
)
def test_receipt_at_any_time_is_applied(system, outbox, settings):
    """A receipt before the answer, at once, or after the sender has ended is applied."""
    configure(system, **settings)
    message = wait_for_state(outbox, send(outbox), *ENDED)
    assert (message["state"], message["receipt_status"]) == ("delivered", "success")
    [receipt] = outbox.database.execute("SELECT * FROM wechat_event WHERE msgid = %s", message["msgid"])
    assert (message["write_date"] - receipt["create_date"]).total_seconds() < SECONDS
    wait_for_notification(outbox, message, "sent")


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        ("failed:user block", "wechat_blocked"),
        ("failed: system failed", "wechat_system"),
        ("failed:freq limit", "wechat_frequency"),
        ("failed: 月亮太圆", "wechat_receipt"),
    ],
)
def test_every_status_is_applied(system, outbox, status, failure):
    """Each known status, and an unknown one, which is kept verbatim."""
    configure(system, receipt_status=status)
    message = wait_for_state(outbox, send(outbox), *ENDED)
    assert (message["state"], message["failure_type"], message["receipt_status"]) == ("failed", failure, status)
    wait_for_notification(outbox, message, "exception")


def test_receipt_of_an_unanswered_call_is_matched(system, outbox):
    """A lost answer: the receipt finds the message, which is not sent again."""
    configure(system, receipt_delay=0.5)
    calls = system.sandbox.calls(SEND_PATH)
    system.sandbox.post("faults", path=SEND_PATH, reset=True, after=True)
    message = wait_for_state(outbox, send(outbox), *ENDED)
    assert (message["state"], message["attempts"]) == ("delivered", 1)
    assert message["msgid"]
    assert system.sandbox.calls(SEND_PATH) == calls + 1


def test_repeated_receipts_keep_the_delivery(system, outbox):
    """A delivered message stays delivered after further receipts in any order."""
    configure(system, receipts="off")
    message = wait_for_state(outbox, send(outbox), "sent")
    created = int(message["sent_at"].timestamp())
    for number, status in enumerate(["failed: system failed", "success", "failed:user block"]):
        xml = pushes.receipt_xml(system.channel, message["openid"], message["msgid"], status, created - number)
        for _delivery in range(3):
            assert pushes.seal(system.channel, xml).send(system.channel).body == b"success"
        wait_for(
            lambda msgid=message["msgid"], count=number + 1: (
                outbox.database.execute(
                    "SELECT count(*) AS done FROM wechat_event WHERE msgid = %s AND state = 'done'", msgid
                )[0]["done"]
                == count
            ),
            "the receipt is applied",
        )
    message = find(outbox, message["partner_id"])
    assert (message["state"], message["failure_type"], message["receipt_status"]) == ("delivered", None, "success")
