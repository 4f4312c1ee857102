"""The other API calls, what all calls share, and that the SDK drives every path there is."""

import pytest
import requests
from sandbox_harness import errcode, stable


@pytest.fixture
def follower(sandbox):
    """A follower without a scan."""
    return sandbox.post("follow", user="王老板")["openid"]


def test_sdk_drives_every_path(sandbox, client, make_code):
    stable(client)
    code = make_code()
    openid = sandbox.post("scan", user="王老板", content=code["url"])["openid"]
    (first, *_rest) = client.template.get_all_private_template()["template_list"]
    body = {"template_id_short": "43220", "keyword_name_list": ["商品名称"]}
    added = client.post("template/api_add_template", data=body)["template_id"]
    client.message.send_template(openid, added, {"thing1": {"value": "龙井"}})
    client.template.del_private_template(added)
    assert client.message.send_text(openid, "您好")["errcode"] == 0
    assert client.user.get(openid)["qr_scene_str"] == "mb_test"
    assert client.user.get_batch([openid])[0]["subscribe"] == 1
    assert list(client.user.iter_followers()) == [openid]
    assert errcode(client.post, "changeopenid", data={"from_appid": "wx0", "openid_list": [openid]}) == 40013
    assert client.misc.get_wechat_ips()
    checked = client.post("callback/check", data={"action": "all", "check_operator": "DEFAULT"})
    assert set(checked) == {"dns", "ping"}
    quota = client.post("openapi/quota/get", data={"cgi_path": "/cgi-bin/message/template/send"})["quota"]
    assert quota == {"daily_limit": 100000, "used": 1, "remain": 99999}
    assert errcode(client.post, "openapi/rid/get", data={"rid": "00000000-00000000-00000000"}) == 76001
    assert client.post("clear_quota", data={"appid": client.appid})["errcode"] == 0
    assert first["template_id"]
    assert sorted(sandbox.get("calls")["counts"]) == sandbox.get("state")["paths"]


def test_user_info_of_a_follower_and_of_a_leaver(sandbox, client, follower):
    info = client.user.get(follower)
    assert (info["subscribe"], info["openid"], info["nickname"], info["headimgurl"]) == (1, follower, "", "")
    assert info["subscribe_scene"] == "ADD_SCENE_SEARCH"
    sandbox.post("unfollow", user="王老板")
    assert client.user.get(follower) == {"subscribe": 0, "openid": follower, "tagid_list": []}
    assert errcode(client.user.get, "o" + "x" * 27) == 40003


def test_batch_of_at_most_100(client, follower):
    stranger = "o" + "y" * 27
    assert [item["subscribe"] for item in client.user.get_batch([follower, stranger])] == [1, 0]
    assert errcode(client.user.get_batch, [follower] * 101) == 47001


def test_followers_are_listed_after_a_known_one(sandbox, client):
    openids = [sandbox.post("followers", user=f"用户{n}", subscribed=True)["openid"] for n in range(3)]
    sandbox.post("followers", user="路人")
    assert client.user.get_followers()["data"]["openid"] == openids
    page = client.user.get_followers(openids[1])
    assert (page["total"], page["data"]["openid"]) == (3, openids[2:])
    assert "data" not in client.user.get_followers(openids[2])
    assert errcode(client.user.get_followers, "o" + "x" * 27) == 40003


def test_openids_of_a_moved_account_are_translated(sandbox, account, make_client, client):
    followers = [sandbox.post("followers", user=f"用户{n}", subscribed=n < 2)["openid"] for n in range(3)]
    new = make_client(sandbox.post("accounts", app_id="wx00000000000000bb"), auto_retry=False)

    def change(caller, openids, from_appid=client.appid):
        return caller.post("changeopenid", data={"from_appid": from_appid, "openid_list": openids})

    assert errcode(change, new, followers) == 40013
    assert sandbox.post("move", from_app_id=client.appid, app_id=new.appid) == {"followers": 2}
    stranger = "o" + "x" * 27
    results = change(new, [*followers, stranger])["result_list"]
    assert [result["ori_openid"] for result in results] == [*followers, stranger]
    assert [result["err_msg"] for result in results] == ["ok", "ok", "ori_openid error", "ori_openid error"]
    openids = [result["new_openid"] for result in results[:2]]
    assert not set(openids) & set(followers)
    assert list(new.user.iter_followers()) == openids
    assert client.user.get(followers[0])["subscribe"] == 0
    # Who has left the new account since is not translated.
    sandbox.post("unfollow", user="用户1", app_id=new.appid)
    assert [result["err_msg"] for result in change(new, followers)["result_list"][:2]] == ["ok", "ori_openid error"]
    assert errcode(change, new, [stranger] * 101) == 47001
    assert errcode(change, client, followers) == 40013
    assert errcode(change, new, followers, new.appid) == 40013


def test_customer_service_within_the_windows(sandbox, client, follower):
    for _message in range(3):
        client.message.send_text(follower, "您好")
    assert errcode(client.message.send_text, follower, "您好") == 45047
    sandbox.post("say", user="王老板", text="在吗")
    for _message in range(5):
        client.message.send_text(follower, "您好")
    assert errcode(client.message.send_text, follower, "您好") == 45047
    sandbox.post("unfollow", user="王老板")
    assert errcode(client.message.send_text, follower, "您好") == 45015
    quiet = sandbox.post("followers", user="李老板", subscribed=True)["openid"]
    assert errcode(client.message.send_text, quiet, "您好") == 45015


