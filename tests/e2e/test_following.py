"""Following and unfollowing, bulk generation, and refused scans of a bound WeChat."""

import time

from support import pushes
from support.odoo import wait_for


def test_state_follows_unfollowing_and_following(system):
    """wechat_state follows the phone."""
    partner = system.merchant("丽江古城银器店")
    system.sandbox.scan("丽江银器-和师傅", system.code(partner)["qr_content"])
    assert system.state(partner) == "bound"
    system.sandbox.post("unfollow", user="丽江银器-和师傅")
    assert system.state(partner) == "unfollowed"
    system.sandbox.post("follow", user="丽江银器-和师傅")
    assert system.state(partner) == "bound"
    assert len(system.operations(partner, "unfollow")) == 1
    assert len(system.operations(partner, "follow")) == 1


def test_late_unfollow_changes_nothing(system):
    """A late unsubscribe that is older than the scan does not mark the merchant as unfollowed."""
    partner = system.merchant("敦煌莫高里客栈")
    openid, now = pushes.new_openid(), int(time.time())
    scan = pushes.scan(system.channel, openid, system.code(partner)["scene_str"], created=now)
    assert "绑定成功" in scan.send(system.channel).text
    late = pushes.event_xml(system.channel, openid, "unsubscribe", created=now - 1)
    assert pushes.seal(system.channel, late).send(system.channel).body == b"success"
    assert system.state(partner) == "bound"


def test_bound_wechat_is_refused_by_another_merchant(system):
    """The scanner is told, without the other merchant's name; nothing changes."""
    first, second = system.merchant("洛阳牡丹亭花店"), system.merchant("开封清明上河茶楼")
    system.sandbox.scan("洛阳-何老板", system.code(first)["qr_content"])
    result = system.sandbox.scan("洛阳-何老板", system.code(second)["qr_content"])
    assert "已绑定" in result["reply"]
    assert "洛阳牡丹亭花店" not in result["reply"]
    assert (system.state(first), system.state(second)) == ("bound", "unbound")
    assert len(system.operations(second, "refuse")) == 1


def test_cron_generates_codes_in_bulk(system):
    """Several merchants get their codes in the background; bound and disabled ones are skipped with the reason."""
    bound, disabled = system.merchant("已绑定的商家"), system.merchant("已停用的商家")
    system.sandbox.scan("批量-已绑定", system.code(bound)["qr_content"])
    system.admin.call("res.partner", "write", [disabled], {"active": False})
    fresh = [system.merchant(f"批量生成 {number}") for number in range(5)]
    action = system.admin.call("res.partner", "action_wechat_bind_code", [bound, *fresh, disabled])
    assert action["res_model"] == "wechat.bind.batch"

    def drained() -> list[dict]:
        lines = system.admin.find(
            "wechat.bind.batch.line",
            [("batch_id", "=", action["res_id"])],
            ["partner_id", "state", "reason", "code_id"],
        )
        return [] if any(line["state"] == "pending" for line in lines) else lines

    lines = {line["partner_id"]: line for line in wait_for(drained, "the cron drains the batch")}
    assert {lines[partner]["state"] for partner in fresh} == {"done"}
    assert len({lines[partner]["code_id"] for partner in fresh}) == len(fresh)
    for partner in (bound, disabled):
        assert (lines[partner]["state"], bool(lines[partner]["reason"])) == ("skipped", True)
