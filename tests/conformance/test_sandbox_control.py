"""The sandbox's controls for tests: planned failures, the log of calls, accounts, reset, persistent state."""

import concurrent.futures
import subprocess
import sys
from collections import Counter

import pytest
import requests
from sandbox_harness import SANDBOX, Sandbox, errcode, until
from wechatpy.exceptions import WeChatClientException

IPS = "/cgi-bin/getcallbackip"
SEND = "/cgi-bin/message/template/send"


def test_planned_errcode_strikes_so_many_times(sandbox, client):
    sandbox.post("faults", path=IPS, errcode=45009, times=2)
    for _call in range(2):
        with pytest.raises(WeChatClientException, match="reach max api daily quota limit rid: "):
            client.misc.get_wechat_ips()
    assert client.misc.get_wechat_ips()
    assert sandbox.get("calls", path=IPS)["total"] == 3


def test_planned_http_answers(sandbox, client):
    url = f"{sandbox.url}{IPS}?access_token={client.access_token}"
    for plan, status, body in (
        ({"http": 502}, 502, "<html>"),
        ({"html": True}, 200, "<html>"),
        ({"empty": True}, 200, ""),
    ):
        sandbox.post("faults", path=IPS, **plan)
        answer = requests.get(url, timeout=10)
        assert answer.status_code == status
        assert answer.text.startswith(body) and bool(answer.text) == bool(body)


@pytest.mark.parametrize("plan", [{"reset": True}, {"timeout": 0.1}])
def test_planned_cut(sandbox, client, plan):
    token = client.access_token
    sandbox.post("faults", path=IPS, **plan)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{sandbox.url}{IPS}?access_token={token}", timeout=10)


def test_planned_latency(sandbox, client):
    client.fetch_access_token()
    sandbox.post("faults", path=IPS, latency_ms=120)
    assert client.misc.get_wechat_ips()
    assert sandbox.get("calls", path=IPS)["calls"][0]["elapsed"] >= 0.12


def test_cut_after_the_effect(sandbox, client):
    openid = sandbox.post("followers", user="王老板", subscribed=True)["openid"]
    template = sandbox.post("templates", title="通知", content="{{thing1.DATA}}")["template_id"]
    client.fetch_access_token()
    sandbox.post("faults", path=SEND, reset=True, after=True)
    with pytest.raises(requests.ConnectionError):
        client.message.send_template(openid, template, {"thing1": {"value": "龙井"}})
    assert len(sandbox.get("messages", user="王老板")["messages"]) == 1


def test_fault_of_a_share_of_the_calls(sandbox, client):
    url = f"{sandbox.url}{IPS}?access_token={client.access_token}"
    sandbox.post("faults", path=IPS, errcode=-1, share=0.25, times=0)
    sandbox.post("faults", path=IPS, errcode=45009, share=0.5, times=0)
    codes = Counter(requests.get(url, timeout=10).json().get("errcode") for _call in range(200))
    assert set(codes) == {-1, 45009, None}
    assert 25 < codes[-1] < 75
    # Half of those that the first has let go on.
    assert 50 < codes[45009] < 100


def test_fault_of_one_account_only(sandbox, client, make_client):
    other = make_client(sandbox.post("accounts", app_id="wx00000000000000bb"), auto_retry=False)
    sandbox.post("faults", path=IPS, app_id=other.appid, errcode=-1, times=None)
    assert client.misc.get_wechat_ips()
    assert errcode(other.misc.get_wechat_ips) == -1
    assert errcode(other.misc.get_wechat_ips) == -1
    sandbox.post("faults/release", path=IPS)
    assert other.misc.get_wechat_ips()


def test_held_calls_wait_for_their_release(sandbox, client):
    client.fetch_access_token()
    sandbox.post("faults", path=IPS, hold=True, times=2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.misc.get_wechat_ips) for _call in range(2)]
        sandbox.wait(lambda state: state["held_calls"] == 2, "both calls are held")
        assert not any(call.done() for call in calls)
        sandbox.post("faults/release")
        assert all(call.result(10) for call in calls)


@pytest.mark.parametrize(
    ("plan", "status"), [({"path": "/nothing"}, 404), ({"path": IPS, "sometimes": True}, 400)], ids=["path", "field"]
)
def test_a_wrong_plan_is_refused(sandbox, plan, status):
    sandbox.post("faults", expect=status, **plan)
    assert sandbox.get("faults") == {"faults": []}


def test_calls_tell_what_was_taken_and_from_whom(sandbox, client):
    followers = sandbox.post("followers", users=["王老板", "李老板"], subscribed=True)["followers"]
    template = sandbox.post("templates", title="通知", content="{{thing1.DATA}}")["template_id"]
    data = {"thing1": {"value": "tea"}}
    first, second = (
        {"touser": follower["openid"], "template_id": template, "data": data, "client_msg_id": "a"}
        for follower in followers
    )
    send = f"{sandbox.url}{SEND}?access_token={client.access_token}"
    sandbox.post("faults", path=SEND, errcode=-1, after=True)
    assert requests.post(send, json=first, timeout=10).json()["errcode"] == -1
    msgid = requests.post(send, json=first, timeout=10).json()["msgid"]
    sandbox.post("faults", path=SEND, errcode=-1)
    named = {"http": sandbox.url.replace("//", "//server-2:x@")}
    assert requests.post(send, json=second, proxies=named, timeout=10).json()["errcode"] == -1
    calls = sandbox.get("calls", path=SEND)["calls"]
    told = [(call.get("msgid"), call.get("repeats"), call["caller"]) for call in calls]
    assert told == [(msgid, None, None), (msgid, True, None), (None, None, "server-2")]


