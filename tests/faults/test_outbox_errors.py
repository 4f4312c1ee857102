"""Each row of WeChat's table of errors, met by a message: its state afterwards, and the number of calls.

The sandbox answers Odoo's own processes over HTTP.
"""

from typing import NamedTuple

import pytest
from support.outbox import SEND, TEMPLATES, USER_INFO, Outbox

WAITING = ("outgoing", None, "ready")


class Row(NamedTuple):
    """The state of a message after a failure."""

    fault: dict
    state: str
    failure_type: str | None
    notification: str
    # Whether WeChat may have taken the message: it is then repeated under its number for 8 minutes only.
    is_open: bool = False
    calls: int = 1
    # What is suspended or paused: "account", "template" or "pause".
    stops: str | None = None


def code(errcode: int, *expected: object, **options: object) -> Row:
    """Return the row of an error code."""
    return Row({"errcode": errcode}, *expected, **options)


FAILED, PENDING = "exception", "pending"
# An access token that WeChat calls stale is replaced, and the call repeated, once.
STALE = (40001, 40014, 42001)
BY_ACCOUNT = (
    *(40125, 41002, 41004, 40243, 40164, 61004, 48001, 48004, 43107),
    *(89501, 89502, 89503, 89504, 89505, 89506, 89507),
)
BY_TEMPLATE = (40013, 40036, 43116, 40165, 40166)
# WeChat lists the template that it calls unknown: it is tried again.
LISTED = (40037, 43100)
MALFORMED = (40033, 41001, 45067, 47001, 76003, 76021)
# Also the codes of other calls, which tell nothing of a message.
UNDOCUMENTED = (42007, 45026, 45029, 40246, 40247, 76022, 99999)
AMBIGUOUS = {
    "no answer": {"timeout": 0.1},
    "reset": {"reset": True},
    "lost answer": {"reset": True, "after": True},
    "HTTP 502": {"http": 502},
    "HTML": {"html": True},
    "empty": {"empty": True},
    "-1": {"errcode": -1},
    "268487002": {"errcode": 268487002},
}

FIRST_CALL = {
    **{name: Row(fault, *WAITING, is_open=True) for name, fault in AMBIGUOUS.items()},
    # WeChat answers -1 to calls that come too fast.
    "-1": code(-1, *WAITING, is_open=True, stops="pause"),
    **{str(errcode): code(errcode, *WAITING) for errcode in (43108, 43117, 40241, *LISTED)},
    **{str(errcode): code(errcode, *WAITING, stops="pause") for errcode in (45009, 45011, 48006)},
    **{str(errcode): code(errcode, "sent", None, PENDING, calls=2, is_open=True) for errcode in STALE},
    # WeChat has accepted the message. Its receipt decides.
    **{str(errcode): code(errcode, "sent", None, PENDING, is_open=True) for errcode in (40252, 45065, 45066)},
    **{str(errcode): code(errcode, "failed", "wechat_unfollowed", FAILED, is_open=True) for errcode in (43004, 50005)},
    **{
        str(errcode): code(errcode, "failed", "wechat_blocked", FAILED, is_open=True)
        for errcode in (43019, 43101, 48002)
    },
    **{
        str(errcode): code(errcode, "failed", "wechat_recipient", FAILED, is_open=True)
        for errcode in (40003, 46004, 50002)
    },
    **{str(errcode): code(errcode, "failed", "wechat_refused", FAILED, is_open=True) for errcode in (45015, 45047)},
    **{str(errcode): code(errcode, "failed", "wechat_value", FAILED, is_open=True) for errcode in (40039, 47003)},
    **{str(errcode): code(errcode, "failed", "wechat_content", FAILED, is_open=True) for errcode in (40249, 45168)},
    **{str(errcode): code(errcode, *WAITING, stops="template") for errcode in BY_TEMPLATE},
    **{str(errcode): code(errcode, *WAITING, stops="account") for errcode in BY_ACCOUNT},
    **{str(errcode): code(errcode, "failed", "wechat_request", FAILED, is_open=True) for errcode in MALFORMED},
    **{str(errcode): code(errcode, "failed", "wechat_refused", FAILED, is_open=True) for errcode in UNDOCUMENTED},
}
# Differences if WeChat may have accepted an earlier call with the same client_msg_id: only certain failures stay
# certain, and "already sent" counts as sent.
REPEAT = {
    **{name: row._replace(is_open=True) for name, row in FIRST_CALL.items()},
    # The next call would come after the 8 minutes.
    **{
        name: FIRST_CALL[name]._replace(
            state="unknown", failure_type="wechat_unknown", notification=FAILED, is_open=True
        )
        for name in ("43117", "45009", "48006")
    },
    **{
        str(errcode): code(errcode, "sent", None, PENDING, is_open=True)
        for errcode in (40241, 45065, 45066, *UNDOCUMENTED)
    },
}


