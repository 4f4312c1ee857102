"""Pushes to the developer's server as WeChat does them (接收事件推送): 5 seconds, three retries, MarkFail, receipts."""

import asyncio
import logging
import secrets
import time
from urllib.parse import urlsplit

import aiohttp

from envelope import BadReply, pushed_fields, read_reply, render, seal, url_signature, with_query
from state import Account, SandboxError, State

_logger = logging.getLogger(__name__)

# Pushes of one account under way at once; more wait for their turn.
CONCURRENT = 64
FAILURE_WINDOW = 60
# The events of WeChat's verification (微信认证事件推送), and whether the account has its rights then (None: as before).
VERIFICATION = {
    "qualification_verify_success": True,
    "qualification_verify_fail": None,
    "naming_verify_success": None,
    "naming_verify_fail": None,
    "annual_renew": None,
    "verify_expired": False,
}
VERIFICATION_SECONDS = 365 * 24 * 3600
# What a follower sees when a message (not an event) got no valid answer.
SERVICE_FAILED = "该公众号暂时无法提供服务，请稍后再试"


class Pusher:
    """Delivers pushes over HTTP. One per process, bound to the running event loop."""

    def __init__(self, state: State):
        self.state = state
        self.session = None
        self.turns: dict[str, asyncio.Semaphore] = {}
        self.tasks: set[asyncio.Task] = set()

    async def start(self):
        """Open the HTTP session; call it in the running event loop, before any push."""
        # A kept-alive connection that the server has just closed would look like a failed push.
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=60)
        self.session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": "Mozilla/4.0", "Content-Type": "text/xml"},
            auto_decompress=False,
            trust_env=False,
        )

    async def stop(self):
        """Give up the receipts under way and close the HTTP session."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.session.close()

    async def deliver(
        self,
        account: Account,
        fields: list | None,
        *,
        xml: str | None = None,
        openid: str = "",
        mode: str | None = None,
        timestamp: int | None = None,
        retry: bool = True,
    ) -> dict:
        """Push one message until a valid answer, or until the retries are used up. Retries keep the body (CreateTime).

        :param fields: the XML fields in order, [(name, value)]; or None and `xml`, the raw text
        :param mode: send in another mode than the account's
        :param timestamp: sign this URL timestamp instead of now
        :return: {ok, status, attempts, elapsed, body, reply, reply_type, error, event, openid, tries}; `status` and
            `elapsed` (seconds) are those of the last try (status None without answer), `body` its text as received,
            `reply` the decoded text of the passive reply
        """
        mode = mode or account.mode
        xml = render(fields) if xml is None else xml
        known = pushed_fields(xml) if fields is None else dict(fields)
        openid = openid or str(known.get("FromUserName", ""))
        result = {
            "ok": False,
            "event": known.get("Event") or known.get("MsgType"),
            "openid": openid,
            "status": None,
            "attempts": 0,
            "elapsed": 0.0,
            "body": "",
            "reply": None,
            "reply_type": None,
            "error": None,
            "tries": [],
        }
        turn = self.turns.setdefault(account.app_id, asyncio.Semaphore(CONCURRENT))
        async with turn:
            await self._tries(account, xml, known, openid, mode, timestamp, retry and account.redelivery, result)
        summary = {name: result[name] for name in ("ok", "event", "openid", "status", "attempts", "elapsed", "error")}
        account.pushes.append({**summary, "time": round(time.time(), 3), "reply": result["reply"]})
        self.state.changed()
        return result

    async def _tries(self, account, xml, known, openid, mode, timestamp, retry, result):
        if not account.webhook_url:
            result["error"] = "the account has no webhook_url: nothing was pushed"
            return
        for attempt in range(1 + (account.push_retries if retry else 0)):
            if time.time() < account.suspended_until:
                result["error"] = f"MarkFail: no pushes for {account.suspended_until - time.time():.0f} s"
                return
            if attempt:
                await asyncio.sleep(account.retry_delay)
            tried = await self._try(account, *seal(account, xml, openid, mode, timestamp))
            if tried["error"] is None:
                try:
                    reply = self._judge(account, mode, openid, known, tried)
                except BadReply as error:
                    tried["error"] = str(error)
            result["attempts"] = attempt + 1
            result["tries"].append({name: tried[name] for name in ("status", "elapsed", "error")})
            result["status"], result["elapsed"] = tried["status"], tried["elapsed"]
            result["body"] = tried["body"].decode("utf-8", "replace")
            result["error"] = tried["error"]
            if tried["error"] is None:
                result["ok"] = True
                if reply:
                    result["reply"], result["reply_type"] = reply["text"], reply["type"]
                return
            self._count_failure(account)

    async def _try(self, account: Account, url: str, body: bytes | None) -> dict:
        """One HTTP call (GET without body). Its error is None if any answer came in time."""
        tried = {"status": None, "body": b"", "error": None}
        started = time.monotonic()
        try:
            async with self.session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                timeout=aiohttp.ClientTimeout(total=account.push_timeout),
                allow_redirects=False,
            ) as response:
                tried["status"] = response.status
                tried["body"] = await response.read()
        except asyncio.TimeoutError:
            tried["error"] = f"no answer within {account.push_timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            tried["error"] = f"{type(error).__name__}: {error}"
        tried["elapsed"] = round(time.monotonic() - started, 4)
        return tried

    @staticmethod
    def _judge(account, mode, openid, known, tried) -> dict | None:
        if tried["status"] != 200:
            raise BadReply(f"HTTP {tried['status']}")
        return read_reply(account, mode, openid, known, tried["body"])

    @staticmethod
    def _count_failure(account: Account):
        now = time.time()
        if now - account.failures_since > FAILURE_WINDOW:
            account.failures, account.failures_since = 0, now
        account.failures += 1
        if account.failures >= account.mark_fail_threshold:
            _logger.warning("%s: MarkFail, no pushes for %g s", account.app_id, account.mark_fail_seconds)
            account.failures, account.suspended_until = 0, now + account.mark_fail_seconds

    async def event(self, account: Account, follower, fields: list) -> dict:
        """Push what a follower did, and show the passive reply in his chat.

        :param fields: the XML fields that follow CreateTime
        """
        head = [
            ("ToUserName", account.original_id),
            ("FromUserName", follower.openid),
            ("CreateTime", int(time.time())),
        ]
        result = await self.deliver(account, head + fields)
        self.show(account, follower, result, is_message=dict(fields)["MsgType"] != "event")
        return result

    async def verification(self, account: Account, event: str, expired_time=None, fail_reason="资料不全") -> dict:
        """Push an event of the account's verification, and give or take the account's rights.

        :param expired_time: end of the verification, in seconds since 1970; by default now or in a year
        :param fail_reason: of the events that end with "fail"
        :raises SandboxError: an event that WeChat does not know
        """
        if event not in VERIFICATION:
            raise SandboxError(f"event: one of {', '.join(VERIFICATION)}")
        if VERIFICATION[event] is not None:
            account.verified = VERIFICATION[event]
        now = int(time.time())
        if event.endswith("fail"):
            more = [("FailTime", now), ("FailReason", fail_reason)]
        else:
            more = [("ExpiredTime", expired_time or now + VERIFICATION_SECONDS * (event != "verify_expired"))]
        # The sender is WeChat's own account.
        head = [("ToUserName", account.original_id), ("FromUserName", f"o{'S' * 27}"), ("CreateTime", now)]
        return await self.deliver(account, [*head, ("MsgType", "event"), ("Event", event), *more])

    def show(self, account: Account, follower, result: dict, is_message: bool):
        """Show in the chat what the push brought."""
        if result["ok"] and result["reply_type"] == "text":
            account.chat(follower, "account", "text", result["reply"])
        elif result["ok"] and result["reply_type"] == "transfer_customer_service":
            account.chat(follower, "system", "notice", "已转接人工客服")
        elif is_message and not result["ok"] and account.webhook_url:
            account.chat(follower, "system", "notice", SERVICE_FAILED)
        self.state.changed()

    async def receipt(self, account: Account, fields: list):
        """Push the receipt of a template message: before its call is answered, after it, or not at all."""
        if account.receipts == "off" or not account.webhook_url:
            return
        task = asyncio.create_task(self._receipt(account, fields))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if account.receipts == "before":
            await asyncio.wait([task], timeout=account.push_timeout)

    async def _receipt(self, account: Account, fields: list):
        if account.receipt_delay:
            await asyncio.sleep(account.receipt_delay)
        await self.deliver(account, fields)

    async def check(self, account: Account) -> dict:
        """The console's check of the server URL: GET with an echostr that must come back verbatim."""
        if not account.webhook_url or urlsplit(account.webhook_url).scheme not in ("http", "https"):
            raise SandboxError("the account has no webhook_url")
        echostr = str(secrets.randbelow(10**19))
        url = with_query(account.webhook_url, {**url_signature(account), "echostr": echostr})
        tried = await self._try(account, url, None)
        body = tried["body"].decode("utf-8", "replace")
        return {
            "ok": tried["status"] == 200 and body == echostr,
            "status": tried["status"],
            "elapsed": tried["elapsed"],
            "error": tried["error"],
            "echostr": echostr,
            "body": body,
        }
