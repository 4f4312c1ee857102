"""Third-party automations that raise or sleep: pushes are answered in time and no event is lost."""

import pytest
from support import pushes
from support.odoo import wait_for

SLEEP = 10
RAISE = "raise UserError('boom: the ERP of a third party is away')"


@pytest.mark.timed
def test_event_of_a_raising_automation_is_kept_and_retried(system):
    """The event is kept with its error, the merchant is told to wait, and a manager's retry binds."""
    partner = system.merchant("乌镇染坊")
    openid = pushes.new_openid()
    push = pushes.scan(system.channel, openid, system.code(partner)["scene_str"])
    with system.automation(partner, RAISE):
        answer = push.send(system.channel)
        assert (answer.status, answer.seconds < pushes.WECHAT_WAITS) == (200, True)
        assert "绑定成功" not in answer.text
        [event] = system.events(("openid", "=", openid))
        assert (event["state"], "boom" in event["error"]) == ("failed", True)
        assert (system.state(partner), system.bindings(partner)) == ("unbound", [])
        assert not system.operations(partner, "bind")
        system.admin.call("wechat.event", "action_retry", [event["id"]])
        assert system.events(("openid", "=", openid))[0]["state"] == "failed", "the automation still raises"
    system.admin.call("wechat.event", "action_retry", [event["id"]])
    assert system.events(("openid", "=", openid))[0]["state"] == "done"
    assert [binding["openid"] for binding in system.bindings(partner)] == [openid]
    assert len(system.operations(partner, "bind")) == 1
    assert "绑定成功" in push.send(system.channel).text, "a late redelivery brings the reply of the retry"


def test_cron_retries_a_failed_event(system):
    """The cron binds at the next attempt, after the automation has stopped to raise."""
    partner = system.merchant("周庄万三蹄专卖")
    openid = pushes.new_openid()
    with system.automation(partner, RAISE):
        pushes.scan(system.channel, openid, system.code(partner)["scene_str"]).send(system.channel)
    assert system.state(partner) == "unbound"
    # Make the event due and run the cron.
    [attempt] = system.database.execute(
        """
        UPDATE wechat_event SET next_attempt_at = next_attempt_at - interval '1 hour'
         WHERE openid = %s RETURNING next_attempt_at
        """,
        openid,
    )
    assert attempt["next_attempt_at"], "the failed event has a next attempt"
    system.run_cron("model._cron_retry()")
    assert system.state(partner) == "bound"


@pytest.mark.timed
def test_push_is_answered_while_an_automation_sleeps(system):
    """WeChat gets its answer while the automation sleeps on; when it wakes, the merchant is bound."""
    partner = system.merchant("西塘古镇酒坊")
    openid = pushes.new_openid()
    push = pushes.scan(system.channel, openid, system.code(partner)["scene_str"])
    with system.automation(partner, f"time.sleep({SLEEP})"):
        answer = push.send(system.channel)
        assert (answer.status, answer.seconds < pushes.WECHAT_WAITS) == (200, True)
        [event] = system.events(("openid", "=", openid))
        assert event["state"] == "received"
        redelivery = push.send(system.channel)
        assert (redelivery.status, redelivery.seconds < pushes.WECHAT_WAITS) == (200, True)
        wait_for(lambda: system.state(partner) == "bound", "the sleeper wakes and binds", 3 * SLEEP)
    assert system.events(("openid", "=", openid))[0]["state"] == "done"
    assert len(system.operations(partner, "bind")) == 1


@pytest.mark.timed
def test_sleeping_automation_does_not_hold_up_others(system):
    """While an automation sleeps for one merchant, scans of others are answered with their binding."""
    slow, others = system.merchant("慢吞吞的商家"), [system.merchant(f"不受影响的商家 {number}") for number in range(5)]
    codes = [system.code(partner)["scene_str"] for partner in (slow, *others)]
    with system.automation(slow, f"time.sleep({SLEEP})"):
        pushes.scan(system.channel, pushes.new_openid(), codes[0]).send(system.channel)
        for scene in codes[1:]:
            answer = pushes.scan(system.channel, pushes.new_openid(), scene).send(system.channel)
            assert answer.seconds < pushes.WECHAT_WAITS
            assert "绑定成功" in answer.text
        wait_for(lambda: system.state(slow) == "bound", "the sleeper wakes and binds", 3 * SLEEP)


def test_automation_that_fails_on_unfollowing_holds_up_no_message(system, outbox):
    """WeChat says that a merchant has left, and an automation fails at that: the other merchants get their messages."""
    gone, *others = [outbox.new_merchant() for _number in range(4)]
    [binding] = system.bindings(gone)
    system.sandbox.post("followers", user=binding["openid"], subscribed=False)
    lost, *sent = outbox.queue(gone, *others)
    with system.automation_on("res.partner", "wechat_state", [("wechat_state", "=", "unfollowed")], RAISE):
        outbox.drain()
        assert (outbox.read(lost)["state"], outbox.read(lost)["failure_type"]) == ("failed", "wechat_unfollowed")
        assert {outbox.read(message_id)["state"] for message_id in sent} == {"sent"}
        assert system.state(gone) == "bound", "what the automation refuses is not half done"
    outbox.queue(gone)
    outbox.drain()
    assert system.state(gone) == "unfollowed", "the next message tells it again"


def test_automation_that_fails_on_receipts_is_told_in_the_chatter(system, outbox):
    """An automation fails at what a receipt says of a merchant: all receipts are applied, and told in the chatter."""
    partner_ids = [outbox.new_merchant() for _number in range(3)]
    message_ids = outbox.queue(*partner_ids)
    outbox.drain()
    messages = [outbox.read(message_id) for message_id in message_ids]
    statuses = ["success", "failed:user block", "success"]
    with system.automation_on("wechat.binding", "is_blocked", [("is_blocked", "=", True)], RAISE):
        for message, status in zip(messages, statuses, strict=True):
            xml = pushes.receipt_xml(system.channel, message["openid"], message["msgid"], status)
            assert pushes.seal(system.channel, xml).send(system.channel).body == b"success"
        wait_for(
            lambda: [outbox.notification(message_id)[0] for message_id in message_ids] == ["sent", "exception", "sent"],
            "the notifications tell it",
        )
    assert [outbox.read(message_id)["state"] for message_id in message_ids] == ["delivered", "failed", "delivered"]
    receipts = system.events(("openid", "in", [message["openid"] for message in messages]), ("event", "like", "finish"))
    assert [receipt["state"] for receipt in receipts] == ["done"] * 3
