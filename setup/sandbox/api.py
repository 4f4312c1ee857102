"""WeChat's own API paths: what they share (token, method, quota, planned faults, the log of calls) and their table."""

import asyncio
import base64
import binascii
import json
import re
import time
from collections import Counter, OrderedDict, deque

from aiohttp import web

import qrcodes
import quotas
import templates
import tokens
import users
from errors import ApiError, new_rid
from faults import Faults
from push import Pusher
from state import OPENID, Account, Follower, State

CALLS_KEPT = 20_000
FAILED_KEPT = 2000
BODY_SHOWN = 4096
# A character beyond ASCII written as \uxxxx; an escaped backslash before a "u" is none.
ESCAPED_TEXT = re.compile(rb"(?<!\\)(?:\\\\)*\\u(?!00[0-7])[0-9a-fA-F]{4}")

# path -> (method, handler, needs an access token, the answer of a success has errcode 0)
TABLE = {
    "/cgi-bin/token": ("GET", tokens.plain_token, False, False),
    "/cgi-bin/stable_token": ("POST", tokens.stable_token, False, False),
    "/cgi-bin/qrcode/create": ("POST", qrcodes.create, True, False),
    "/cgi-bin/template/get_all_private_template": ("GET", templates.list_private, True, False),
    "/cgi-bin/template/api_add_template": ("POST", templates.add, True, True),
    "/cgi-bin/template/del_private_template": ("POST", templates.delete, True, True),
    "/cgi-bin/message/template/send": ("POST", templates.send, True, True),
    "/cgi-bin/message/custom/send": ("POST", users.custom_send, True, True),
    "/cgi-bin/user/info": ("GET", users.info, True, False),
    "/cgi-bin/user/info/batchget": ("POST", users.batch_get, True, False),
    "/cgi-bin/user/get": ("GET", users.get_all, True, False),
    "/cgi-bin/changeopenid": ("POST", users.change_openid, True, True),
    "/cgi-bin/getcallbackip": ("GET", users.callback_ip, True, False),
    "/cgi-bin/callback/check": ("POST", users.callback_check, True, False),
    "/cgi-bin/openapi/quota/get": ("POST", quotas.quota_get, True, True),
    "/cgi-bin/openapi/rid/get": ("POST", quotas.rid_get, True, True),
    "/cgi-bin/clear_quota": ("POST", quotas.clear_quota, True, True),
}
# These look at quotas and must work when quotas are used up.
UNCOUNTED = {"/cgi-bin/openapi/quota/get", "/cgi-bin/openapi/rid/get", "/cgi-bin/clear_quota"}


