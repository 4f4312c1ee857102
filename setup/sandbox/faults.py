"""Planned failures of API calls, so that tests can see what a caller does when WeChat misbehaves."""

import asyncio
import itertools
import random
from dataclasses import asdict, dataclass, fields

from aiohttp import web

from errors import ApiError
from state import SandboxError

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
HELD_AT_MOST = 600


@dataclass
class Fault:
    """One planned failure of an API path.

    `times`: calls it strikes, None without end. `share`: of how many of the calls that come by, by chance, which is
    the same in every process; the others go on to what was planned later. What happens is the first that is set of
    `errcode` (with `errmsg`), `http` (a status with an HTML body), `timeout` (seconds of silence, then the connection
    is cut), `reset` (cut at once), `html` (status 200 with an HTML page), `empty` (status 200 without a body); none of
    them: only late. `latency_ms` comes first. With `after` the call has its effect before it fails, so that the caller
    does not know whether it worked. With `hold` the answer waits until the fault is released.
    """

    path: str
    id: int = 0
    app_id: str | None = None
    times: int | None = 1
    share: float = 1.0
    latency_ms: float = 0
    errcode: int | None = None
    errmsg: str | None = None
    http: int | None = None
    timeout: float | None = None
    reset: bool = False
    html: bool = False
    empty: bool = False
    after: bool = False
    hold: bool = False

    async def strike(self, request: web.Request) -> web.Response | None:
        """Fail the call in the planned way; None when only its speed was planned.

        :raises ApiError: for a planned errcode
        """
        if self.errcode is not None:
            raise ApiError(self.errcode, self.errmsg)
        if self.http is not None:
            return web.Response(status=self.http, text=HTML, content_type="text/html")
        if self.timeout is not None:
            await asyncio.sleep(self.timeout)
        if self.timeout is not None or self.reset:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if self.html:
            return web.Response(text=HTML, content_type="text/html")
        if self.empty:
            return web.Response()
        return None


class Faults:
    """The planned failures, oldest first for each path.

    :param changed: called when a call is held or goes on
    """

    def __init__(self, changed):
        self.changed = changed
        self.held = 0
        self.plan: dict[str, list[Fault]] = {}
        self.gates: dict[int, asyncio.Event] = {}
        self.ids = itertools.count(1)
        self.chance = random.Random(1)  # nosec B311  # nothing to be guessed

    def add(self, data: dict, paths) -> dict:
        """Plan a failure from the JSON of `POST /sandbox/faults`.

        :raises SandboxError: an unknown path or field
        """
        known = {item.name for item in fields(Fault)} - {"id"}
        unknown = set(data) - known
        if unknown:
            raise SandboxError(f"unknown fields: {', '.join(sorted(unknown))}")
        if data.get("path") not in paths:
            raise SandboxError(f"unknown path {data.get('path')!r}", 404)
        fault = Fault(**{**data, "id": next(self.ids), "times": data.get("times", 1) or None})
        self.plan.setdefault(fault.path, []).append(fault)
        if fault.hold:
            self.gates[fault.id] = asyncio.Event()
        return asdict(fault)

    def take(self, path: str, app_id: str | None) -> Fault | None:
        """Return the failure that strikes this call, and use it up by one."""
        planned = self.plan.get(path)
        if not planned:
            return None
        for fault in planned:
            if fault.app_id in (None, app_id) and (fault.share >= 1 or self.chance.random() < fault.share):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        planned.remove(fault)
                return fault
        return None

    async def delay(self, fault: Fault):
        """Wait out the planned latency and, for a held call, its release."""
        if fault.latency_ms:
            await asyncio.sleep(fault.latency_ms / 1000)
        gate = self.gates.get(fault.id)
        if gate and not gate.is_set():
            self.held += 1
            self.changed()
            try:
                await asyncio.wait_for(gate.wait(), HELD_AT_MOST)
            finally:
                self.held -= 1
                self.changed()

    def release(self, path: str | None = None):
        """Let held calls go on and forget the plan, of one path or of all."""
        for planned_path in [path] if path else list(self.plan):
            self.plan.pop(planned_path, None)
        for gate in self.gates.values():
            gate.set()
        self.gates = {}

    def listing(self) -> list[dict]:
        """The planned failures that are left, as JSON."""
        return [asdict(fault) for planned in self.plan.values() for fault in planned]
