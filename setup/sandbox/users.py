"""Followers as the API shows them, customer service messages, and the small calls about the server's address."""

import asyncio
import socket
from urllib.parse import urlsplit

from errors import ApiError
from state import OPENID, Follower

FOLLOWERS_A_PAGE = 10_000
BATCH = 100
# WeChat's push servers, as getcallbackip lists them; the stand-in pushes from where it runs.
CALLBACK_IPS = ["127.0.0.1", "::1"]
OPERATORS = ("CHINANET", "UNICOM", "CAP", "DEFAULT")


def describe(openid: str, follower: Follower | None) -> dict:
    """Return the answer of user/info, without nickname and picture (withdrawn); of a user that has left only that."""
    if follower is None or not follower.subscribed:
        return {"subscribe": 0, "openid": openid, "tagid_list": []}
    return {
        "subscribe": 1,
        "openid": openid,
        "nickname": "",
        "sex": 0,
        "language": "",
        "city": "",
        "province": "",
        "country": "",
        "headimgurl": "",
        "subscribe_time": follower.subscribe_time,
        "remark": "",
        "groupid": 0,
        "tagid_list": [],
        "subscribe_scene": follower.subscribe_scene,
        "qr_scene": int(follower.qr_scene) if follower.qr_scene.isdigit() else 0,
        "qr_scene_str": "" if follower.qr_scene.isdigit() else follower.qr_scene,
    }


async def info(call) -> dict:
    """GET /cgi-bin/user/info?openid=."""
    follower = call.recipient(call.query.get("openid"))
    return describe(follower.openid, follower)


async def batch_get(call) -> dict:
    """POST /cgi-bin/user/info/batchget {user_list: [{openid}]}: at most 100 at a time."""
    asked = call.json.get("user_list")
    if not isinstance(asked, list) or not 1 <= len(asked) <= BATCH:
        raise ApiError(47001)
    openids = [item.get("openid") if isinstance(item, dict) else None for item in asked]
    if not all(isinstance(openid, str) and OPENID.fullmatch(openid) for openid in openids):
        raise ApiError(40003)
    return {"user_info_list": [describe(openid, call.account.followers.get(openid)) for openid in openids]}


async def get_all(call) -> dict:
    """GET /cgi-bin/user/get?next_openid=: the OpenIDs of the followers, 10,000 at a time, in the order they came."""
    openids = [follower.openid for follower in call.account.followers.values() if follower.subscribed]
    start = 0
    after = call.query.get("next_openid")
    if after:
        try:
            start = openids.index(after) + 1
        except ValueError:
            raise ApiError(40003) from None
    page = openids[start : start + FOLLOWERS_A_PAGE]
    answer = {"total": len(openids), "count": len(page), "next_openid": page[-1] if page else ""}
    if page:
        answer["data"] = {"openid": page}
    return answer


async def change_openid(call) -> dict:
    """POST /cgi-bin/changeopenid {from_appid, openid_list}: the new OpenIDs of at most 100 moved followers (账号迁移).

    The caller is the account that they moved to. Those who do not follow are not translated.
    """
    openids = call.json.get("openid_list")
    if not isinstance(openids, list) or not 1 <= len(openids) <= BATCH:
        raise ApiError(47001)
    from_appid = call.json.get("from_appid")
    if not from_appid or call.account.moved_from != from_appid:
        raise ApiError(40013)
    known = call.state.accounts[from_appid].followers
    results = []
    for openid in openids:
        new = call.account.followers.get(call.account.openids.get(known[openid].name)) if openid in known else None
        if new and new.subscribed:
            results.append({"ori_openid": openid, "new_openid": new.openid, "err_msg": "ok"})
        else:
            results.append({"ori_openid": openid, "err_msg": "ori_openid error"})
    return {"result_list": results}


async def custom_send(call) -> dict:
    """POST /cgi-bin/message/custom/send: only within the windows that the follower opened (客服消息下发条件)."""
    message = call.json
    follower = call.recipient(message.get("touser"))
    kind = message.get("msgtype")
    if not isinstance(kind, str) or not isinstance(message.get(kind), dict):
        raise ApiError(40008)
    text = message[kind].get("content") if kind == "text" else f"[{kind}]"
    if not isinstance(text, str) or not text.strip():
        raise ApiError(44002)
    allowed = follower.use_window() if follower.subscribed else None
    if not allowed:
        raise ApiError(45015 if allowed is None else 45047)
    call.account.chat(follower, "account", "text", text)
    call.state.changed()
    return {}


async def callback_ip(call) -> dict:
    """GET /cgi-bin/getcallbackip."""
    return {"ip_list": CALLBACK_IPS}


async def callback_check(call) -> dict:
    """POST /cgi-bin/callback/check {action, check_operator}: can the platform resolve and reach the server's URL?"""
    action, operator = call.json.get("action"), call.json.get("check_operator", "DEFAULT")
    if action not in ("dns", "ping", "all") or operator not in OPERATORS:
        raise ApiError(47001)
    host = urlsplit(call.account.webhook_url or "").hostname
    addresses = []
    if host:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = sorted({entry[4][0] for entry in found})
        except OSError:
            addresses = []
    answer = {}
    if action in ("dns", "all"):
        answer["dns"] = [{"ip": address, "real_operator": operator} for address in addresses]
    if action in ("ping", "all"):
        answer["ping"] = [
            {"ip": address, "from_operator": operator, "package_loss": "0%", "time": "0.1ms"} for address in addresses
        ]
    return answer
