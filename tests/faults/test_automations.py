"""Automations of a third party on res.partner that raise or sleep: the push is answered in time and nothing is lost."""

import pytest
from support import pushes
from support.odoo import wait_for

SLEEP = 10
RAISE = "raise UserError('boom: the ERP of a third party is away')"


@pytest.mark.timed
def test_automation_that_raises(system):
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


def test_cron_retries_what_failed(system):
    """Without anybody's help, the cron binds at the next attempt, once the automation has stopped to raise."""
    partner = system.merchant("周庄万三蹄专卖")
    openid = pushes.new_openid()
    with system.automation(partner, RAISE):
        pushes.scan(system.channel, openid, system.code(partner)["scene_str"]).send(system.channel)
    assert system.state(partner) == "unbound"
    # The time that the cron waits for is let pass, and it is told to run.
    [attempt] = system.database.execute(
        """
        UPDATE wechat_event SET next_attempt_at = next_attempt_at - interval '1 hour'
         WHERE openid = %s RETURNING next_attempt_at
        """,
        openid,
    )
    assert attempt["next_attempt_at"], "the failed event has a next attempt"
    [cron] = system.admin.find(
        "ir.model.data", [("module", "=", "wechat_merchant_bind"), ("name", "=", "ir_cron_retry_events")], ["res_id"]
    )
    system.admin.call("ir.cron", "method_direct_trigger", [cron["res_id"]])
    assert system.state(partner) == "bound"


@pytest.mark.timed
def test_automation_that_sleeps(system):
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
def test_sleeper_does_not_hold_up_others(system):
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
