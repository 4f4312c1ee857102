"""Parametric QR codes: what qrcode/create takes and gives, the picture, and what a scan of each kind pushes."""

import io
from urllib.parse import quote

import pytest
import requests
from PIL import Image
from sandbox_harness import errcode, until
from wechatpy.client.api import qrcode as sdk_qrcode


def test_temporary_code(sandbox, make_code):
    answer = make_code("mb_abc", expire_seconds=2592000)
    assert answer["expire_seconds"] == 2592000
    assert answer["url"].startswith("http://weixin.qq.com/q/")
    assert {"+", "/", "="} <= set(answer["ticket"])
    (code,) = sandbox.get("codes")["codes"]
    assert (code["scene"], code["ticket"], code["url"]) == ("mb_abc", answer["ticket"], answer["url"])


def test_without_expire_seconds_a_code_lives_60_seconds(client):
    info = {"scene": {"scene_str": "mb_short"}}
    answer = client.qrcode.create({"action_name": "QR_STR_SCENE", "action_info": info})
    assert answer["expire_seconds"] == 60


def test_permanent_codes(client):
    for name, scene in (
        ("QR_LIMIT_STR_SCENE", {"scene_str": "shop"}),
        ("QR_LIMIT_SCENE", {"scene_id": 100000}),
    ):
        answer = client.qrcode.create({"action_name": name, "action_info": {"scene": scene}})
        assert set(answer) == {"ticket", "url"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"action_name": "QR_OTHER"}, 40052),
        ({"action_name": "QR_SCENE"}, 40053),
        ({"action_info": {"scene": {"scene_str": ""}}}, 40053),
        ({"action_info": {"scene": {"scene_str": "x" * 65}}}, 40053),
        ({"action_name": "QR_SCENE", "action_info": {"scene": {"scene_id": 0}}}, 40053),
        ({"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 100001}}}, 40053),
        ({"action_info": {}}, 40053),
        ({"expire_seconds": 2592001}, 47001),
        ({"expire_seconds": "600"}, 47001),
    ],
)
def test_refused_codes(sandbox, make_code, change, expected):
    assert errcode(make_code, **change) == expected
    assert sandbox.get("codes")["codes"] == []


def test_unverified_account_has_no_right_to_codes(sandbox, account, make_code):
    sandbox.post("accounts", app_id=account["app_id"], verified=False)
    assert errcode(make_code) == 48001


def test_picture(sandbox, client, make_code, monkeypatch):
    code = make_code()
    # The SDK fetches pictures beside its client, without a token.
    monkeypatch.setattr(sdk_qrcode.requests, "get", client._http.get)
    for answer in (client.qrcode.show(code), client._http.get(client.qrcode.get_url(code))):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "image/jpg"
        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.format, picture.size) == ("JPEG", (430, 430))
    assert client.qrcode.show("gQ-unknown").status_code == 404


def test_ticket_must_be_escaped(sandbox, make_code):
    ticket = make_code()["ticket"]
    path = f"{sandbox.url}/cgi-bin/showqrcode?ticket="
    assert requests.get(path + quote(ticket, safe=""), timeout=10).status_code == 200
    assert requests.get(path + ticket, timeout=10).status_code == 404


@pytest.mark.parametrize("scene", ["mb_x_y", "0", "qrscene_x", "中文 <&]]>"])
def test_scan_carries_the_scene(sandbox, server, make_code, scene):
    code = make_code(scene)
    new = sandbox.post("scan", user="王老板", content=code["url"])
    again = sandbox.post("scan", user="王老板", content=code["url"])
    assert (new["event"], again["event"]) == ("subscribe", "SCAN")
    first, second = (push["message"] for push in server.pushes)
    assert (first.event, first.scene_id, first.ticket) == ("subscribe_scan", scene, code["ticket"])
    assert (second.event, second.scene_id, second.ticket) == ("scan", scene, code["ticket"])
    assert first.source == second.source == new["openid"]
    assert first.target == server.account["original_id"]


def test_scan_of_ticket_link_and_https(sandbox, server, make_code):
    code = make_code()
    link = f"https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket={quote(code['ticket'], safe='')}"
    for content in (code["ticket"], link, code["url"].replace("http:", "https:")):
        assert sandbox.post("scan", user="王老板", content=content)["ok"]


def test_unknown_and_expired_codes_push_nothing(sandbox, server, make_code):
    sandbox.post("scan", expect=404, user="王老板", content="http://weixin.qq.com/q/nothing")
    code = make_code(expire_seconds=1)
    until(lambda: sandbox.get("codes")["codes"] == [], "the end of the code")
    answer = sandbox.post("scan", expect=410, user="王老板", content=code["url"])
    assert "expired" in answer["error"]
    assert server.pushes == []
    assert requests.get(f"{sandbox.url}/cgi-bin/showqrcode", {"ticket": code["ticket"]}, timeout=10).status_code == 404
