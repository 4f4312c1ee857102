"""The policy of sending: what the answer to a call means for its message, template, account and recipient.

Sources: WeChat's reference of template messages for client_msg_id ("valid for 10 minutes"), and the table of
wechat_errors for the classes of the codes.
"""

import random
from typing import NamedTuple

from .wechat_errors import (
    DAILY_QUOTA,
    OF_ONE_MESSAGE,
    PERHAPS_GONE,
    UNKNOWN_OPENID,
    WechatAccountError,
    WechatAmbiguous,
    WechatBug,
    WechatDataError,
    WechatError,
    WechatPaused,
    WechatRepeated,
    WechatRetry,
    WechatTemplateError,
    WechatTokenStale,
    WechatUnderReview,
    WechatUnreachable,
)

# The greatest number of calls for a message, with any answers.
MAX_CALLS = 8
# WeChat recognises a repetition by its number for 10 minutes. After that, the result of the first call stays unknown.
REPEAT_SECONDS = 8 * 60
# Seconds until the next call, four times as many after each call up to the second value. The few calls of a message are
# spread over many hours, for which WeChat may be out of reach.
RETRY = (5, 6 * 3600)
REPEAT = (10, 120)
TOO_OFTEN_RETRY = (2 * 3600, 12 * 3600)
# A template that WeChat refuses as unknown and still lists is tried for half an hour before it is suspended.
LISTED_RETRY = (60, 900)
LISTED_CALLS = 5
DUPLICATE_SECONDS = 65
# The part of WeChat that sends may not know a new follower yet.
NEW_FOLLOWER_SECONDS = 60
NEW_FOLLOWER_RETRY = 30
# Random share of a delay: messages that failed together are not repeated together.
JITTER = 0.25

# Seconds for which an account makes no calls. After 45009 an hour at a time: WeChat does not say when its day ends.
MINUTE_QUOTA, BUSY = 45011, -1
PAUSE, LONG_PAUSE = 60, 3600
PAUSES = {DAILY_QUOTA: LONG_PAUSE, MINUTE_QUOTA: PAUSE}
# WeChat answers -1 to calls that come too fast.
BUSY_PAUSE = 5
# Consecutive calls without an answer after which the account is paused.
UNANSWERED_MAX = 10
# Consecutive messages of a template with a value that WeChat refuses: then the template is wrong, not the data.
WRONG_VALUES_MAX = 5

TOO_OFTEN = 43117
DUPLICATE = 40241
STALE = (40001, 40014, 42001)
NOT_FOLLOWING = (43004, 50005)
REFUSING = (43019, 43101, 48002)
FAILURES = {
    **dict.fromkeys(NOT_FOLLOWING, "wechat_unfollowed"),
    **dict.fromkeys(REFUSING, "wechat_blocked"),
    **dict.fromkeys((*UNKNOWN_OPENID, 50002), "wechat_recipient"),
}


class Attempt(NamedTuple):
    """A call for a message, and what is known of the calls before it."""

    number: int = 1
    # Whether WeChat may have taken a call before, and the seconds since then, at the end of this call.
    is_repeat: bool = False
    seconds: float = 0
    former_errcode: int | None = None
    is_new_follower: bool = False


class Verdict(NamedTuple):
    """The consequences of a call."""

    # Of the message: outgoing, sent, failed or unknown.
    state: str
    failure_type: str | None = None
    # Seconds until the next call of an outgoing message.
    delay: float = 0
    # Whether WeChat may have taken the message: it is then repeated for REPEAT_SECONDS only.
    may_have_arrived: bool = False
    # Whether the message ends because it has used up its calls.
    is_exhausted: bool = False
    # Seconds for which the account makes no calls.
    pause: float = 0
    # Whether the access token must be replaced.
    is_token_stale: bool = False
    # What is suspended until a manager resumes it: account or template. With looks_up, a template that WeChat still
    # lists is not suspended.
    suspends: str | None = None
    looks_up: bool = False
    # The mark of the recipient: unfollowed, which WeChat must confirm, or blocked.
    mark: str | None = None


