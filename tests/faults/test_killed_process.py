"""The Odoo process that handles a push is killed: the received event is not lost."""

import threading

import pytest
import requests
from support import pushes
from support.odoo import OdooServer, wait_for
from support.system import LOGS

LONG = 60


@pytest.fixture
def victim(system):
    """A third Odoo process on the same database."""
    server = OdooServer(system.database.name, LOGS / "odoo-victim.log")
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def test_event_of_a_killed_process_is_retried(system, victim):
    """The event is stored before it is handled, so a retry by another process binds."""
    partner = system.merchant("平遥古城票号客栈")
    openid = pushes.new_openid()
    push = pushes.scan(system.channel, openid, system.code(partner)["scene_str"])
    outcome = []

    def send():
        try:
            outcome.append(push.send(system.channel.at(victim.url)))
        except requests.ConnectionError as error:
            outcome.append(error)

    with system.automation(partner, f"time.sleep({LONG})"):
        sender = threading.Thread(target=send)
        sender.start()
        [event] = wait_for(lambda: system.events(("openid", "=", openid)), "the push is in the inbox")
        victim.kill()
        sender.join()
    assert isinstance(outcome[0], requests.ConnectionError), "the process died before it could answer"
    assert (event["state"], system.state(partner)) == ("received", "unbound")
    # The lock on the scene ended with the process, so the retry does not wait.
    system.admin.call("wechat.event", "action_retry", [event["id"]])
    assert system.events(("openid", "=", openid))[0]["state"] == "done"
    assert [binding["openid"] for binding in system.bindings(partner)] == [openid]
    assert "绑定成功" in push.send(system.channel).text, "WeChat's redelivery brings the reply"