def fail(outbox: Outbox, fault: dict) -> None:
    """Let the next call fail. For a stale token the sandbox replaces the token."""
    if fault.get("errcode") in STALE:
        outbox.system.sandbox.post("expire_token", how="replaced")
    outbox.fail(**fault)


def assert_outcome(outbox: Outbox, message_id: int, row: Row) -> None:
    """Check a message, its notification and suspensions."""
    message = outbox.read(message_id)
    assert (message["state"], message["failure_type"]) == (row.state, row.failure_type), message
    failure_type = row.failure_type if row.state in ("failed", "unknown") else None
    assert outbox.notification(message_id) == (row.notification, failure_type)
    assert (message["first_call_at"] is not None) == row.is_open
    assert message["lease_until"] is None
    if row.state == "failed" or row.stops:
        assert message["failure_reason"], "every failure is explained"
    errcode = row.fault.get("errcode")
    if errcode and row.calls == 1:
        assert message["errcode"] == errcode
        assert message["rid"], "WeChat's support asks for it"
    admin = outbox.system.admin
    [account] = admin.read(
        "wechat.account", [outbox.system.account_id], ["send_stop_reason", "is_send_paused", "activity_ids"]
    )
    [template] = admin.read("wechat.template", [outbox.template_id], ["stop_reason", "activity_ids"])
    assert bool(account["send_stop_reason"]) == (row.stops == "account")
    assert account["is_send_paused"] == (row.stops == "pause")
    assert bool(template["stop_reason"]) == (row.stops == "template")
    # Activities of the hourly check may be about earlier failures.
    watching = admin.find("wechat.account.health", [("activity_id", "!=", False)], ["activity_id"])
    asking = set(account["activity_ids"]) - {line["activity_id"] for line in watching}
    assert (len(asking), len(template["activity_ids"])) == (
        int(row.stops == "account"),
        int(row.stops == "template"),
    ), "one activity for a manager"


@pytest.mark.parametrize("name", FIRST_CALL)
def test_failure_of_the_first_call_follows_the_table(outbox, name):
    """A failure of the first call has the state of its row, and the next call waits until it is due."""
    row = FIRST_CALL[name]
    [message_id] = outbox.queue(outbox.new_merchant())
    calls = outbox.system.sandbox.calls(SEND)
    fail(outbox, row.fault)
    outbox.drain()
    assert outbox.system.sandbox.calls(SEND) - calls == row.calls
    assert_outcome(outbox, message_id, row)
    outbox.drain()
    assert outbox.system.sandbox.calls(SEND) - calls == row.calls


