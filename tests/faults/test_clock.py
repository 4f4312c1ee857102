"""A wrong clock of the server: validly signed pushes are refused, and 测试连接 names reason and remedy."""

import re

import pytest
from support import pushes

TOLERANCE = 15 * 60
OFF = 20 * 60
SLACK_SECONDS = 10


@pytest.mark.parametrize("skew, direction", [(OFF, "慢"), (-OFF, "快")], ids=["behind", "ahead"])
def test_push_of_a_wrong_clock_is_refused(system, skew, direction):
    """Such a push does not bind; after the clock is corrected the same scan does."""
    partner = system.merchant(f"时钟不准的商家 {skew}")
    openid, scene = pushes.new_openid(), system.code(partner)["scene_str"]
    answer = pushes.scan(system.channel, openid, scene, skew=skew).send(system.channel)
    assert (answer.status, system.state(partner)) == (403, "unbound")
    line = system.check_of("被拒")
    assert line["result"] == "error"
    told = re.search(rf"{direction} (\d+) 秒。请用 NTP 校准", line["message"])
    assert told, line
    assert abs(int(told[1]) - OFF) < SLACK_SECONDS
    assert "绑定成功" in pushes.scan(system.channel, openid, scene).send(system.channel).text


def test_push_within_the_tolerance_binds(system):
    """A difference within the account's tolerance does not affect scans."""
    for skew in (TOLERANCE - 60, 60 - TOLERANCE):
        partner = system.merchant(f"时钟略偏的商家 {skew}")
        push = pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"], skew=skew)
        assert "绑定成功" in push.send(system.channel).text