@pytest.mark.parametrize("acts", [("say", "scan"), ("scan", "say"), ("say", "say"), ("say", "scan", "say")])
def test_customer_service_has_the_best_of_several_windows(sandbox, client, follower, make_code, acts):
    more = {"say": {"text": "在吗"}, "scan": {"content": make_code()["url"]}}
    for act in acts:
        sandbox.post(act, user="王老板", **more[act])
    for _message in range(5):
        client.message.send_text(follower, "您好")
    assert errcode(client.message.send_text, follower, "您好") == 45047


def test_customer_service_window_of_a_scan_after_a_message_used_up(sandbox, client, follower, make_code):
    sandbox.post("say", user="王老板", text="在吗")
    for _message in range(4):
        client.message.send_text(follower, "您好")
    sandbox.post("scan", user="王老板", content=make_code()["url"])
    for _message in range(3):
        client.message.send_text(follower, "您好")
    assert errcode(client.message.send_text, follower, "您好") == 45047


def test_quota_ends_and_is_cleared_ten_times(sandbox, account, client, follower):
    path = "/cgi-bin/user/info"
    sandbox.post("accounts", app_id=account["app_id"], quotas={path: 2})
    client.user.get(follower)
    client.user.get(follower)
    for _call in range(2):
        assert errcode(client.user.get, follower) == 45009
    quota = client.post("openapi/quota/get", data={"cgi_path": path})["quota"]
    assert quota == {"daily_limit": 2, "used": 2, "remain": 0}
    for _clear in range(10):
        client.post("clear_quota", data={"appid": client.appid})
    assert client.user.get(follower)
    assert errcode(client.post, "clear_quota", data={"appid": client.appid}) == 48006
    assert errcode(client.post, "clear_quota", data={"appid": "wx00000000deadbeef"}) == 40013


@pytest.mark.parametrize("path", ["cgi-bin/user/info", "/cgi-bin/unknown", None])
def test_quota_of_a_bad_path(client, path):
    assert errcode(client.post, "openapi/quota/get", data={"cgi_path": path}) == 76003


def test_rid_explains_a_failure_to_its_own_account(sandbox, make_client, client):
    with pytest.raises(Exception, match="invalid openid") as caught:
        client.user.get("o" + "x" * 27)
    rid = caught.value.errmsg.rpartition(" rid: ")[2]
    told = client.post("openapi/rid/get", data={"rid": rid})["request"]
    assert told["client_ip"] == "127.0.0.1" and "invalid openid" in told["response_body"]
    assert client.access_token not in told["request_url"]
    other = make_client(sandbox.post("accounts", app_id="wx00000000000000bb"))
    assert errcode(other.post, "openapi/rid/get", data={"rid": rid}) == 76001


def test_bodies_must_be_raw_utf8_json(sandbox, client):
    url = f"{sandbox.url}/cgi-bin/qrcode/create?access_token={client.access_token}"

    def post(body):
        return requests.post(url, data=body, timeout=10).json().get("errcode")

    assert post(b"") == 44002
    assert post(b"{") == 47001
    assert post(b"[]") == 47001
    assert post('{"a": "\u4e2d"}'.encode("gbk")) == 47001
    assert post(b'{"a": "\\u4e2d"}') == 40033
    assert post(b'{"a": "C:\\\\u4e2d"}') == 40052


def test_answers_are_utf8_json_whatever_the_label(sandbox, client):
    answer = requests.get(
        f"{sandbox.url}/cgi-bin/template/get_all_private_template",
        {"access_token": client.access_token},
        timeout=10,
    )
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "新订单通知".encode() in answer.content


def test_method_and_unknown_path(sandbox, client):
    assert errcode(client.post, "user/info", data={}) == 43001
    assert errcode(client.get, "qrcode/create") == 43002
    assert requests.get(f"{sandbox.url}/cgi-bin/nothing", timeout=10).status_code == 404


def test_test_account_has_at_most_100_followers(sandbox):
    app_id = sandbox.post("accounts", app_id="wx00000000000000aa", kind="test", mode="plain")["app_id"]
    for number in range(100):
        sandbox.post("followers", app_id=app_id, user=f"用户{number}", subscribed=True)
    assert "100" in sandbox.post("follow", expect=400, app_id=app_id, user="来晚了")["error"]


@pytest.mark.parametrize("nasty", [None, [], {}, [[]], {"value": {}}, "\x00", -1, 1e308, True], ids=repr)
def test_odd_values_are_refused_in_wechats_way(sandbox, client, follower, nasty):
    names = [
        "action_name",
        "action_info",
        "expire_seconds",
        "touser",
        "template_id",
        "data",
        "client_msg_id",
        "miniprogram",
        "msgtype",
        "text",
        "user_list",
        "template_id_short",
        "keyword_name_list",
        "cgi_path",
        "rid",
        "appid",
        "secret",
        "grant_type",
        "action",
        "check_operator",
    ]
    good = {"touser": follower, "action_name": "QR_STR_SCENE", "template_id_short": "43216"}
    token = client.access_token
    for path in sandbox.get("state")["paths"]:
        for body in (dict.fromkeys(names, nasty), {**dict.fromkeys(names, nasty), **good}):
            answer = requests.post(f"{sandbox.url}{path}?access_token={token}", json=body, timeout=10)
            assert answer.status_code == 200, path
            assert "errcode" in answer.json(), path
