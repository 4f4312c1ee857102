"""Parallel calls to WeChat, by threads that never touch Odoo's environment."""

import logging
import math
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .send_policy import MAX_CALLS, REPEAT_SECONDS
from .wechat_errors import (
    OF_ONE_MESSAGE,
    WechatAccountError,
    WechatAmbiguous,
    WechatError,
    WechatPaused,
    WechatRetry,
    WechatTemplateError,
    WechatTokenStale,
)

_logger = logging.getLogger(__name__)

# After one of these errors, other calls of the same account would fail too, and WeChat counts each of them.
STOPPING = (WechatRetry, WechatAmbiguous, WechatPaused, WechatAccountError)


@dataclass
class Call:
    """One call of a method of WechatClient, and its result.

    A call without answer and error was not made, because its account was stopped before its turn.
    """

    key: int  # the caller's own identifier
    account_id: int
    method: str
    args: tuple
    client: object = None
    token: str = ""
    began_at: datetime | None = None  # in UTC, naive as in Odoo
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
            # The caller waits for the call to end, also after a programming error.
            _logger.exception("wechat.api: call failed account=%s method=%s", self.account_id, self.method)
            self.error = error

    def get_keys(self):
        """Return the keys of the call, which is not made if one of them is stopped."""
        return (self.account_id,)

    def get_stopped(self):
        """Return the keys that the error of the call stops."""
        return self.get_keys() if isinstance(self.error, STOPPING) else ()

    def _call(self):
        # An ambiguous call is repeated at once: calls of this class must be repeatable, such as the creation of a code
        # with a given scene.
        try:
            return self._call_once()
        except WechatAmbiguous:
            return self._call_once()

    def _call_once(self):
        return getattr(self.client, self.method)(self.token, *self.args)


@dataclass
class SendCall(Call):
    """The call that sends one message of the outbox. The policy of sending decides about repetitions."""

    template: int = 0
    number: int = 1  # of this call among those for the message
    # In UTC: the end of the lease, and the first call that WeChat may have taken, which may be this one.
    lease_until: datetime | None = None
    first_call_at: datetime | None = None
    is_repeat: bool = False  # whether WeChat may have taken an earlier call
    former_errcode: int = 0
    followed_at: datetime | None = None

    def make(self):
        """Call WeChat within the limits of number and time, once. Each call for a message is made here."""
        now = datetime.now(UTC).replace(tzinfo=None)
        latest = min(self.lease_until, self.first_call_at + timedelta(seconds=REPEAT_SECONDS))
        if self.began_at or self.number > MAX_CALLS or now >= latest:
            _logger.warning("wechat.outbox: not called, limit reached message=%s", self.key)
            return
        super().make()

    def get_keys(self):
        return (("account", self.account_id), ("template", self.template))

    def get_stopped(self):
        account, template = self.get_keys()
        if isinstance(self.error, WechatPaused | WechatAccountError | WechatTokenStale):
            return (account,)
        if isinstance(self.error, WechatTemplateError) and self.error.errcode not in OF_ONE_MESSAGE:
            return (template,)
        return ()

    def _call(self):
        return self._call_once()


class CallPool:
    """A pool of threads that make calls, and return them in the order in which they end.

    As a context manager, its exit waits for the calls in flight and drops those that have not begun.

    :param int threads: the greatest number of calls in flight.
    """

    def __init__(self, threads):
        self.pending = 0  # calls submitted and not taken yet
        self._executor = ThreadPoolExecutor(threads, "wechat-call")
        self._ended = queue.SimpleQueue()
        # By key: calls submitted up to this time are not made.
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
        """Queue a call that need not be made, with its known result. Its error stops keys like any other."""
        self.pending += 1
        self._end(call)

    def stop(self):
        """Make no further calls; those in flight end."""
        self._is_closed = True

    def resume(self):
        """Make the calls that are submitted from now on, after the reasons of all stops were recorded."""
        for key in list(self._stopped):
            self._stopped[key] = time.monotonic()

    def take(self, at_least, seconds, patience=None):
        """Return calls that have ended; wait for the first one.

        :param int at_least: the number of calls to wait for, if as many are pending.
        :param float seconds: the longest time to wait for more than one.
        :param float patience: the longest time, in seconds, to wait for the first; default: no limit.
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