class CallLog:
    """Every API call: counted for ever, the last ones kept in full, failed ones by their rid."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.calls: deque = deque(maxlen=CALLS_KEPT)
        self.failed: OrderedDict = OrderedDict()
        self.total = 0

    def clear(self):
        """Forget all calls and start to count from zero."""
        self.__init__()

    def add(self, entry: dict):
        """Note a call; `entry` is completed (status, errcode, duration) when its answer is known."""
        self.total += 1
        entry["seq"] = self.total
        self.counts[entry["path"]] += 1
        self.calls.append(entry)

    def remember_failure(self, call: "Call", rid: str, body: str):
        """Keep what openapi/rid/get tells about a failed call."""
        self.failed[rid] = {
            "app_id": call.account and call.account.app_id,
            "request": {
                "invoke_time": int(call.started),
                "cost_in_ms": int((time.time() - call.started) * 1000),
                "request_url": "&".join(f"{name}={value}" for name, value in call.shown_query().items()),
                "request_body": call.body.decode("utf-8", "replace")[:BODY_SHOWN],
                "response_body": body,
                "client_ip": call.ip,
            },
        }
        while len(self.failed) > FAILED_KEPT:
            self.failed.popitem(last=False)


class Call:
    """One API call, as its handler sees it."""

    paths = TABLE

    def __init__(self, api: "Api", request: web.Request, body: bytes):
        self.state: State = api.state
        self.pusher: Pusher = api.pusher
        self.log: CallLog = api.log
        self.path = request.path
        self.query = request.query
        self.ip = request.remote or ""
        self.body = body
        self.started = time.time()
        self.account: Account | None = None
        self.json: dict = {}
        self.entry: dict = {}  # of the log

    def shown_query(self) -> dict:
        """The query for the log: of secrets and tokens only the end."""
        return {
            name: f"…{value[-8:]}" if name in ("secret", "access_token") else value
            for name, value in self.query.items()
        }

    def read_json(self):
        """:raises ApiError: 44002 no body, 40033 text escaped as \\uxxxx, 47001 not a JSON object in UTF-8"""
        if not self.body:
            raise ApiError(44002)
        try:
            self.json = json.loads(self.body.decode())
        except ValueError:
            raise ApiError(47001) from None
        if not isinstance(self.json, dict):
            raise ApiError(47001)
        if ESCAPED_TEXT.search(self.body):
            raise ApiError(40033)

    def use_quota(self, account: Account):
        """Set the account of the call and count it.

        :raises ApiError: 45009 or 45011, when the account's limit for this path is reached
        """
        self.account = account
        quotas.use(account, self.path)

    def require_rights(self):
        """:raises ApiError: 48001, when the account is not a verified one and not a test account"""
        if self.account.kind == "service" and not self.account.verified:
            raise ApiError(48001)

    def recipient(self, openid) -> Follower:
        """Return the follower behind `touser` or `openid`.

        :raises ApiError: 40003 when it is no OpenID or belongs to another account
        """
        if not isinstance(openid, str) or not OPENID.fullmatch(openid) or openid not in self.account.followers:
            raise ApiError(40003)
        return self.account.followers[openid]


class Api:
    """Answers WeChat's paths."""

    def __init__(self, state: State, pusher: Pusher, faults: Faults):
        self.state = state
        self.pusher = pusher
        self.faults = faults
        self.log = CallLog()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call: faults, token, quota, handler; every refusal is HTTP 200 with errcode, errmsg and rid."""
        if request.path == "/cgi-bin/showqrcode":
            return await qrcodes.show(self.state, request)
        if request.path not in TABLE:
            return web.Response(status=404)
        call = Call(self, request, await request.read())
        entry = {
            "path": call.path,
            "method": request.method,
            "time": call.started,
            "ip": call.ip,
            "query": call.shown_query(),
            "body": call.body[:BODY_SHOWN].decode("utf-8", "replace"),
            "caller": caller_name(request),
        }
        self.log.add(entry)
        call.entry = entry
        response = None
        try:
            response = await self._answer(call, request)
        except ApiError as error:
            rid = new_rid()
            answer = {"errcode": error.errcode, "errmsg": f"{error.errmsg} rid: {rid}", **error.fields}
            text = json.dumps(answer, ensure_ascii=False)
            self.log.remember_failure(call, rid, text)
            entry["errcode"] = error.errcode
            response = json_bytes(text)
        except asyncio.CancelledError:
            entry["cut"] = True
            raise
        entry["app_id"] = call.account and call.account.app_id
        entry["http"] = response.status
        entry["elapsed"] = round(time.time() - call.started, 4)
        return response

    async def _answer(self, call: Call, request: web.Request) -> web.Response:
        method, handler, needs_token, acknowledges = TABLE[call.path]
        fault = self.faults.take(call.path, self._app_id(call))
        if fault and not fault.after:
            await self.faults.delay(fault)
            struck = await fault.strike(request)
            if struck is not None:
                return struck
        if request.method != method:
            raise ApiError(43001 if method == "GET" else 43002)
        if needs_token:
            call.account = tokens.check_token(self.state, call.query.get("access_token"))
            if call.path not in UNCOUNTED:
                call.use_quota(call.account)
        if method == "POST":
            call.read_json()
        answer = await handler(call)
        if acknowledges:
            answer = {"errcode": 0, "errmsg": "ok", **answer}
        if fault and fault.after:
            await self.faults.delay(fault)
            struck = await fault.strike(request)
            if struck is not None:
                return struck
        return json_bytes(json.dumps(answer, ensure_ascii=False))

    def _app_id(self, call: Call) -> str | None:
        """The account of the call, unchecked: for faults of one account."""
        known = self.state.tokens.get(call.query.get("access_token", ""))
        if known:
            return known["app_id"]
        if "appid" in call.query:
            return call.query["appid"]
        if call.path == "/cgi-bin/stable_token":
            try:
                return json.loads(call.body).get("appid")
            except (ValueError, AttributeError):
                return None
        return None


def caller_name(request: web.Request) -> str | None:
    """The caller's name, if several processes share an account: the user of its proxy setting."""
    scheme, _space, credentials = request.headers.get("Proxy-Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def json_bytes(text: str) -> web.Response:
    """Some of WeChat's paths label their JSON as text/plain: a caller that trusts the label must fail here."""
    return web.Response(body=text.encode(), content_type="text/plain", charset="utf-8")
