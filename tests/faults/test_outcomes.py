"""Scans whose handling takes longer than WeChat waits: each scanner is told the outcome on the phone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.odoo import wait_for

SLEEP = 5
PROVISIONAL = "几分钟内"


@pytest.mark.timed
def test_winner_and_losers_of_slow_scans_are_told(system):
    """Ten people scan one code at once while an automation sleeps: the promise of minutes is kept to each."""
    partner = system.merchant("同里退思园茶楼")
    content = system.code(partner)["qr_content"]
    users = [f"扫码人 {number}" for number in range(10)]

    def read_texts(user: str) -> list[str]:
        """Return what the account has written to a phone."""
        messages = system.sandbox.get("messages", user=user)["messages"]
        return [message["text"] for message in messages if message["from"] == "account"]

    with system.automation(partner, f"time.sleep({SLEEP})"), ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(lambda user: system.sandbox.post("scan", user=user, content=content), users))
        promised = [user for user in users if PROVISIONAL in read_texts(user)[0]]
        assert promised, "the handling takes longer than WeChat waits"
        wait_for(lambda: system.state(partner) == "bound", "the sleeper wakes and binds", 6 * SLEEP)
        wait_for(lambda: all(len(read_texts(user)) > 1 for user in promised), "each is told", 90)
    texts = [read_texts(user)[-1] for user in users]
    assert sum("绑定成功" in text for text in texts) == 1
    assert sum("已绑定其他微信" in text for text in texts) == len(users) - 1
    assert all(len(read_texts(user)) == (2 if user in promised else 1) for user in users), "each is told once"
