"""The sandbox's own paths (/sandbox/...): configuration, the phones' acts, faults and what tests look at."""

import asyncio
import itertools
import json
import time
from dataclasses import asdict

from aiohttp import web

import tokens
from api import TABLE, Api
from envelope import render
from faults import Faults
from phone import Phone
from push import Pusher
from state import Account, SandboxError, State
from templates import custom_template

RECENT_SHOWN = 200
CALLS_SHOWN = 200
COPIES_AT_MOST = 1000
WAIT_AT_MOST = 30


class Control:
    """Handlers of the sandbox's own paths. Bodies and answers are JSON; a mistake is {"ok": false, "error": ...}."""

    def __init__(self, state: State, api: Api, pusher: Pusher, phone: Phone, faults: Faults):
        self.state = state
        self.api = api
        self.pusher = pusher
        self.phone = phone
        self.faults = faults
        self.waiting: set[asyncio.Event] = set()
        state.listeners.append(self._wake)

    def routes(self) -> list[web.RouteDef]:
        """The routes below /sandbox/: POST for what changes something, GET for what only looks."""
        posts = {
            "accounts": self.accounts,
            "templates": self.templates,
            "followers": self.followers,
            "scan": self.scan,
            "follow": self.follow,
            "unfollow": self.unfollow,
            "say": self.say,
            "push": self.push,
            "verification": self.verification,
            "move": self.move,
            "check": self.check,
            "faults": self.plan_fault,
            "faults/release": self.release_faults,
            "expire_token": self.expire_token,
            "reset": self.reset,
        }
        gets = {
            "health": self.health,
            "messages": self.messages,
            "calls": self.calls,
            "codes": self.codes,
            "faults": self.planned_faults,
            "state": self.platform,
        }
        return [
            *(web.post(f"/sandbox/{path}", _json_handler(handler)) for path, handler in posts.items()),
            *(web.get(f"/sandbox/{path}", _query_handler(handler)) for path, handler in gets.items()),
        ]

    async def health(self, _query) -> dict:
        """Say that the process answers."""
        return {"ok": True}

    async def accounts(self, data: dict) -> dict:
        """Create or update an account; see `state.Account` for the settings."""
        return self.state.configure_account(data).settings()

    async def templates(self, data: dict) -> dict:
        """Give an account a template of one's own: {app_id?, title, content, template_id?, example?, allowed?}."""
        account = self.state.account(data.get("app_id"))
        if not data.get("title") or not data.get("content"):
            raise SandboxError("title and content are needed")
        template = custom_template(account.app_id, data)
        account.templates[template["template_id"]] = template
        self.state.changed()
        return template

    async def followers(self, data: dict) -> dict:
        """Create a user or change how he stands to the account, without a push: {user, app_id?, name?, subscribed?,
        blocked? (has switched the account's messages off), blacklisted?}. With a list `users` instead of `user` the
        answer is {"followers": [...]}."""
        account = self.state.account(data.get("app_id"))
        followers = [account.follower(user, create=True) for user in data.get("users") or [data.get("user")]]
        for follower in followers:
            for name in ("name", "subscribed", "blocked", "blacklisted"):
                if name in data:
                    setattr(follower, name, type(getattr(follower, name))(data[name]))
            account.openids[follower.name] = follower.openid
        self.state.changed()
        summaries = [follower.summary() for follower in followers]
        return {"followers": summaries} if "users" in data else summaries[0]

    async def scan(self, data: dict) -> dict:
        """Scan a code and follow: {user, content (text of the code), app_id?}; see `Pusher.deliver` for the answer."""
        return await self.phone.scan(data.get("user"), data.get("content"), data.get("app_id"))

    async def follow(self, data: dict) -> dict:
        """Follow without a code: {user, app_id?}."""
        return await self.phone.follow(data.get("user"), data.get("app_id"))

    async def unfollow(self, data: dict) -> dict:
        """Unfollow: {user, app_id?}."""
        return await self.phone.unfollow(data.get("user"), data.get("app_id"))

    async def say(self, data: dict) -> dict:
        """Send a text from a phone to the account: {user, text, app_id?}."""
        return await self.phone.say(data.get("user"), data.get("text"), data.get("app_id"))

    async def push(self, data: dict) -> dict:
        """Push anything, rightly signed: {app_id?, fields: {name: value, in order} or xml: raw text, openid?, mode?,
        timestamp? (of the URL), copies? (sent at once), retry?}. ToUserName and CreateTime are filled in when missing
        from `fields`. With `copies` the answer is {"results": [...]}."""
        account = self.state.account(data.get("app_id"))
        fields, xml = data.get("fields"), data.get("xml")
        if isinstance(fields, dict) == isinstance(xml, str):
            raise SandboxError("give either fields (an object) or xml (a text)")
        if data.get("mode") not in (None, "plain", "compatible", "safe"):
            raise SandboxError("mode: plain, compatible or safe")
        copies = int(data.get("copies") or 1)
        if not 1 <= copies <= COPIES_AT_MOST:
            raise SandboxError(f"copies: 1 to {COPIES_AT_MOST}")
        pairs = None
        if fields is not None:
            defaults = {"ToUserName": account.original_id, "CreateTime": int(time.time())}
            pairs = [*((name, value) for name, value in defaults.items() if name not in fields), *fields.items()]
            xml = render(pairs)
        results = await asyncio.gather(
            *(
                self.pusher.deliver(
                    account,
                    pairs,
                    xml=xml,
                    openid=str(data.get("openid", "")),
                    mode=data.get("mode"),
                    timestamp=data.get("timestamp"),
                    retry=data.get("retry", True),
                )
                for _copy in range(copies)
            )
        )
        follower = account.followers.get(results[0]["openid"])
        for result in results if follower else ():
            self.pusher.show(account, follower, result, is_message=False)
        return {"results": results} if "copies" in data else results[0]

    async def verification(self, data: dict) -> dict:
        """Push an event of WeChat's verification: {event, expired_time?, fail_reason?, app_id?}; see
        `Pusher.verification`."""
        more = {name: data[name] for name in ("expired_time", "fail_reason") if name in data}
        return await self.pusher.verification(self.state.account(data.get("app_id")), data.get("event"), **more)

    async def move(self, data: dict) -> dict:
        """Move an account's followers to another (账号迁移), without a push: {from_app_id, app_id}."""
        former = self.state.account(data.get("from_app_id"))
        return {"followers": self.state.move(former, self.state.account(data.get("app_id")))}

    async def check(self, data: dict) -> dict:
        """The console's check of the server URL: {app_id?}."""
        return await self.pusher.check(self.state.account(data.get("app_id")))

    async def plan_fault(self, data: dict) -> dict:
        """Plan a failure; see `faults.Fault` for the fields."""
        return self.faults.add(data, TABLE)

    async def release_faults(self, data: dict) -> dict:
        """Let held calls go on and forget the planned failures, of one {path} or of all."""
        self.faults.release(data.get("path"))
        return {"ok": True}

    async def planned_faults(self, _query) -> dict:
        """The failures that have not struck yet."""
        return {"faults": self.faults.listing()}

    async def expire_token(self, data: dict) -> dict:
        """Let an account's tokens die now: {app_id?, kind?: plain|stable, how?: expired (42001)|replaced (40001)}."""
        how = data.get("how", "expired")
        if data.get("kind") not in (None, "plain", "stable") or how not in ("expired", "replaced"):
            raise SandboxError("kind: plain or stable; how: expired or replaced")
        tokens.expire(self.state, self.state.account(data.get("app_id")), data.get("kind"), how)
        return {"ok": True}

    async def reset(self, data: dict) -> dict:
        """Forget everything but the default account, or also keep {"keep": [accounts, followers, codes, tokens, calls,
        faults]}."""
        keep = set(data.get("keep", ()))
        self.state.reset(sorted(keep - {"calls", "faults"}))
        if "calls" not in keep:
            self.api.log.clear()
        if "faults" not in keep:
            self.faults.release()
        return {"ok": True}

    async def messages(self, query) -> dict:
        """What a phone shows: ?user=…&app_id=…, oldest first."""
        account = self.state.account(query.get("app_id"))
        follower = account.follower(query.get("user"))
        return {**follower.summary(), "app_id": account.app_id, "messages": list(follower.messages)}

    async def calls(self, query) -> dict:
        """API calls, newest last: ?path=…&app_id=…&limit=…; `total` counts all of that path, also those not kept.

        Beside what was asked: `errcode`, `http` and `elapsed` of the answer, or `cut`; `msgid` of a message that was
        taken (`repeats`: that had been taken before), whether the caller heard of it or not; and as `caller` the user
        of Proxy-Authorization."""
        path, app_id = query.get("path"), query.get("app_id")
        limit = int(query.get("limit", CALLS_SHOWN))
        log = self.api.log
        wanted = (
            call
            for call in reversed(log.calls)
            if path in (None, call["path"]) and app_id in (None, call.get("app_id"))
        )
        shown = list(itertools.islice(wanted, limit))[::-1]
        return {"total": log.counts[path] if path else log.total, "counts": dict(log.counts), "calls": shown}

    async def codes(self, query) -> dict:
        """The codes that can be scanned now, newest first: ?app_id=…"""
        app_id = query.get("app_id")
        wanted = (
            code for code in reversed(self.state.codes.values()) if app_id in (None, code.app_id) and not code.expired()
        )
        return {"codes": [asdict(code) for code in itertools.islice(wanted, RECENT_SHOWN)]}

    async def platform(self, query) -> dict:
        """The platform at a glance. With ?after=VERSION the answer waits until something is newer (at most 30 s)."""
        after = query.get("after")
        if after is not None and int(after) == self.state.version:
            woken = asyncio.Event()
            self.waiting.add(woken)
            try:
                await asyncio.wait_for(woken.wait(), WAIT_AT_MOST)
            except asyncio.TimeoutError:
                pass
            finally:
                self.waiting.discard(woken)
        return {
            "version": self.state.version,
            "accounts": [self._account(account) for account in self.state.accounts.values()],
            "codes": len(self.state.codes),
            "pending_pushes": len(self.pusher.tasks),
            "held_calls": self.faults.held,
            "calls": self.api.log.total,
            "paths": sorted(TABLE),
        }

    def _account(self, account: Account) -> dict:
        recent = (account.followers[openid] for openid in reversed(account.recent) if openid in account.followers)
        return {
            **account.settings(),
            "templates": list(account.templates.values()),
            "followers": [follower.summary() for follower in itertools.islice(recent, RECENT_SHOWN)],
            "followers_total": len(account.followers),
            "suspended_until": account.suspended_until,
            "pushes": list(account.pushes)[-10:],
        }

    def _wake(self):
        for woken in self.waiting:
            woken.set()


def _json_handler(handler):
    async def handle(request: web.Request) -> web.Response:
        try:
            body = await request.read()
            data = json.loads(body) if body else {}
            if not isinstance(data, dict):
                raise SandboxError("the body must be a JSON object")
            return _answer(await handler(data))
        except (SandboxError, ValueError, TypeError) as error:
            return _refusal(error)

    return handle


def _query_handler(handler):
    async def handle(request: web.Request) -> web.Response:
        try:
            return _answer(await handler(request.query))
        except (SandboxError, ValueError) as error:
            return _refusal(error)

    return handle


def _answer(data: dict) -> web.Response:
    return web.json_response(data, dumps=lambda value: json.dumps(value, ensure_ascii=False))


def _refusal(error: Exception) -> web.Response:
    status = getattr(error, "status", 400)
    return web.json_response({"ok": False, "error": str(error)}, status=status)