@pytest.mark.parametrize("name", REPEAT)
def test_failure_of_a_repetition_follows_the_table(outbox, name):
    """The same failure of a repetition, after the answer of the first call was lost."""
    row = REPEAT[name]
    [message_id] = outbox.queue(outbox.new_merchant())
    calls = outbox.system.sandbox.calls(SEND)
    outbox.fail(reset=True)
    fail(outbox, row.fault)
    outbox.drain()
    outbox.make_due(message_id)
    outbox.drain()
    assert outbox.system.sandbox.calls(SEND) - calls == 1 + row.calls
    assert_outcome(outbox, message_id, row)
    sent = outbox.system.sandbox.get("calls", path=SEND, limit=1 + row.calls)["calls"]
    assert len({call["body"] for call in sent}) == 1, "the same number, and the same words"


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_call_is_not_repeated_after_eight_minutes(outbox, name):
    """After 8 minutes WeChat no longer recognises a repetition: the result is unknown and left to a person."""
    [message_id] = outbox.queue(outbox.new_merchant())
    calls = outbox.system.sandbox.calls(SEND)
    outbox.fail(**AMBIGUOUS[name])
    outbox.drain()
    outbox.reset_stops()
    outbox.make_due(message_id)
    outbox.system.database.execute(
        "UPDATE wechat_message SET first_call_at = first_call_at - interval '8 minutes' WHERE id = %s", message_id
    )
    outbox.drain()
    assert outbox.system.sandbox.calls(SEND) - calls == 1
    assert outbox.read(message_id)["state"] == "unknown"
    assert outbox.notification(message_id) == (FAILED, "wechat_unknown")


def test_lost_answer_is_one_message(outbox):
    """The answer was lost: the repetition with the same client_msg_id reaches the phone only once."""
    partner_id = outbox.new_merchant()
    [message_id] = outbox.queue(partner_id)
    outbox.fail(reset=True, after=True)
    outbox.drain()
    outbox.make_due(message_id)
    outbox.drain()
    message = outbox.read(message_id)
    phone = outbox.system.sandbox.get("messages", user=message["openid"])["messages"]
    [card] = [entry for entry in phone if entry["type"] == "template"]
    assert (message["state"], message["msgid"]) == ("sent", card["msgid"])


def test_refused_connection_is_retried(outbox):
    """A refused connection is a certain failure and may be repeated at any time."""
    [message_id] = outbox.queue(outbox.new_merchant())
    admin, account_ids = outbox.system.admin, [outbox.system.account_id]
    outbox.drain()
    assert outbox.read(message_id)["state"] == "sent", "the access token is known"
    [message_id] = outbox.queue(outbox.new_merchant())
    admin.call("wechat.account", "write", account_ids, {"api_base_url": "http://127.0.0.1:9"})
    try:
        outbox.drain()
    finally:
        admin.call("wechat.account", "write", account_ids, {"api_base_url": outbox.system.sandbox.url})
    message = outbox.read(message_id)
    assert (message["state"], message["first_call_at"]) == ("outgoing", None)


@pytest.mark.parametrize(("is_gone", "state"), [(True, "unfollowed"), (False, "bound")])
def test_unfollowing_is_confirmed_by_wechat(outbox, is_gone, state):
    """A recipient is marked as unfollowed only if WeChat confirms it."""
    partner_id = outbox.new_merchant()
    [message_id] = outbox.queue(partner_id)
    asked = outbox.system.sandbox.calls(USER_INFO)
    if is_gone:
        [binding] = outbox.system.bindings(partner_id)
        outbox.system.sandbox.post("followers", user=binding["openid"], subscribed=False)
    else:
        outbox.fail(errcode=43004)
    outbox.drain()
    assert outbox.read(message_id)["failure_type"] == "wechat_unfollowed"
    assert outbox.system.sandbox.calls(USER_INFO) - asked == 1
    assert outbox.system.state(partner_id) == state


def test_message_to_a_new_follower_is_retried_once(outbox):
    """Within a minute of following, "does not follow" is retried once and then accepted."""
    [message_id] = outbox.queue(outbox.new_merchant())
    outbox.system.database.execute(
        "UPDATE wechat_binding SET last_event_at = now() AT TIME ZONE 'UTC' WHERE partner_id = %s",
        outbox.read(message_id)["partner_id"],
    )
    outbox.fail(errcode=43004, times=2)
    outbox.drain()
    assert outbox.read(message_id)["state"] == "outgoing"
    outbox.make_due(message_id)
    outbox.drain()
    assert (outbox.read(message_id)["state"], outbox.read(message_id)["attempts"]) == ("failed", 2)


