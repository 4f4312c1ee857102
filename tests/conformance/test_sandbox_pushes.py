"""Pushes as WeChat does them, received by a server that authenticates, decrypts and answers with the SDK."""

import threading
import time

import pytest
from sandbox_harness import errcode, until
from wechatpy import create_reply
from wechatpy.replies import TransferCustomerServiceReply

AES = ("compatible", "safe")


@pytest.fixture(params=["plain", "compatible", "safe"])
def mode(request, sandbox, server):
    """The account in each of the three encryption modes."""
    server.account = sandbox.post("accounts", app_id=server.account["app_id"], mode=request.param)
    return request.param


def passive(server, text, seal):
    """An answer that the SDK writes: plain XML or, with `seal`, encrypted."""

    def answer(push):
        xml = create_reply(text, push["message"]).render()
        if seal:
            xml = server.crypto().encrypt_message(xml, "nonce1", int(time.time()))
        return 200, xml.encode()

    return answer


def test_url_check(sandbox, server, mode):
    answer = sandbox.post("check")
    assert answer["ok"] and answer["body"] == answer["echostr"]


def test_url_check_wants_the_echostr_verbatim(sandbox, server, account):
    sandbox.post("accounts", app_id=account["app_id"], token="another0token")
    answer = sandbox.post("check")
    assert not answer["ok"]


def test_what_a_push_looks_like(sandbox, server, mode):
    result = sandbox.post("follow", user="王老板")
    assert result["ok"] and result["status"] == 200 and result["attempts"] == 1 and result["body"] == "success"
    (push,) = server.pushes
    query = push["query"]
    assert query["openid"] == result["openid"]
    assert (query.get("encrypt_type") == "aes") == ("msg_signature" in query) == (mode in AES)
    text = push["body"].decode()
    assert ("<Encrypt>" in text) == (mode in AES)
    assert ("<FromUserName>" in text) == (mode != "safe")
    message = push["message"]
    assert (message.event, message.source, message.target) == (
        "subscribe",
        result["openid"],
        server.account["original_id"],
    )
    assert "<EventKey><![CDATA[]]></EventKey>" in push["xml"]


def test_passive_reply_reaches_the_chat(sandbox, server, mode):
    server.answer = passive(server, "您好！\n绑定成功 <&]", seal=mode in AES)
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["reply"], result["reply_type"]) == (True, "您好！\n绑定成功 <&]", "text")
    last = sandbox.get("messages", user="王老板")["messages"][-1]
    assert (last["from"], last["text"]) == ("account", "您好！\n绑定成功 <&]")


@pytest.mark.parametrize("body", [b"success", b""])
def test_received_without_reply(sandbox, server, mode, body):
    server.answer = lambda push: (200, body)
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["attempts"], result["reply"]) == (True, 1, None)


def test_compatible_mode_takes_a_plain_reply_too(sandbox, server):
    sandbox.post("accounts", app_id=server.account["app_id"], mode="compatible")
    server.answer = passive(server, "你好", seal=False)
    assert sandbox.post("follow", user="王老板")["reply"] == "你好"


def test_safe_mode_refuses_a_plain_reply(sandbox, server):
    server.answer = passive(server, "你好", seal=False)
    result = sandbox.post("follow", user="王老板")
    assert not result["ok"] and result["attempts"] == 4
    assert "must be encrypted" in result["error"]


def test_plain_mode_refuses_an_encrypted_reply(sandbox, server):
    server.answer = passive(server, "你好", seal=True)
    sandbox.post("accounts", app_id=server.account["app_id"], mode="plain")
    assert not sandbox.post("follow", user="王老板")["ok"]


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ("<MsgSignature><![CDATA[", "<MsgSignature><![CDATA[0"),
        ("<Nonce><![CDATA[", "<Nonce><![CDATA[0"),
        ("<Encrypt><![CDATA[", "<Encrypt><![CDATA[AAAA"),
        ("TimeStamp>", "Time>"),
    ],
)
def test_tampered_reply_is_a_failure(sandbox, server, find, put):
    honest = passive(server, "你好", seal=True)

    def answer(push):
        status, body = honest(push)
        assert find in body.decode()
        return status, body.decode().replace(find, put).encode()

    server.answer = answer
    result = sandbox.post("follow", user="王老板")
    assert not result["ok"] and result["reply"] is None
    assert result["error"]


@pytest.mark.parametrize(
    "change",
    [
        ("ToUserName", "o" * 28),
        ("FromUserName", "gh_000000000000"),
        ("MsgType", "poem"),
        ("Content", ""),
        ("Content", "字" * 700),
        ("CreateTime", "now"),
    ],
    ids=lambda change: change[0],
)
def test_wrong_reply_fields_are_failures(sandbox, server, change):
    sandbox.post("accounts", app_id=server.account["app_id"], mode="plain")

    def answer(push):
        message = push["message"]
        fields = {
            "ToUserName": message.source,
            "FromUserName": message.target,
            "CreateTime": "1700000000",
            "MsgType": "text",
            "Content": "你好",
            change[0]: change[1],
        }
        inner = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
        return 200, f"<xml>{inner}</xml>".encode()

    server.answer = answer
    assert not sandbox.post("follow", user="王老板")["ok"]