def test_calls_are_counted_and_shown_without_secrets(sandbox, client):
    token = client.fetch_access_token()["access_token"]
    client.misc.get_wechat_ips()
    answer = sandbox.get("calls")
    assert answer["total"] == 2
    assert [call["path"] for call in answer["calls"]] == ["/cgi-bin/token", IPS]
    assert token not in str(answer) and client.secret not in str(answer)
    assert sandbox.get("calls", app_id="wx00000000000000bb")["calls"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"app_id": "nonsense"},
        {"app_id": "wx00000000000000aa", "secret": "short"},
        {"app_id": "wx00000000000000aa", "encoding_aes_key": "A" * 42},
        {"app_id": "wx00000000000000aa", "kind": "test", "mode": "safe"},
        {"app_id": "wx00000000000000aa", "mode": "secret"},
        {"app_id": "wx00000000000000aa", "surprise": 1},
        {"app_id": "wx00000000000000aa", "webhook_url": "nowhere"},
        {"app_id": "wx00000000000000aa", "push_timeout": -1},
        {"app_id": "wx00000000000000aa", "quotas": {"/cgi-bin/token": "many"}},
        {"app_id": ["wx00000000000000aa"]},
    ],
)
def test_impossible_accounts_are_refused(sandbox, settings):
    sandbox.post("accounts", expect=400, **settings)
    assert len(sandbox.get("state")["accounts"]) == 1


def test_openids_differ_by_account_and_survive_a_reset(sandbox, account):
    sandbox.post("accounts", app_id="wx00000000000000bb")
    mine = sandbox.post("follow", user="王老板")["openid"]
    assert sandbox.post("follow", user="王老板", app_id="wx00000000000000bb")["openid"] != mine
    sandbox.post("reset")
    assert [item["app_id"] for item in sandbox.get("state")["accounts"]] == [account["app_id"]]
    assert sandbox.post("follow", user="王老板")["openid"] == mine


def test_reset_keeps_what_it_is_told_to(sandbox, client, make_code):
    sandbox.post("accounts", app_id="wx00000000000000bb", name="第二个公众号")
    make_code()
    sandbox.post("follow", user="王老板")
    sandbox.post("reset", keep=["accounts", "followers", "tokens"])
    assert len(sandbox.get("state")["accounts"]) == 2
    assert sandbox.get("messages", user="王老板")["subscribed"]
    assert client.misc.get_wechat_ips()
    assert sandbox.get("codes") == {"codes": []}
    sandbox.post("reset", expect=400, keep=["everything"])


def test_state_survives_a_restart(tmp_path, make_client):
    file = tmp_path / "sandbox.json"
    first = Sandbox("--state", str(file))
    try:
        account = first.post("accounts", app_id="wx00000000000000bb", name="重启后还在", mode="plain")
        first.post("follow", user="王老板", app_id=account["app_id"])
        first.post("say", user="王老板", text="在吗", app_id=account["app_id"])
        client = make_client(account)
        client._http.get_adapter("https://").sandbox = first
        token = client.access_token
        info = {"scene": {"scene_str": "mb_kept"}}
        client.qrcode.create({"expire_seconds": 600, "action_name": "QR_STR_SCENE", "action_info": info})
        state, codes = first.get("state")["accounts"], first.get("codes")
        messages = first.get("messages", user="王老板", app_id=account["app_id"])
    finally:
        first.stop()
    second = Sandbox("--state", str(file))
    try:
        assert [item["name"] for item in second.get("state")["accounts"]] == [item["name"] for item in state]
        assert second.get("codes") == codes
        assert second.get("messages", user="王老板", app_id=account["app_id"]) == messages
        client._http.get_adapter("https://").sandbox = second
        assert client.misc.get_wechat_ips()
        assert client.access_token == token
    finally:
        second.stop()


def test_state_survives_a_crash(tmp_path):
    file = tmp_path / "sandbox.json"
    first = Sandbox("--state", str(file))
    try:
        first.post("follow", user="王老板")
        until(lambda: file.exists() and "王老板" in file.read_text(encoding="utf-8"), "the follower in the file")
    finally:
        first.process.kill()
        first.process.wait()
    second = Sandbox("--state", str(file))
    try:
        assert second.get("messages", user="王老板")["subscribed"]
    finally:
        second.stop()


def test_a_foreign_file_is_refused(tmp_path):
    file = tmp_path / "sandbox.json"
    file.write_text("[]", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(SANDBOX), "--state", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert f"cannot read the state in {file}" in ended.stderr
    assert "Traceback" not in ended.stderr
