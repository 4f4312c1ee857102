"""Servers are killed during calls: no message is lost or sent twice, and each has a reason."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest
from support.odoo import OdooServer, wait_for
from support.running_outbox import LEASE_SECONDS, SEND_PATH, Clock, RunningOutbox, kill_in_a_send, running_outbox
from support.system import LOGS

REPEAT_SECONDS = 8 * 60
# From the claim to the call on a busy machine.
SLACK_SECONDS = 10
FINAL = {"sent", "delivered", "unknown", "failed"}
# Failures of a hundred calls: 5 answers -1, before or after WeChat has accepted the message; 2 lost answers; 1
# connection that is reset before WeChat has accepted the message.
MISFORTUNE = [
    {"errcode": -1, "share": 0.025},
    {"errcode": -1, "after": True, "share": 0.025},
    {"reset": True, "after": True, "share": 0.015},
    {"timeout": 11, "after": True, "share": 0.005},
    {"reset": True, "share": 0.01},
]


@pytest.fixture
def outbox() -> Iterator[RunningOutbox]:
    """The outbox of a system of its own. Its one server receives pushes and sends nothing."""
    with running_outbox("killed") as outbox:
        yield outbox


@pytest.fixture
def victims(outbox: RunningOutbox) -> Iterator["Victims"]:
    """Servers that send."""
    victims = Victims(outbox)
    yield victims
    victims.end()


class Victims:
    """Servers that send, one after the other."""

    def __init__(self, outbox: RunningOutbox):
        self.outbox = outbox
        self.servers: list[OdooServer] = []

    def start(self) -> OdooServer:
        """Start the next one."""
        log = LOGS / f"odoo-outbox-victim-{len(self.servers)}.log"
        self.servers.append(OdooServer(self.outbox.database.name, log, cron_threads=2))
        return self.servers[-1]

    def end(self) -> None:
        """Kill the remaining server."""
        for server in self.servers:
            server.kill()


def plan(outbox: RunningOutbox, *faults: dict) -> None:
    """Replace the planned failures of sends."""
    outbox.system.sandbox.post("faults/release", path=SEND_PATH)
    for fault in faults:
        outbox.system.sandbox.post("faults", path=SEND_PATH, **{"times": 0, **fault})


def finish(outbox: RunningOutbox, clock: Clock) -> None:
    """Run the sender and skip the delays of repetitions until all messages have a final state."""

    def is_settled() -> bool:
        if outbox.is_settled():
            return True
        if (seconds := outbox.seconds_to_next()) > 1:
            clock.skip(seconds)
        return False

    outbox.wake_until(is_settled, "everything is decided", 300)


def test_killed_servers_send_each_message_once(outbox, victims, full_form, record_property):
    """Each merchant gets one message, in spite of killed servers and failing calls."""
    number, kills = (2000, 30) if full_form else (200, 3)
    outbox.set_rate(40)
    outbox.queue(outbox.add_merchants(number))
    clock, chance = Clock(outbox), random.Random(4)
    for _kill in range(kills):
        plan(outbox, *MISFORTUNE)
        victim = victims.start()
        enough = outbox.count_calls() + 1 + chance.randrange(number // kills)
        outbox.wake_until(lambda enough=enough: outbox.count_calls() >= enough, "the server sends")
        # WeChat accepts the message before the server is killed, afterwards, or never.
        held = chance.choice([{"after": True}, {}, {"reset": True}])
        outbox.system.sandbox.post("faults", path=SEND_PATH, hold=True, times=chance.randint(1, 3), **held)
        kill_in_a_send(victim, outbox)
        plan(outbox)
        clock.skip(LEASE_SECONDS, leases=True)
    plan(outbox, *MISFORTUNE)
    victims.start()
    finish(outbox, clock)

    calls = outbox.calls()
    rows = outbox.read("openid, state, failure_type, client_msg_id, attempts")
    figures = {
        "calls": len(calls),
        "repeated": len(calls) - number,
        "taken by WeChat before": sum("repeats" in call for call in calls),
        "states": dict(outbox.states()),
    }
    record_property("killed", figures)
    print(figures)
    assert figures["repeated"] >= kills
    taken = Counter(call["body"]["touser"] for call in calls if "msgid" in call and "repeats" not in call)
    assert taken == Counter(row["openid"] for row in rows), "each merchant got one message"
    by_message = defaultdict(list)
    for call in calls:
        by_message[call["body"]["touser"], call["body"]["client_msg_id"]].append(clock.at(call["time"]))
    assert set(by_message) == {(row["openid"], row["client_msg_id"]) for row in rows}, "under one number"
    assert max(max(times) - min(times) for times in by_message.values()) < REPEAT_SECONDS + SLACK_SECONDS
    assert {row["state"] for row in rows} <= FINAL
    assert all(row["failure_type"] for row in rows if row["state"] in ("unknown", "failed"))
    assert outbox.states() == {"delivered": number}, "each message was told by its receipt"


def test_unanswered_message_is_unknown_after_eight_minutes(outbox, victims):
    """An unanswered message is not repeated after eight minutes: its result is unknown until its receipt."""
    number, taken = 20, 8
    outbox.set_rate(200)
    outbox.queue(outbox.add_merchants(number))
    plan(outbox, {"hold": True, "after": True, "times": taken}, {"hold": True, "reset": True})
    victim = victims.start()
    outbox.wake_until(lambda: outbox.count_calls() == number, "all are called for")
    kill_in_a_send(victim, outbox, number)
    plan(outbox)
    clock = Clock(outbox)
    clock.skip(REPEAT_SECONDS + 1, leases=True)
    victims.start()
    finish(outbox, clock)
    assert outbox.states() == {"delivered": taken, "unknown": number - taken}
    assert outbox.count_calls() == number
    assert {(row["state"], row["failure_type"]) for row in outbox.read()} == {
        ("delivered", None),
        ("unknown", "wechat_unknown"),
    }


def test_late_writer_changes_nothing(outbox, victims):
    """A suspended server writes no results after another one has taken over its messages."""
    number = 16
    outbox.set_rate(200)
    outbox.system.sandbox.post("accounts", app_id=outbox.system.channel.app_id, receipts="off")
    outbox.queue(outbox.add_merchants(number))
    # WeChat accepts all messages; half of the answers are lost.
    held = {"hold": True, "after": True, "times": number // 2}
    plan(outbox, held, {"http": 502, **held})
    victim = victims.start()
    outbox.wake_until(lambda: outbox.count_calls() == number, "all are called for")
    with victim.paused():
        plan(outbox)
        Clock(outbox).skip(LEASE_SECONDS, leases=True)
        outbox.send_all()
        assert outbox.states() == {"sent": number}
        before = outbox.read()
    # The resumed server first reads the waiting answers.
    wait_for(outbox.is_sender_idle, "the late server is through")
    assert outbox.read() == before
    calls = outbox.calls()
    assert len(calls) == 2 * number
    taken = Counter(call["body"]["touser"] for call in calls if "msgid" in call and "repeats" not in call)
    assert taken == Counter(row["openid"] for row in before), "each merchant got one message"
