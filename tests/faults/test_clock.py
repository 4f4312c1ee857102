"""The server's clock is wrong: what is signed rightly is refused all the same, and 测试连接 says why and what to do."""

import re

import pytest
from support import pushes

TOLERANCE = 15 * 60
OFF = 20 * 60
SLACK_SECONDS = 10


@pytest.mark.parametrize("skew, direction", [(OFF, "慢"), (-OFF, "快")], ids=["behind", "ahead"])
def test_twenty_minutes_off(system, skew, direction):
    """Nobody is bound by such a push; when the clock is right again, the same scan binds."""
    partner = system.merchant(f"时钟不准的商家 {skew}")
    openid, scene = pushes.new_openid(), system.code(partner)["scene_str"]
    answer = pushes.scan(system.channel, openid, scene, skew=skew).send(system.channel)
    assert (answer.status, system.state(partner)) == (403, "unbound")
    line = system.check_of("被拒")
    assert line["result"] == "warning"
    told = re.search(rf"{direction} (\d+) 秒。请用 NTP 校准", line["message"])
    assert told, line
    assert abs(int(told[1]) - OFF) < SLACK_SECONDS
    assert "绑定成功" in pushes.scan(system.channel, openid, scene).send(system.channel).text


def test_within_the_tolerance(system):
    """Clocks that differ by less than the account tolerates are none of the merchants' business."""
    for skew in (TOLERANCE - 60, 60 - TOLERANCE):
        partner = system.merchant(f"时钟略偏的商家 {skew}")
        push = pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"], skew=skew)
        assert "绑定成功" in push.send(system.channel).text
