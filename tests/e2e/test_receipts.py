"""WeChat's receipts, over HTTP: whenever they come and whatever they say, the message tells it within seconds."""

from collections.abc import Iterator

import pytest
from support import pushes
from support.lanes import SEND_PATH, RunningOutbox
from support.odoo import wait_for

# From a receipt's arrival to its message, on a machine that does other things too.
SECONDS = 5
ENDED = ("delivered", "failed")


@pytest.fixture(scope="module")
def outbox(system) -> Iterator[RunningOutbox]:
    """The outbox; WeChat's receipts are as usual at the end."""
    yield RunningOutbox(system)
    configure(system)


def configure(system, **settings: object) -> None:
    """Let WeChat give its receipts in another way than usual."""
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
    """Return when Odoo's notification says what has become of a message."""
    query = "SELECT notification_status AS status FROM mail_notification WHERE id = %s"
    wait_for(
        lambda: outbox.database.execute(query, message["notification_id"])[0]["status"] == status,
        f"the notification says {status}",
    )


@pytest.mark.parametrize(
    "settings", [{"receipts": "before"}, {"receipts": "after"}, {"receipt_delay": 1}, {"receipt_delay": 4}]
)
def test_whenever_it_comes(system, outbox, settings):
    """Before the send is answered, at once, and when the lane that has sent it may have ended."""
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
def test_whatever_it_says(system, outbox, status, failure):
    """Each known status, and an unknown one, which is kept verbatim."""
    configure(system, receipt_status=status)
    message = wait_for_state(outbox, send(outbox), *ENDED)
    assert (message["state"], message["failure_type"], message["receipt_status"]) == ("failed", failure, status)
    wait_for_notification(outbox, message, "exception")


def test_of_a_call_without_an_answer(system, outbox):
    """WeChat takes the message and the answer is lost: its receipt finds it, and it is not sent a second time."""
    configure(system, receipt_delay=0.5)
    calls = system.sandbox.calls(SEND_PATH)
    system.sandbox.post("faults", path=SEND_PATH, reset=True, after=True)
    message = wait_for_state(outbox, send(outbox), *ENDED)
    assert (message["state"], message["attempts"]) == ("delivered", 1)
    assert message["msgid"]
    assert system.sandbox.calls(SEND_PATH) == calls + 1


def test_three_times_and_out_of_order(system, outbox):
    """What was delivered stays delivered, whatever comes before it and after it."""
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
