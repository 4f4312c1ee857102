"""Template messages: the library, keyword types and lengths, dedupe, delivery and receipts, all through the SDK."""

import concurrent.futures

import pytest
from sandbox_harness import errcode
from wechatpy.exceptions import WeChatClientException

GOOD = {
    "thing1": "杭州西湖茶庄二零二六年秋季第一批新茶订单",
    "short_thing1": "龙井新茶到",
    "character_string1": "SO-1042/2026 (A)",
    "time1": "2026年11月22日 15:01",
    "date1": "2026-11-22~2026-11-30",
    "amount1": "￥100.21",
    "phone_number1": "+86-571-88888888",
    "car_number1": "浙A12345挂",
    "const1": "待确认",
    "phrase1": "已发货",
    "name1": "王小明",
    "number1": "1042.5",
    "letter1": "ABC",
    "symbol1": "★★",
    "keyword1": "没有类型的键，接口不限制长度，手机只显示前面二十个字",
}
BAD = [
    ("thing1", "一" * 21),
    ("thing1", "两\n行"),
    ("short_thing1", "六个字太长了"),
    ("character_string1", "订单1042"),
    ("character_string1", "x" * 33),
    ("time1", "明天下午"),
    ("time1", "25:00"),
    ("date1", "22/11"),
    ("date1", "2026-11-22 ~ 2026-11-30"),
    ("time1", "15:01 ~ 16:01"),
    ("amount1", "￥1,000.00"),
    ("amount1", "1" * 13),
    ("phone_number1", "1" * 18),
    ("phone_number1", "电话"),
    ("car_number1", "浙A123456789"),
    ("const1", "待确…"),
    ("phrase1", "六个汉字太长"),
    ("phrase1", "OK"),
    ("name1", "一二三四五六七八九十一"),
    ("name1", "x" * 21),
    ("number1", "一百"),
    ("letter1", "A1"),
    ("symbol1", "abc"),
]


@pytest.fixture
def template(sandbox):
    """A template with a keyword of every type."""
    content = "".join(f"{key}:{{{{{key}.DATA}}}}\n" for key in GOOD)
    return sandbox.post("templates", title="新订单通知", content=content, allowed={"const1": ["待确认"]})["template_id"]


@pytest.fixture
def follower(sandbox):
    """A follower."""
    return sandbox.post("followers", user="王老板", subscribed=True)["openid"]


def data(**change):
    return {key: {"value": value} for key, value in {**GOOD, **change}.items() if value is not None}


@pytest.fixture
def send(client, follower, template):
    """Return a function that sends with every field given through the SDK's generic post, as client_msg_id needs it."""

    def send(**change):
        body = {"touser": follower, "template_id": template, "data": data(), **change}
        return client.post("message/template/send", data=body)

    return send


def test_sdk_sends_and_the_phone_shows_a_card(sandbox, client, follower, template):
    answer = client.message.send_template(follower, template, data(), url="https://example.com/so/1042")
    assert answer["errcode"] == 0 and 2**53 < answer["msgid"] < 2**63
    last = sandbox.get("messages", user="王老板")["messages"][-1]
    assert last["template"]["title"] == "新订单通知"
    assert last["template"]["lines"][0] == {"label": "thing1", "value": GOOD["thing1"]}
    assert (last["url"], last["msgid"]) == ("https://example.com/so/1042", str(answer["msgid"]))


def test_phone_shows_only_a_part_of_keys_without_a_type(sandbox, client, follower):
    """`first` and `remark` are hidden; other values are folded after 20 characters and cut at a line break."""
    values = {
        "first": "您好",
        "keyword1": "一" * 20,
        "keyword2": "一" * 21,
        "name": "第一行\n第二行",
        "thing3": "两" * 20,
        "remark": "谢谢",
    }
    content = "".join(f"{key}:{{{{{key}.DATA}}}}\n" for key in values)
    template = sandbox.post("templates", title="历史模板", content=content)["template_id"]
    answer = client.message.send_template(follower, template, {key: {"value": text} for key, text in values.items()})
    assert answer["errcode"] == 0
    lines = sandbox.get("messages", user="王老板")["messages"][-1]["template"]["lines"]
    assert {line["label"]: line["value"] for line in lines} == {
        "keyword1": "一" * 20,
        "keyword2": "一" * 20 + "…",
        "name": "第一行",
        "thing3": "两" * 20,
    }


@pytest.mark.parametrize(("key", "value"), BAD)
def test_values_out_of_type_are_refused_by_name(send, key, value):
    with pytest.raises(WeChatClientException) as caught:
        send(data=data(**{key: value}))
    assert caught.value.errcode == 47003
    assert caught.value.errmsg.startswith(f"argument invalid! data.{key}.value invalid rid: ")


@pytest.mark.parametrize("key", sorted(set(GOOD) - {"const1"}))
@pytest.mark.parametrize("value", ["", None], ids=["empty", "missing"])
def test_empty_values_are_refused(send, key, value):
    with pytest.raises(WeChatClientException) as caught:
        send(data=data(**{key: value}))
    assert caught.value.errmsg.startswith(f"argument invalid! data.{key}.value is empty rid: ")


def test_a_const_may_be_empty(send):
    assert send(data=data(const1=""))["errcode"] == 0


