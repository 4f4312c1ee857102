"""An independent SDK (wechatpy) encrypts the pushes and reads the replies, over real HTTP."""

import time

import pytest
import requests
from support import pushes
from wechatpy.utils import WeChatSigner


def test_server_check_needs_the_signature(system):
    """The console's check gets its echostr back, verbatim, and only with the right signature."""
    signer = WeChatSigner()
    signer.add_data(system.channel.token, "1700000000", "42")
    query = {"timestamp": "1700000000", "nonce": "42", "echostr": "<b>5927</b>&"}
    answer = requests.get(system.channel.url, params={**query, "signature": signer.signature}, timeout=30)
    assert (answer.status_code, answer.text) == (200, query["echostr"])
    assert answer.headers["Content-Type"].startswith("text/plain")
    forged = requests.get(system.channel.url, params={**query, "signature": "0" * 40}, timeout=30)
    assert (forged.status_code, query["echostr"] in forged.text) == (403, False)


@pytest.mark.parametrize("event, prefix", [("SCAN", ""), ("subscribe", "qrscene_")])
def test_encrypted_scan_binds(system, event, prefix):
    """A push encrypted by the SDK binds, and the SDK reads the encrypted reply to the scanner."""
    partner = system.merchant(f"大连老虎滩海鲜 {event}")
    openid = pushes.new_openid()
    xml = pushes.event_xml(system.channel, openid, event, prefix + system.code(partner)["scene_str"])
    answer = pushes.seal(system.channel, xml).send(system.channel)
    assert answer.status == 200
    assert answer.reply["ToUserName"] == openid
    assert answer.reply["FromUserName"] == system.channel.original_id
    assert answer.reply["MsgType"] == "text"
    wanted = f"您好！大连老虎滩海鲜 {event}，公众号绑定成功！今后将通过此公众号为您推送重要通知。"
    assert answer.text == wanted
    assert [binding["openid"] for binding in system.bindings(partner)] == [openid]


def test_message_goes_to_customer_service(system):
    """What a follower writes is handed over to WeChat's customer service."""
    xml = (
        f"<xml><ToUserName>{system.channel.original_id}</ToUserName><FromUserName>{pushes.new_openid()}</FromUserName>"
        f"<CreateTime>{int(time.time())}</CreateTime><MsgType>text</MsgType><Content>你好</Content>"
        f"<MsgId>{time.time_ns()}</MsgId></xml>"
    )
    answer = pushes.seal(system.channel, xml).send(system.channel)
    assert answer.reply["MsgType"] == "transfer_customer_service"


@pytest.mark.parametrize("part", ["body", "msg_signature", "timestamp", "nonce"])
def test_tampered_push_is_refused(system, part):
    """A signed push with any change is refused and does not bind."""
    partner = system.merchant(f"珠海渔女珍珠行 {part}")
    push = pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"])
    if part == "body":
        other = pushes.scan(system.channel, pushes.new_openid(), "mb_other")
        push.body = other.body
    else:
        digit = push.query[part][-1]
        push.query[part] = push.query[part][:-1] + ("1" if digit == "0" else "0")
    answer = push.send(system.channel)
    assert (answer.status, system.state(partner)) == (403, "unbound")