def judge(attempt, error=None):
    """Return the consequences of a call that has ended.

    A message ends after MAX_CALLS calls, and is not called REPEAT_SECONDS after a call that WeChat may have taken.

    :param Attempt attempt: the call
    :param Exception error: why it failed; None if WeChat has accepted the message. An exception that is no
        WechatError may have been raised after WeChat had taken the message.
    :rtype: Verdict
    """
    verdict = Verdict("sent", may_have_arrived=True) if error is None else _judge_error(attempt, error)
    if verdict.state != "outgoing":
        return verdict
    verdict = verdict._replace(may_have_arrived=verdict.may_have_arrived or attempt.is_repeat)
    is_exhausted = attempt.number >= MAX_CALLS
    if verdict.may_have_arrived and (is_exhausted or attempt.seconds + verdict.delay >= REPEAT_SECONDS):
        return verdict._replace(state="unknown", failure_type="wechat_unknown", is_exhausted=is_exhausted)
    if is_exhausted:
        return verdict._replace(state="failed", failure_type="wechat_system", is_exhausted=True)
    return verdict


def judge_token(error):
    """Return the consequences for an account that gets no access token.

    :param WechatError error: the answer to the call that fetches it
    :return: a verdict with pause or suspends
    :rtype: Verdict
    """
    if isinstance(error, WechatAccountError) and error.errcode is not None:
        return Verdict("outgoing", suspends="account")
    return Verdict("outgoing", pause=PAUSES.get(error.errcode, PAUSE))


def is_answered(error):
    """Return whether WeChat has answered a call, if only by an error.

    :param Exception | None error: why the call failed
    :rtype: bool
    """
    return error is None or (isinstance(error, WechatError) and error.errcode is not None)


def _judge_error(attempt, error):
    errcode = getattr(error, "errcode", None)
    delay = _get_delay(RETRY, attempt)
    match error:
        case WechatRetry() if errcode == TOO_OFTEN:
            return Verdict("outgoing", delay=_get_delay(TOO_OFTEN_RETRY, attempt))
        case WechatRetry():
            return Verdict("outgoing", delay=delay)
        case WechatTokenStale():
            if attempt.former_errcode in STALE:
                return _pause(PAUSE, attempt)
            return Verdict("outgoing", is_token_stale=True)
        case WechatPaused():
            return _pause(PAUSES.get(errcode, LONG_PAUSE), attempt)
        case WechatRepeated() if errcode == DUPLICATE and not attempt.is_repeat:
            return Verdict("outgoing", delay=_spread(DUPLICATE_SECONDS))
        case WechatRepeated() | WechatUnderReview():
            return Verdict("sent", may_have_arrived=True)
        case WechatUnreachable():
            return _judge_unreachable(attempt, errcode)
        case WechatTemplateError() if errcode in OF_ONE_MESSAGE:
            return Verdict("failed", "wechat_value")
        case WechatTemplateError() if errcode in PERHAPS_GONE and attempt.number < LISTED_CALLS:
            return Verdict("outgoing", delay=_get_delay(LISTED_RETRY, attempt), suspends="template", looks_up=True)
        case WechatTemplateError():
            return Verdict("outgoing", delay=delay, suspends="template")
        case WechatAccountError():
            return Verdict("outgoing", delay=delay, suspends="account")
        case WechatDataError():
            return Verdict("failed", "wechat_content")
        case WechatBug():
            return Verdict("failed", "wechat_request")
        case WechatError() if not isinstance(error, WechatAmbiguous):
            # A code of unknown meaning: on a repetition it may say that the message was sent before.
            if attempt.is_repeat:
                return Verdict("sent", may_have_arrived=True)
            return Verdict("failed", "wechat_refused")
    pause = BUSY_PAUSE if errcode == BUSY else 0
    return Verdict("outgoing", delay=_get_delay(REPEAT, attempt), may_have_arrived=True, pause=pause)


def _judge_unreachable(attempt, errcode):
    if errcode in NOT_FOLLOWING and attempt.is_new_follower and attempt.former_errcode not in NOT_FOLLOWING:
        return Verdict("outgoing", delay=_spread(NEW_FOLLOWER_RETRY))
    mark = None
    if errcode in NOT_FOLLOWING or errcode in UNKNOWN_OPENID:
        mark = "unfollowed"
    elif errcode in REFUSING:
        mark = "blocked"
    return Verdict("failed", FAILURES.get(errcode, "wechat_refused"), mark=mark)


def _pause(seconds, attempt):
    # The delay grows, so that the end of the next pause is tried with another message.
    return Verdict("outgoing", delay=_get_delay((seconds, RETRY[1]), attempt), pause=seconds)


def _get_delay(bounds, attempt):
    first, longest = bounds
    return _spread(min(first * 4 ** min(attempt.number - 1, 10), longest))


def _spread(seconds):
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311  # nothing to be guessed
