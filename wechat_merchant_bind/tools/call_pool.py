"""Calls to WeChat that are made side by side, by threads that know nothing of Odoo."""

import logging
import math
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .wechat_errors import (
    OF_ONE_MESSAGE,
    WechatAccountError,
    WechatAmbiguous,
    WechatError,
    WechatPaused,
    WechatRetry,
    WechatTemplateError,
)

_logger = logging.getLogger(__name__)

# After one of these no other call of the same lane would fare better, and WeChat counts every try.
STOPPING = (WechatRetry, WechatAmbiguous, WechatPaused, WechatAccountError)
# No message is called for more often, whatever WeChat answers.
MAX_CALLS = 8
# WeChat takes calls with the same number for the same message for 10 minutes; what is not known by then stays unknown.
REPEAT_SECONDS = 8 * 60


@dataclass
class Call:
    """One call of a method of :class:`.wechat_api.WechatClient`, and what came of it.

    Without ``answer`` and ``error`` it was not made, because its lane was stopped before its turn.
    """

    key: int  # by which the caller knows it
    lane: int  # what is stopped together
    method: str
    args: tuple
    client: object = None
    token: str = ""
    began_at: datetime | None = None  # in UTC, naive as Odoo has it
    answer: dict | None = None
    error: Exception | None = None
    is_repeated: bool = False  # with another access token
    submitted_at: float = 0.0  # by the monotonic clock

    def make(self):
        """Call WeChat."""
        self.began_at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.answer = self.error = None
        try:
            self.answer = self._call()
        except WechatError as error:
            self.error = error
        except Exception as error:
            # Whatever it is must reach the caller, who waits for this call.
            _logger.exception("wechat.api: call failed account=%s method=%s", self.lane, self.method)
            self.error = error

    def get_keys(self):
        """Return what this call stands and falls with: it is not made once one of these was stopped."""
        return (self.lane,)

    def get_stopped(self):
        """Return which of its keys its error stops."""
        return self.get_keys() if isinstance(self.error, STOPPING) else ()

    def _call(self):
        # What leaves open whether it was done is asked a second time at once: the call must be one that may be
        # repeated, such as the creation of a code with a given scene.
        try:
            return self._call_once()
        except WechatAmbiguous:
            return self._call_once()

    def _call_once(self):
        return getattr(self.client, self.method)(self.token, *self.args)


@dataclass
class LookUpCall(Call):
    """The call that reads an account's templates, because WeChat has refused some of them as unknown."""

    refusals: dict = field(default_factory=dict)  # WeChat's error, by template id


@dataclass
class SendCall(Call):
    """The call that sends one row of the outbox. Whether and when it is repeated is the outbox's to say."""

    template: int = 0
    row: dict | None = None  # as it was claimed; ``attempts`` counts the calls that were announced to the database
    made: int = 0  # calls since it was claimed
    unmade: int = 1  # calls that were announced, and not made yet

    def make(self):
        """Call WeChat, within the limits that no answer lifts: this is the only place where a message is called for."""
        latest = self.row["first_call_at"] + timedelta(seconds=REPEAT_SECONDS)
        if self.unmade < 1 or self.row["attempts"] > MAX_CALLS or datetime.now(UTC).replace(tzinfo=None) >= latest:
            _logger.warning("wechat.outbox: not called, limit reached message=%s", self.key)
            return
        self.unmade -= 1
        self.made += 1
        super().make()

    def get_keys(self):
        return (("account", self.lane), ("template", self.template))

    def get_stopped(self):
        account, template = self.get_keys()
        if isinstance(self.error, WechatPaused | WechatAccountError):
            return (account,)
        if isinstance(self.error, WechatTemplateError) and self.error.errcode not in OF_ONE_MESSAGE:
            return (template,)
        return ()

    def _call(self):
        return self._call_once()


class CallPool:
    """A bounded number of threads that make calls, and give them back in the order in which they ended.

    As a context manager: its end waits for the calls in flight and makes none of those that have not begun.

    :param int threads: how many calls may be in flight at once.
    """

    def __init__(self, threads):
        self.pending = 0  # calls that were submitted and not taken back
        self._executor = ThreadPoolExecutor(threads, "wechat-call")
        self._ended = queue.SimpleQueue()
        # By key, the moment up to which calls that were submitted are not made.
        self._stopped = {}
        self._is_closed = False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._is_closed = True
        self._executor.shutdown()

    def submit(self, call):
        """Queue a call."""
        self.pending += 1
        call.submitted_at = time.monotonic()
        self._executor.submit(self._run, call)

    def give_back(self, call):
        """Queue a call whose outcome is known without making it; an error stops what it stands for all the same."""
        self.pending += 1
        self._end(call)

    def stop(self):
        """Make no call any more that has not begun."""
        self._is_closed = True

    def hold(self, key):
        """Make none of the calls with a key that were submitted so far and have not begun."""
        self._stopped[key] = time.monotonic()

    def resume(self, keys):
        """Make the calls with these keys that are submitted from now on."""
        for key in keys:
            if key in self._stopped:
                self.hold(key)

    def take(self, at_least, seconds, patience=None):
        """Return calls that have ended, as soon as there are some.

        :param int at_least: wait for so many, if as many are pending.
        :param float seconds: how long to wait for more than one.
        :param float patience: how many seconds to wait for the first; by default as long as it takes.
        :rtype: list[Call]
        """
        calls = []
        deadline = None if patience is None else time.monotonic() + patience
        while self.pending:
            try:
                if len(calls) >= at_least:
                    call = self._ended.get_nowait()
                else:
                    call = self._ended.get(timeout=deadline and max(0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if not calls:
                deadline = time.monotonic() + seconds
            calls.append(call)
            self.pending -= 1
        return calls

    def _run(self, call):
        try:
            if not self._is_closed and not any(
                call.submitted_at <= self._stopped.get(key, -math.inf) for key in call.get_keys()
            ):
                call.make()
        finally:
            self._end(call)

    def _end(self, call):
        for key in call.get_stopped():
            self._stopped[key] = math.inf
        self._ended.put(call)
