"""Two Odoo processes on one database share the token, the binding and the reply."""

import itertools
from collections import Counter

import pytest
from support import pushes
from support.odoo import at_once, wait_for
from support.system import System

TOKEN_PATH = "/cgi-bin/stable_token"
THREADS = 20
SCANNERS = 50
# More than Odoo's 64 connections if each push took two.
SCANNERS_OF_ONE = 56
BOUND, PENDING = "绑定成功", "几分钟"
REFUSED = "该商家已绑定其他微信。如非本人操作，请联系我们。"


@pytest.mark.parametrize("how", ["expired", "replaced"])
def test_stale_token_is_fetched_once(system, how):
    """20 threads in two processes meet a stale token: one fetches another, and all get their code."""
    partners = [system.merchant(f"{how} {number}") for number in range(THREADS)]
    system.code(system.merchant(f"{how}: makes sure that there is a token"))
    before = system.sandbox.calls(TOKEN_PATH)
    system.sandbox.post("expire_token", kind="stable", how=how)
    clients = [system.admin.at(server.url) for server in system.servers]
    codes = at_once(
        [
            lambda partner=partner, client=clients[index % 2]: system.code(partner, client)
            for index, partner in enumerate(partners)
        ]
    )
    assert system.sandbox.calls(TOKEN_PATH) - before == 1
    assert len({code["qr_content"] for code in codes}) == THREADS


def test_one_of_fifty_scanners_is_bound(system):
    """50 people scan one code at once, at two processes: one is bound, 49 are told why not."""
    partner = system.merchant("三亚椰梦长廊酒店")
    scan_at_once(system, partner, [system.channel.at(server.url) for server in system.servers], SCANNERS)


def test_pushes_at_once_share_the_connections_of_a_process(system):
    """A process without workers has 64 connections for all its requests: each of 56 pushes at once takes one."""
    partner = system.merchant("阳澄湖大闸蟹")
    server = system.servers[0]
    mark = server.log.stat().st_size
    scan_at_once(system, partner, [system.channel.at(server.url)], SCANNERS_OF_ONE)
    assert "Pool Is Full" not in server.read_log(mark)


def scan_at_once(system: System, partner: int, channels: list[pushes.Channel], number: int) -> None:
    """Let many followers scan a merchant's code at once: one is bound, and each gets a correct reply.

    A busy machine may not handle all of them while WeChat waits. It answers those that wait with a provisional reply
    and handles them soon, here at once.
    """
    scene = system.code(partner)["scene_str"]
    openids = [pushes.new_openid() for _number in range(number)]
    scans = [pushes.scan(system.channel, openid, scene) for openid in openids]
    answers = at_once(
        [
            lambda push=push, channel=channel: push.send(channel)
            for push, channel in zip(scans, itertools.cycle(channels), strict=False)
        ]
    )
    assert Counter(answer.status for answer in answers) == {200: number}
    texts = {openid: answer.text for openid, answer in zip(openids, answers, strict=True)}
    wait_for(lambda: not count_waiting(system, openids), "all scans are handled")
    [binding] = system.bindings(partner)
    winner = texts.pop(binding["openid"])
    assert BOUND in winner or PENDING in winner
    assert {text for text in texts.values() if PENDING not in text} <= {REFUSED}
    assert len(system.operations(partner, "refuse")) == number - 1
    assert len(system.operations(partner, "bind")) == 1


def count_waiting(system: System, openids: list[str]) -> int:
    """Have the scans handled that were answered provisionally, and return how many there were."""
    waiting = system.events(("openid", "in", openids), ("state", "in", ("received", "failed")))
    if waiting:
        system.admin.call("wechat.event", "action_retry", [event["id"] for event in waiting])
    return len(waiting)


def test_redeliveries_at_once_bind_once(system):
    """Redeliveries that overlap leave one event, one binding and one reply."""
    partner = system.merchant("张家界天门山土特产")
    openid = pushes.new_openid()
    push = pushes.scan(system.channel, openid, system.code(partner)["scene_str"])
    channels = [system.channel.at(system.servers[number % 2].url) for number in range(3)]
    answers = at_once([lambda channel=channel: push.send(channel) for channel in channels])
    assert {answer.status for answer in answers} == {200}
    # A redelivery during the handling is only acknowledged: WeChat shows the first reply.
    assert {answer.text for answer in answers} - {None} == {
        "您好！张家界天门山土特产，公众号绑定成功！今后将通过此公众号为您推送重要通知。"
    }
    assert [event["state"] for event in system.events(("openid", "=", openid))] == ["done"]
    assert len(system.operations(partner, "bind")) == 1
    late = push.send(system.channel)
    first = next(answer for answer in answers if answer.text)
    assert late.reply == first.reply, "a later redelivery gets the very reply that is stored"
    assert len(system.events(("openid", "=", openid))) == 1


def test_redeliveries_of_the_platform_bind_once(system):
    """The same with the platform's own delivery."""
    partner = system.merchant("桂林漓江米粉")
    openid = pushes.new_openid()
    fields = {
        "FromUserName": openid,
        "MsgType": "event",
        "Event": "SCAN",
        "EventKey": system.code(partner)["scene_str"],
    }
    results = system.sandbox.post("push", fields=fields, copies=3)["results"]
    assert all(result["ok"] for result in results)
    assert len({result["reply"] for result in results} - {None}) == 1
    assert len(system.events(("openid", "=", openid))) == 1


def test_change_of_an_account_reaches_every_process(system):
    """Each process caches the accounts until one of them is changed in any process."""
    account = system.admin.create(
        "wechat.account",
        {
            "name": "北戴河海鲜",
            "app_id": "wx0000000000000bdh",
            "original_id": "gh_beidaihe0001",
            "app_secret": "0" * 32,
        },
    )

    def channels() -> list[pushes.Channel]:
        fields = ["webhook_url", "app_id", "original_id", "webhook_token", "encoding_aes_key"]
        row = system.admin.read("wechat.account", [account], fields)[0]
        return [pushes.Channel(*(row[name] for name in fields)).at(server.url) for server in system.servers]

    def push(channel: pushes.Channel) -> int:
        xml = pushes.event_xml(channel, pushes.new_openid(), "VIEW", "https://example.com")
        return pushes.seal(channel, xml).send(channel).status

    before = channels()
    assert [push(channel) for channel in before] == [200, 200]
    system.admin.at(system.servers[1].url).call("wechat.account", "action_generate_secrets", [account])
    assert [push(channel) for channel in before] == [403, 403]
    assert [push(channel) for channel in channels()] == [200, 200]
    system.admin.call("wechat.account", "write", [account], {"active": False})
    assert [push(channel) for channel in channels()] == [403, 403]
