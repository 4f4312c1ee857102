"""Access tokens: the two kinds (token, stable_token), their rotation, and the check of a call's token.

Rules from 获取 Access token and 获取稳定版接口调用凭据: the two kinds are independent; a plain token is replaced by
every call, a stable one only in its last 5 minutes; at a change both live for 5 minutes; a forced refresh kills the
former at once, works 20 times a day and does nothing within 30 seconds of the last.
"""

import secrets
import time

from errors import ApiError
from state import Account, State, TokenSlot

# WeChat asks for storage of at least 512 characters, so a column that is too short must fail here.
TOKEN_CHARACTERS = 512
TOKEN_LIFE = 7200
OVERLAP = 300
FORCED_A_DAY = 20
FORCED_APART = 30
TOKENS_KEPT = 10_000
DAY = 86400


def overlap(account: Account) -> float:
    """Seconds both tokens live at a change: 5 minutes of 7200 s, in proportion for accounts with a short token_ttl."""
    return account.token_ttl * OVERLAP / TOKEN_LIFE


def issue(state: State, account: Account, kind: str, former_dies: bool = False) -> TokenSlot:
    """Put a new token into the account's slot; the former one lives for the overlap, or dies at once."""
    slot = account.slots[kind]
    now = time.time()
    former = state.tokens.get(slot.current)
    if former:
        former["replaced_at"] = now if former_dies else now + overlap(account)
    token = f"{secrets.randbelow(90) + 10}_"
    slot.current = token + secrets.token_urlsafe(TOKEN_CHARACTERS)[: TOKEN_CHARACTERS - len(token)]
    slot.expires_at = now + account.token_ttl
    state.tokens[slot.current] = {
        "app_id": account.app_id,
        "kind": kind,
        "expires_at": slot.expires_at,
        "replaced_at": None,
    }
    while len(state.tokens) > TOKENS_KEPT:
        state.tokens.popitem(last=False)
    state.changed()
    return slot


def expire(state: State, account: Account, kind: str | None = None, how: str = "expired"):
    """Let the account's tokens die now. `how`: "expired" (calls get 42001) or "replaced" (calls get 40001)."""
    now = time.time()
    for name, slot in account.slots.items():
        known = state.tokens.get(slot.current)
        if known and kind in (None, name):
            known["expires_at" if how == "expired" else "replaced_at"] = now
            slot.expires_at = 0.0
    state.changed()


def answer(slot: TokenSlot) -> dict:
    """The JSON of a token call: the slot's current token and the seconds it has left."""
    return {"access_token": slot.current, "expires_in": max(0, round(slot.expires_at - time.time()))}


def check_client(state: State, app_id, secret, grant_type, client_ip: str) -> Account:
    """Check what a token call presents, in WeChat's order: grant type, app id, secret, IP allow-list.

    :raises ApiError: 40002, 41002, 40013, 41004, 40125 or 40164
    """
    if grant_type != "client_credential":
        raise ApiError(40002)
    if not app_id:
        raise ApiError(41002)
    account = state.accounts.get(app_id) if isinstance(app_id, str) else None
    if account is None:
        raise ApiError(40013)
    if not secret:
        raise ApiError(41004)
    if secret != account.secret:
        raise ApiError(40125)
    if account.ip_allow is not None and client_ip not in account.ip_allow:
        raise ApiError(40164, f"invalid ip {client_ip} ipv6 ::ffff:{client_ip}, not in whitelist")
    return account


async def plain_token(call) -> dict:
    """GET /cgi-bin/token: every call brings a new token."""
    query = call.query
    account = check_client(call.state, query.get("appid"), query.get("secret"), query.get("grant_type"), call.ip)
    call.use_quota(account)
    return answer(issue(call.state, account, "plain"))


async def stable_token(call) -> dict:
    """POST /cgi-bin/stable_token: the same token as long as it is valid."""
    data = call.json
    account = check_client(call.state, data.get("appid"), data.get("secret"), data.get("grant_type"), call.ip)
    call.use_quota(account)
    slot = account.slots["stable"]
    now = time.time()
    if data.get("force_refresh") is True:
        slot.forced = [moment for moment in slot.forced if now - moment < DAY]
        if len(slot.forced) >= FORCED_A_DAY:
            raise ApiError(45009)
        if not slot.forced or now - slot.forced[-1] >= FORCED_APART:
            slot.forced.append(now)
            issue(call.state, account, "stable", former_dies=True)
    if slot.expires_at - now < overlap(account):
        issue(call.state, account, "stable")
    return answer(slot)


def check_token(state: State, token: str | None) -> Account:
    """Return the account of a token.

    :raises ApiError: 41001 missing, 40014 malformed, 42001 expired, 40001 unknown or replaced
    """
    if not token:
        raise ApiError(41001)
    known = state.tokens.get(token)
    if known is None:
        raise ApiError(40001 if len(token) >= 16 else 40014)
    now = time.time()
    if known["replaced_at"] is not None and now >= known["replaced_at"]:
        raise ApiError(40001)
    if now >= known["expires_at"]:
        raise ApiError(42001)
    account = state.accounts.get(known["app_id"])
    if account is None:
        raise ApiError(40001)
    return account
