"""Calls to WeChat that are made side by side, by threads that know nothing of Odoo."""

import logging
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from .wechat_errors import WechatAccountError, WechatAmbiguous, WechatError, WechatPaused, WechatRetry

_logger = logging.getLogger(__name__)

# After one of these no other call of the same lane would fare better, and WeChat counts every try.
STOPPING = (WechatRetry, WechatAmbiguous, WechatPaused, WechatAccountError)


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

    def make(self):
        """Call WeChat. What leaves open whether it was done is asked a second time at once: the call must be one that
        may be repeated, such as the creation of a code with a given scene.
        """
        self.began_at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.answer = self.error = None
        method = getattr(self.client, self.method)
        try:
            try:
                self.answer = method(self.token, *self.args)
            except WechatAmbiguous:
                self.answer = method(self.token, *self.args)
        except WechatError as error:
            self.error = error
        except Exception as error:
            # Whatever it is must reach the caller, who waits for this call.
            _logger.exception("Call of %s failed", self.method)
            self.error = error


class CallPool:
    """A bounded number of threads that make calls, and give them back in the order in which they ended.

    As a context manager: its end waits for the calls in flight and makes none of those that have not begun.

    :param int threads: how many calls may be in flight at once.
    """

    def __init__(self, threads):
        self.pending = 0  # calls that were submitted and not taken back
        self._executor = ThreadPoolExecutor(threads, "wechat-call")
        self._ended = queue.SimpleQueue()
        self._stopped = set()
        self._is_closed = False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._is_closed = True
        self._executor.shutdown()

    def submit(self, call):
        """Queue a call."""
        self.pending += 1
        self._executor.submit(self._run, call)

    def give_back(self, call):
        """Queue a call whose outcome is known without making it; an error stops its lane all the same."""
        self.pending += 1
        self._end(call)

    def stop(self):
        """Make no call any more that has not begun."""
        self._is_closed = True

    def take(self, at_least, seconds):
        """Return calls that have ended, as soon as there are some.

        :param int at_least: wait for so many, if as many are pending.
        :param float seconds: how long to wait for more than one.
        :rtype: list[Call]
        """
        calls = []
        deadline = None
        while self.pending:
            try:
                if len(calls) >= at_least:
                    call = self._ended.get_nowait()
                else:
                    call = self._ended.get(timeout=deadline and max(0, deadline - time.monotonic()))
            except queue.Empty:
                break
            calls.append(call)
            self.pending -= 1
            deadline = deadline or time.monotonic() + seconds
        return calls

    def _run(self, call):
        try:
            if not self._is_closed and call.lane not in self._stopped:
                call.make()
        finally:
            self._end(call)

    def _end(self, call):
        if isinstance(call.error, STOPPING):
            self._stopped.add(call.lane)
        self._ended.put(call)