def test_refusal_marks_the_binding(outbox):
    """A recipient that refuses our messages is marked and stays bound."""
    partner_id = outbox.new_merchant()
    outbox.queue(partner_id)
    outbox.fail(errcode=48002)
    outbox.drain()
    domain = [("partner_id", "=", partner_id), ("state", "=", "bound")]
    assert outbox.system.admin.find("wechat.binding", domain, ["is_blocked"])[0]["is_blocked"]


def test_resumed_messages_are_sent(outbox):
    """Messages of a suspended account or template are sent once a manager resumes it."""
    for errcode in (48001, 43116):
        message_ids = outbox.queue(*(outbox.new_merchant() for _number in range(3)))
        outbox.fail(errcode=errcode, times=3)
        outbox.drain()
        assert {outbox.read(message_id)["state"] for message_id in message_ids} == {"outgoing"}
        outbox.system.sandbox.post("faults/release")
        outbox.drain()
        assert {outbox.read(message_id)["state"] for message_id in message_ids} == {"outgoing"}
        outbox.reset_stops()
        outbox.drain()
        assert {outbox.read(message_id)["state"] for message_id in message_ids} == {"sent"}


def test_wrong_value_names_its_keyword(outbox):
    """47003 fails the message and names the keyword; five in a row suspend the template."""
    message_ids = outbox.queue(*(outbox.new_merchant() for _number in range(5)))
    outbox.fail(errcode=47003, errmsg="argument invalid! data.thing3.value invalid", times=5)
    outbox.drain()
    for message_id in message_ids:
        message = outbox.read(message_id)
        assert message["failure_type"] == "wechat_value"
        assert "thing3" in message["failure_reason"].splitlines()[0]
    [template] = outbox.system.admin.read("wechat.template", [outbox.template_id], ["stop_reason"])
    assert "thing3" in template["stop_reason"]


def test_template_that_wechat_has_deleted_is_suspended(outbox):
    """40037 suspends a template only if WeChat does not list it. The list is fetched once a minute."""
    [message_id] = outbox.queue(outbox.new_merchant())
    outbox.system.database.execute("UPDATE wechat_template SET looked_up_at = NULL")
    calls, asked = outbox.system.sandbox.calls(SEND), outbox.system.sandbox.calls(TEMPLATES)
    outbox.fail(errcode=40037, times=2)
    for _number in range(2):
        outbox.drain()
        outbox.make_due(message_id)
    assert outbox.system.sandbox.calls(TEMPLATES) - asked == 1
    assert not outbox.system.admin.read("wechat.template", [outbox.template_id], ["stop_reason"])[0]["stop_reason"]
    outbox.drain()
    assert (outbox.read(message_id)["state"], outbox.system.sandbox.calls(SEND) - calls) == ("sent", 3)
    [gone_id] = outbox.queue(outbox.new_merchant())
    [template] = outbox.system.admin.read("wechat.template", [outbox.template_id], ["template_uid"])
    set_uid = "UPDATE wechat_template SET looked_up_at = NULL, template_uid = %s WHERE id = %s"
    outbox.system.database.execute(set_uid, "gone", outbox.template_id)
    outbox.system.database.execute("UPDATE wechat_message SET template_uid = 'gone' WHERE id = %s", gone_id)
    try:
        outbox.drain()
    finally:
        outbox.system.database.execute(set_uid, template["template_uid"], outbox.template_id)
    assert outbox.read(gone_id)["state"] == "outgoing"
    [template] = outbox.system.admin.read("wechat.template", [outbox.template_id], ["stop_reason"])
    assert "40037" in template["stop_reason"]
