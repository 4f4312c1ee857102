"""Access tokens: two independent kinds, their rotation, and WeChat's refusals."""

import pytest
import requests
from sandbox_harness import errcode, stable, until
from wechatpy.exceptions import WeChatClientException


def works(client, token):
    return client.get("getcallbackip", params={"access_token": token})["ip_list"]


def test_plain_token_is_replaced_by_every_call_and_outlives_it(client):
    first = client.fetch_access_token()
    second = client.fetch_access_token()
    assert first["expires_in"] == 7200
    assert first["access_token"] != second["access_token"]
    assert works(client, first["access_token"])
    assert works(client, second["access_token"])


def test_stable_token_stays_and_its_life_runs(client):
    first, second = stable(client), stable(client)
    assert first["access_token"] == second["access_token"]
    assert 300 <= second["expires_in"] <= first["expires_in"] <= 7200
    assert len(first["access_token"]) == 512


def test_the_two_kinds_are_independent(client):
    kept = stable(client)["access_token"]
    client.fetch_access_token()
    client.fetch_access_token()
    assert stable(client)["access_token"] == kept
    assert works(client, kept)


def test_stable_token_is_renewed_in_its_last_minutes_and_both_live(sandbox, account, client):
    # 5 minutes of 7200 s are 5 s of 120 s.
    sandbox.post("accounts", app_id=account["app_id"], token_ttl=120)
    first = stable(client)["access_token"]
    assert stable(client)["access_token"] == first
    sandbox.post("accounts", app_id=account["app_id"], token_ttl=7200 * 24)
    renewed = stable(client)
    assert renewed["access_token"] != first
    assert renewed["expires_in"] == 7200 * 24
    assert works(client, first)
    assert works(client, renewed["access_token"])


def test_forced_refresh_kills_the_former_and_does_nothing_within_30_seconds(client):
    first = stable(client)["access_token"]
    forced = stable(client, force_refresh=True)["access_token"]
    assert forced != first
    assert errcode(works, client, first) == 40001
    assert stable(client, force_refresh=True)["access_token"] == forced


def test_stable_token_takes_only_post_json(sandbox, client):
    assert errcode(client.get, "stable_token", params={"access_token": ""}) == 43002
    answer = requests.post(f"{sandbox.url}/cgi-bin/stable_token", data={"appid": client.appid}, timeout=10).json()
    assert answer["errcode"] == 47001


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"grant_type": "authorization_code"}, 40002),
        ({"appid": ""}, 41002),
        ({"appid": "wx00000000deadbeef"}, 40013),
        ({"secret": ""}, 41004),
        ({"secret": "0" * 32}, 40125),
    ],
)
def test_wrong_credentials(client, change, expected):
    assert errcode(stable, client, **change) == expected
    query = {"grant_type": "client_credential", "appid": client.appid, "secret": client.secret, **change}
    assert errcode(client.get, "token", params={"access_token": "", **query}) == expected


def test_ip_allow_list_names_the_caller(sandbox, account, client):
    sandbox.post("accounts", app_id=account["app_id"], ip_allow=["203.0.113.7"])
    for fetch in (lambda: stable(client), client.fetch_access_token):
        with pytest.raises(WeChatClientException) as caught:
            fetch()
        assert caught.value.errcode == 40164
        assert caught.value.errmsg.startswith("invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist rid: ")
    sandbox.post("accounts", app_id=account["app_id"], ip_allow=["127.0.0.1"])
    assert stable(client)["access_token"]


@pytest.mark.parametrize(
    ("token", "expected"), [("", 41001), ("short", 40014), ("80_" + "x" * 100, 40001)], ids=["none", "short", "foreign"]
)
def test_bad_token(client, token, expected):
    assert errcode(works, client, token) == expected


@pytest.mark.parametrize(("how", "expected"), [("expired", 42001), ("replaced", 40001)])
def test_dead_token(sandbox, client, how, expected):
    token = stable(client)["access_token"]
    sandbox.post("expire_token", how=how)
    assert errcode(works, client, token) == expected
    assert stable(client)["access_token"] != token


def test_token_dies_by_the_clock(sandbox, account, client):
    sandbox.post("accounts", app_id=account["app_id"], token_ttl=0.2)
    token = stable(client)["access_token"]

    def refusal():
        try:
            works(client, token)
        except WeChatClientException as error:
            return error.errcode
        return None

    assert until(refusal, "the end of the token") == 42001


def test_sdk_recovers_from_an_expired_token_by_itself(sandbox, account, make_client):
    client = make_client(account)
    assert client.misc.get_wechat_ips()
    sandbox.post("expire_token", kind="plain")
    assert client.misc.get_wechat_ips()
    assert sandbox.get("calls")["counts"]["/cgi-bin/token"] == 2


def test_a_day_of_plain_tokens_is_limited(sandbox, account, client):
    sandbox.post("accounts", app_id=account["app_id"], quotas={"/cgi-bin/token": 2})
    client.fetch_access_token()
    client.fetch_access_token()
    assert errcode(client.fetch_access_token) == 45009
