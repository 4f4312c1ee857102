"""Rate limit of the calls that one sender of the outbox makes for one account."""

import time

# Consecutive calls without an answer after which the account is paused.
UNANSWERED_MAX = 10


class Pace:
    """A token bucket: each call takes one token.

    After a pause, one call at a time is made until WeChat answers, so that not all waiting messages meet the same
    error.

    :param float rate: tokens a second. The bucket holds the tokens of one second. It begins with one, so that several
        short runs are no faster than a long one.
    :param bool is_trying: whether the account comes back from a pause.
    :param clock: a function that returns monotonic seconds.
    """

    def __init__(self, rate, is_trying=False, clock=time.monotonic):
        self.rate = rate
        self.is_trying = is_trying
        self.in_flight = 0
        self._clock = clock
        self._tokens = 1.0
        self._filled_at = clock()
        self._unanswered = 0

    def get_allowance(self):
        """Return the number of calls that may begin now.

        :rtype: int
        """
        now = self._clock()
        self._tokens = min(max(1.0, self.rate), self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self.is_trying:
            return 0 if self.in_flight else min(1, int(self._tokens))
        return int(self._tokens)

    def get_wait(self):
        """Return the seconds until a call may begin, if none is in flight.

        :rtype: float
        """
        self.get_allowance()
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def begin(self, count):
        """Count calls that begin."""
        self._tokens -= count
        self.in_flight += count

    def end(self, is_answered):
        """Count a call that has ended.

        :param bool is_answered: whether WeChat has answered; None for a call that was not made.
        :return: whether the account should be paused.
        :rtype: bool
        """
        self.in_flight -= 1
        if is_answered is None:
            return False
        self._unanswered = 0 if is_answered else self._unanswered + 1
        if is_answered:
            self.is_trying = False
        return self._unanswered >= UNANSWERED_MAX or (self.is_trying and not is_answered)