def test_a_test_account_checks_nothing(sandbox, make_client):
    test = sandbox.post("accounts", app_id="wx00000000000000aa", kind="test", mode="plain")
    openid = sandbox.post("followers", app_id=test["app_id"], user="王老板", subscribed=True)["openid"]
    made = sandbox.post("templates", app_id=test["app_id"], title="通知", content="{{thing1.DATA}}")
    client = make_client(test)
    answer = client.message.send_template(openid, made["template_id"], {"thing1": {"value": "长" * 50}})
    assert answer["errcode"] == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"touser": "nobody"}, 40003),
        ({"touser": "o" + "x" * 27}, 40003),
        ({"template_id": "unknown"}, 40037),
        ({"data": None}, 47001),
        ({"miniprogram": {"appid": "none"}}, 40013),
        ({"client_msg_id": "x" * 33}, 45067),
        ({"client_msg_id": "x" * 32 + "!"}, 47001),
    ],
)
def test_refused_sends(send, change, expected):
    assert errcode(send, **change) == expected


@pytest.mark.parametrize(("change", "expected"), [({"subscribed": False}, 43004), ({"blacklisted": True}, 43019)])
def test_only_followers_get_messages(sandbox, send, change, expected):
    sandbox.post("followers", user="王老板", **change)
    assert errcode(send) == expected
    assert sandbox.get("messages", user="王老板")["messages"] == []


def test_openid_of_another_account_is_refused(sandbox, send):
    sandbox.post("accounts", app_id="wx00000000000000bb")
    stranger = sandbox.post("followers", app_id="wx00000000000000bb", user="王老板", subscribed=True)["openid"]
    assert errcode(send, touser=stranger) == 40003


def test_client_msg_id_is_sent_once_even_at_once(sandbox, client, send):
    client.fetch_access_token()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _n: send(client_msg_id="once-1"), range(8)))
    assert len({answer["msgid"] for answer in answers}) == 1
    assert send(client_msg_id="once-2")["msgid"] != answers[0]["msgid"]
    assert len(sandbox.get("messages", user="王老板")["messages"]) == 2
    assert sandbox.get("calls")["counts"]["/cgi-bin/message/template/send"] == 9


def test_what_a_duplicate_is_answered_can_be_set(sandbox, account, send):
    sandbox.post("accounts", app_id=account["app_id"], duplicate_answer=45065)
    first = send(client_msg_id="x" * 32)
    assert first["errcode"] == 0
    with pytest.raises(WeChatClientException) as caught:
        send(client_msg_id="x" * 32)
    assert (caught.value.errcode, caught.value.response.json()["msg_id"]) == (45065, first["msgid"])
    assert len(sandbox.get("messages", user="王老板")["messages"]) == 1


def test_receipt_follows_the_send(sandbox, server, send):
    answer = send()
    sandbox.wait(lambda state: state["accounts"][0]["pushes"] and not state["pending_pushes"], "the receipt")
    (push,) = server.pushes
    message = push["message"]
    assert message.event == "templatesendjobfinish"
    assert message._data["MsgID"] == str(answer["msgid"])
    assert message.status == "success"


def test_receipt_can_come_before_the_answer(sandbox, server, send):
    sandbox.post("accounts", app_id=server.account["app_id"], receipts="before")
    calls_seen = []

    def answer(push):
        calls_seen.extend(sandbox.get("calls", path="/cgi-bin/message/template/send")["calls"])
        return 200, b"success"

    server.answer = answer
    send()
    assert [call.get("http") for call in calls_seen] == [None]


@pytest.mark.parametrize(
    ("setting", "change", "status"),
    [
        ({}, {"blocked": True}, "failed:user block"),
        ({"receipt_status": "failed: system failed"}, {}, "failed: system failed"),
        ({"receipt_status": "failed:freq limit"}, {}, "failed:freq limit"),
    ],
)
def test_failed_receipts_leave_the_phone_empty(sandbox, server, send, setting, change, status):
    sandbox.post("accounts", app_id=server.account["app_id"], **setting)
    sandbox.post("followers", user="王老板", **change)
    assert send()["errcode"] == 0
    sandbox.wait(lambda state: state["accounts"][0]["pushes"], "the receipt")
    assert server.pushes[0]["message"].status == status
    assert sandbox.get("messages", user="王老板")["messages"] == []


def test_receipts_can_be_off(sandbox, server, send):
    sandbox.post("accounts", app_id=server.account["app_id"], receipts="off")
    send()
    state = sandbox.get("state")
    assert state["pending_pushes"] == 0 and state["accounts"][0]["pushes"] == []


def test_library(sandbox, client):
    def listing():
        return {item["template_id"]: item for item in client.template.get_all_private_template()["template_list"]}

    before = listing()
    forms = "".join(item["content"] for item in before.values())
    assert "{{character_string1.DATA}}" in forms and "{ {character_string1.DATA} }" in forms
    # The SDK's own method is from before keyword_name_list, which category templates need.
    assert errcode(client.template.add, "43220") == 40246
    body = {"template_id_short": "43220", "keyword_name_list": ["商品名称", "当前库存"]}
    added = client.post("template/api_add_template", data=body)["template_id"]
    assert listing()[added]["content"] == "商品名称:{{thing1.DATA}}\n当前库存:{{number2.DATA}}\n"
    assert client.template.del_private_template(added)["errcode"] == 0
    assert set(listing()) == set(before)
    assert errcode(client.template.del_private_template, added) == 40037
    body = {"template_id_short": "1", "keyword_name_list": ["商品名称"]}
    assert errcode(client.post, "template/api_add_template", data=body) == 40037


def test_an_account_holds_25_templates(sandbox, client):
    for number in range(21):
        sandbox.post("templates", title=f"通知{number}", content="{{thing1.DATA}}")
    body = {"template_id_short": "43221", "keyword_name_list": ["客户姓名"]}
    assert errcode(client.post, "template/api_add_template", data=body) == 45026