@pytest.mark.parametrize("answer", [(500, b"success"), (302, b""), (200, b"<html>oops</html>"), (200, b"SUCCESS")])
def test_three_retries_with_the_same_message(sandbox, server, mode, answer):
    server.answer = lambda push: answer
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["attempts"], len(server.pushes)) == (False, 4, 4)
    assert len({push["xml"] for push in server.pushes}) == 1
    assert len({push["query"]["nonce"] for push in server.pushes}) == 4


def test_a_retry_can_succeed(sandbox, server):
    server.answer = lambda push: (503, b"") if len(server.pushes) < 3 else (200, b"success")
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["attempts"]) == (True, 3)
    assert [tried["status"] for tried in result["tries"]] == [503, 503, 200]


def test_no_retries_without_redelivery(sandbox, server):
    sandbox.post("accounts", app_id=server.account["app_id"], redelivery=False)
    server.answer = lambda push: (503, b"")
    assert sandbox.post("follow", user="王老板")["attempts"] == 1


def test_slow_answer_is_cut(sandbox, server):
    assert server.account["push_timeout"] == 5
    sandbox.post("accounts", app_id=server.account["app_id"], push_timeout=0.2, push_retries=1)
    released = threading.Event()
    server.answer = lambda push: (200, b"success" if released.wait(10) else b"")
    result = sandbox.post("follow", user="王老板")
    released.set()
    assert (result["ok"], result["status"], result["attempts"]) == (False, None, 2)
    # Far below the 10 s after which the server answers, and below the default of 5 s.
    assert result["elapsed"] < 4
    assert result["error"] == "no answer within 0.2 s"


def test_unreachable_server(sandbox, server):
    server.stop()
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["status"], result["attempts"]) == (False, None, 4)


def test_failed_message_is_excused_in_the_chat_but_an_event_is_not(sandbox, server):
    server.answer = lambda push: (500, b"")
    sandbox.post("follow", user="王老板")
    assert sandbox.get("messages", user="王老板")["last_text"] == "关注了公众号"
    sandbox.post("say", user="王老板", text="在吗")
    assert sandbox.get("messages", user="王老板")["last_text"] == "该公众号暂时无法提供服务，请稍后再试"


def test_mark_fail_stops_pushes_until_the_console_is_touched(sandbox, server):
    app_id = server.account["app_id"]
    sandbox.post("accounts", app_id=app_id, mark_fail_threshold=4)
    server.answer = lambda push: (500, b"")
    sandbox.post("follow", user="王老板")
    server.answer = lambda push: (200, b"success")
    stopped = sandbox.post("say", user="王老板", text="在吗")
    assert (stopped["attempts"], stopped["error"].split(":")[0]) == (0, "MarkFail")
    assert len(server.pushes) == 4
    sandbox.post("accounts", app_id=app_id, mark_fail_seconds=60)
    assert sandbox.post("say", user="王老板", text="在吗")["ok"]


def test_mark_fail_ends_by_itself(sandbox, server):
    sandbox.post("accounts", app_id=server.account["app_id"], mark_fail_threshold=4, mark_fail_seconds=0.2)
    server.answer = lambda push: (500, b"")
    sandbox.post("follow", user="王老板")
    assert sandbox.get("state")["accounts"][0]["suspended_until"]
    server.answer = lambda push: (200, b"success")
    until(lambda: sandbox.post("say", user="王老板", text="在吗")["ok"], "the end of MarkFail")


def test_text_and_unfollow(sandbox, server):
    sandbox.post("follow", user="王老板")
    sandbox.post("say", user="王老板", text="我要订货")
    sandbox.post("unfollow", user="王老板")
    _subscribe, text, unfollow = (push["message"] for push in server.pushes)
    assert (text.type, text.content, text.id > 2**53) == ("text", "我要订货", True)
    assert unfollow.event == "unsubscribe"
    sandbox.post("say", expect=409, user="王老板", text="还在吗")
    sandbox.post("unfollow", expect=409, user="王老板")
    sandbox.post("unfollow", expect=404, user="陌生人")
    again = sandbox.post("follow", user="王老板")
    assert again["openid"] == text.source


def transfer(server):
    """An answer that the SDK writes: over to human customer service."""

    def answer(push):
        xml = TransferCustomerServiceReply(message=push["message"]).render()
        return 200, server.crypto().encrypt_message(xml, "nonce1", int(time.time())).encode()

    return answer


def test_a_message_may_be_transferred_to_customer_service(sandbox, server):
    sandbox.post("follow", user="王老板")
    server.answer = transfer(server)
    result = sandbox.post("say", user="王老板", text="在吗")
    assert (result["ok"], result["reply_type"]) == (True, "transfer_customer_service")


