"""Odoo with worker processes, as in production."""

from concurrent.futures import ThreadPoolExecutor

from support import pushes

SCANS = 12


def test_workers_bind_at_the_same_time(system, prefork):
    """Workers handle pushes side by side: every scan of its own code binds."""
    partners = [system.merchant(f"普陀山素斋 {number}") for number in range(SCANS)]
    scans = [
        pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"]) for partner in partners
    ]
    channel = system.channel.at(prefork.url)
    with ThreadPoolExecutor(SCANS) as pool:
        answers = list(pool.map(lambda push: push.send(channel), scans))
    assert {answer.status for answer in answers} == {200}
    assert all("绑定成功" in answer.text for answer in answers)
    assert {system.state(partner) for partner in partners} == {"bound"}
