"""Daily and minute limits of the API, and the calls that show and clear them.

Limits as the page 接口调用额度 lists them; a test account has the second figure. Calls without a known limit are not
limited.
"""

import time

from errors import ApiError
from state import Account

DAILY = {
    "/cgi-bin/token": (2000, 200),
    "/cgi-bin/stable_token": (500_000, 500_000),
    "/cgi-bin/qrcode/create": (100_000, 10_000),
    "/cgi-bin/message/template/send": (100_000, 100_000),
    "/cgi-bin/message/custom/send": (500_000, 500_000),
    "/cgi-bin/user/info": (5_000_000, 500_000),
    "/cgi-bin/user/info/batchget": (5_000_000, 500_000),
    "/cgi-bin/user/get": (500, 500),
}
STABLE_TOKEN_A_MINUTE = 10_000
CLEARS_A_MONTH = 10
MONTH = 30 * 86400
BEIJING = 8 * 3600


def today() -> int:
    """The day by Beijing's clock. When WeChat's own count turns is not documented."""
    return int(time.time() + BEIJING) // 86400


def daily_limit(account: Account, path: str) -> int | None:
    """Return the account's calls a day of an API path; None when they are not limited."""
    if path in account.quotas:
        return account.quotas[path]
    limits = DAILY.get(path)
    return limits and limits[account.kind == "test"]


def used_today(account: Account, path: str) -> int:
    """Return how often the account called an API path today; a new day begins at zero."""
    if account.used_day != today():
        account.used_day = today()
        account.used.clear()
    return account.used[path]


def use(account: Account, path: str):
    """Count one call.

    :raises ApiError: 45009 above the daily limit, 45011 above the minute's
    """
    used = used_today(account, path)
    limit = daily_limit(account, path)
    if limit is not None and used >= limit:
        raise ApiError(45009)
    account.used[path] = used + 1
    if path == "/cgi-bin/stable_token":
        minute = ("minute", int(time.time() // 60))
        account.used[minute] += 1
        if account.used[minute] > STABLE_TOKEN_A_MINUTE:
            raise ApiError(45011)


def known_path(call) -> str:
    """The cgi_path of a call about another path.

    :raises ApiError: 76003 when it is none of ours, or does not begin with "/"
    """
    path = call.json.get("cgi_path")
    if not isinstance(path, str) or path not in call.paths:
        raise ApiError(76003)
    return path


async def quota_get(call) -> dict:
    """POST /cgi-bin/openapi/quota/get {cgi_path}."""
    path = known_path(call)
    used = used_today(call.account, path)
    limit = daily_limit(call.account, path) or 0
    return {"quota": {"daily_limit": limit, "used": used, "remain": max(0, limit - used)}}


async def rid_get(call) -> dict:
    """POST /cgi-bin/openapi/rid/get {rid}: explains a failed call of this account."""
    rid = call.json.get("rid")
    if not isinstance(rid, str) or not rid:
        raise ApiError(76002)
    known = call.log.failed.get(rid)
    if known is None or known["app_id"] not in (None, call.account.app_id):
        raise ApiError(76001)
    return {"request": known["request"]}


async def clear_quota(call) -> dict:
    """POST /cgi-bin/clear_quota {appid}: all daily counts back to zero, 10 times a month."""
    account = call.account
    if call.json.get("appid") != account.app_id:
        raise ApiError(40013)
    now = time.time()
    account.clears = [moment for moment in account.clears if now - moment < MONTH]
    if len(account.clears) >= CLEARS_A_MONTH:
        raise ApiError(48006)
    account.clears.append(now)
    account.used.clear()
    return {}