def test_an_event_may_not_be_transferred_to_customer_service(sandbox, server, make_code):
    server.answer = transfer(server)
    for result in (
        sandbox.post("follow", user="王老板"),
        sandbox.post("scan", user="王老板", content=make_code()["url"]),
    ):
        assert (result["ok"], result["reply"], result["attempts"]) == (False, None, 4)
        assert "never an event" in result["error"]


@pytest.mark.parametrize("event", ["subscribe", "SCAN", "scan", "CLICK"])
def test_events_that_may_be_answered(sandbox, server, event):
    server.answer = passive(server, "你好", seal=True)
    fields = {"FromUserName": "o" * 28, "MsgType": "event", "Event": event, "EventKey": "V1"}
    assert sandbox.post("push", fields=fields)["reply"] == "你好"


@pytest.mark.parametrize("event", ["unsubscribe", "VIEW", "LOCATION", "TEMPLATESENDJOBFINISH", "odd"])
def test_other_events_may_only_be_answered_with_success(sandbox, server, event):
    server.answer = passive(server, "你好", seal=True)
    fields = {"FromUserName": "o" * 28, "MsgType": "event", "Event": event, "EventKey": ""}
    result = sandbox.post("push", fields=fields)
    assert (result["ok"], result["reply"], result["attempts"]) == (False, None, 4)
    assert event in result["error"]
    server.answer = lambda push: (200, b"success")
    assert sandbox.post("push", fields=fields)["ok"]


def test_raw_xml_is_judged_like_fields(sandbox, server):
    server.answer = passive(server, "你好", seal=True)
    head = f"<ToUserName>{server.account['original_id']}</ToUserName><FromUserName>{'o' * 28}</FromUserName>"
    xml = f"<xml>{head}<MsgType>event</MsgType><Event>SCAN</Event></xml>"
    assert sandbox.post("push", xml=xml)["reply"] == "你好"
    assert not sandbox.post("push", xml=xml.replace("SCAN", "unsubscribe"))["ok"]


def test_any_push_several_at_once(sandbox, server):
    openid = sandbox.post("follow", user="王老板")["openid"]
    server.pushes.clear()
    fields = {"FromUserName": openid, "CreateTime": 1700000000, "MsgType": "event", "Event": "CLICK", "EventKey": "V1"}
    at_once = threading.Barrier(3)

    def answer(push):
        at_once.wait(10)
        return 200, b"success"

    server.answer = answer
    answers = sandbox.post("push", fields=fields, copies=3, timestamp=1700000001, retry=False)["results"]
    assert [answer["ok"] for answer in answers] == [True] * 3
    assert {push["query"]["timestamp"] for push in server.pushes} == {"1700000001"}
    assert {push["message"].key for push in server.pushes} == {"V1"}
    assert {push["message"]._data["CreateTime"] for push in server.pushes} == {"1700000000"}


def test_push_in_another_mode_and_of_raw_xml(sandbox, server):
    fields = {"FromUserName": "o" * 28, "MsgType": "event", "Event": "VIEW", "EventKey": "https://example.com"}
    assert sandbox.post("push", fields=fields, mode="plain")["ok"]
    assert "encrypt_type" not in server.pushes[0]["query"]
    assert sandbox.post("push", xml="<xml><MsgType>event</MsgType><Event>odd</Event></xml>", openid="x")["ok"]
    assert server.pushes[1]["query"]["openid"] == "x"
    assert "<Event>odd</Event>" in server.pushes[1]["xml"]
    sandbox.post("push", expect=400, fields=fields, xml="<xml/>")


def test_without_server_nothing_is_pushed(sandbox):
    result = sandbox.post("follow", user="王老板")
    assert (result["ok"], result["attempts"]) == (False, 0)
    sandbox.post("check", expect=400)


def test_events_of_the_verification(sandbox, server, make_code):
    year = 365 * 24 * 3600
    for event, name in (
        ("annual_renew", "ExpiredTime"),
        ("qualification_verify_fail", "FailReason"),
        ("verify_expired", "ExpiredTime"),
        ("naming_verify_fail", "FailReason"),
    ):
        assert sandbox.post("verification", event=event, fail_reason="营业执照已过期")["ok"]
        fields = server.pushes[-1]["message"]._data
        assert fields["Event"] == event
        # The sender is WeChat's own account, and no user.
        assert fields["FromUserName"].startswith("o")
        assert fields[name] == "营业执照已过期" if name == "FailReason" else fields[name].isdigit()
        assert ("FailTime" in fields) == (name == "FailReason")
    assert errcode(make_code) == 48001
    ends_at = int(time.time()) + 2 * year
    assert sandbox.post("verification", event="qualification_verify_success", expired_time=ends_at)["ok"]
    assert f"<ExpiredTime>{ends_at}</ExpiredTime>" in server.pushes[-1]["xml"]
    assert make_code()
    assert sandbox.post("verification", event="naming_verify_success")["ok"]
    sandbox.post("verification", expect=400, event="subscribe")
