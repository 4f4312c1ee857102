"""Parallel calls to WeChat, by threads that never touch Odoo's environment."""

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

# After one of these errors, other calls of the same account would fail too, and WeChat counts each of them.
STOPPING = (WechatRetry, WechatAmbiguous, WechatPaused, WechatAccountError)
# The greatest number of calls for a message, with any answers.
MAX_CALLS = 8
# WeChat recognises a repetition by its number for 10 minutes. After that, the result of the first call stays unknown.
REPEAT_SECONDS = 8 * 60


@dataclass
class Call:
    """One call of a method of WechatClient, and its result.

    A call without answer and error was not made, because its account was stopped before its turn.
    """

    key: int  # the caller's own identifier
    account_id: int  # of the account: its calls stop together
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
class LookUpCall(Call):
    """The call that lists an account's templates, after WeChat refused some of them as unknown."""

    refusals: dict = field(default_factory=dict)  # WeChat's error, by template id


@dataclass
class SendCall(Call):
    """The call that sends one row of the outbox. The outbox decides about repetitions."""

    template: int = 0
    row: dict | None = None  # as claimed; attempts is the number of calls announced in the database
    made: int = 0  # calls made since the claim
    unmade: int = 1  # calls announced and not made yet

    def make(self):
        """Call WeChat within the limits of number and time. Each call for a message is made here."""
        latest = self.row["first_call_at"] + timedelta(seconds=REPEAT_SECONDS)
        if self.unmade < 1 or self.row["attempts"] > MAX_CALLS or datetime.now(UTC).replace(tzinfo=None) >= latest:
            _logger.warning("wechat.outbox: not called, limit reached message=%s", self.key)
            return
        self.unmade -= 1
        self.made += 1
        super().make()

    def get_keys(self):
        return (("account", self.account_id), ("template", self.template))

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

    def hold(self, key):
        """Drop the calls with a key that were submitted so far and have not begun."""
        self._stopped[key] = time.monotonic()

    def resume(self, keys):
        """Make the calls with these stopped keys that are submitted from now on."""
        for key in keys:
            if key in self._stopped:
                self.hold(key)

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
