"""What becomes of a message after a call: the one place that knows which failures may be repeated, and when."""

import random
import re
from datetime import timedelta
from typing import NamedTuple

from odoo import api, fields, models
from odoo.tools import LazyTranslate

from ..tools.call_pool import MAX_CALLS, REPEAT_SECONDS
from ..tools.wechat_errors import (
    DAILY_QUOTA,
    ERRORS,
    LINK_TOO_LONG,
    OF_ONE_MESSAGE,
    PERHAPS_GONE,
    UNKNOWN_OPENID,
    VALUE_NOT_ALLOWED,
    ErrorClass,
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
from .wechat_message import EXHAUSTED

_lt = LazyTranslate(__name__)

TOO_OFTEN = 43117
MINUTE_QUOTA = 45011
NOT_FOLLOWING = (43004, 50005)
REFUSING = (43019, 43101, 48002)
# Seconds. After 45009 an hour at a time: WeChat does not say when the day of a quota ends.
PAUSES = {DAILY_QUOTA: 3600, MINUTE_QUOTA: 60}
PAUSE = 60
LONG_PAUSE = 3600
# Somebody who has just followed may be unknown to that part of WeChat that sends.
FOLLOWED_SECONDS = 60
FOLLOWED_RETRY = 30
DUPLICATE_RETRY = 65
TOO_OFTEN_RETRY = 2 * 3600
TOO_OFTEN_RETRY_MAX = 12 * 3600
# The few calls that a message has are spread over many hours: WeChat may be out of reach for so long.
RETRY, RETRY_MAX = 5, 6 * 3600
AMBIGUOUS_RETRY, AMBIGUOUS_RETRY_MAX = 10, 120
# A template that WeChat calls unknown and lists all the same is tried so often, for half an hour, before it is stopped.
LISTED_RETRY, LISTED_RETRY_MAX = 60, 900
LISTED_ATTEMPTS = 5
# What is shown of a link that is too long.
LINK_SHOWN = 80
# Back-offs differ by this share, so that what failed together is not repeated together.
JITTER = 0.25
# Codes after which a message waits for its account.
PAUSING = tuple(
    code
    for code, info in ERRORS.items()
    if isinstance(code, int) and info.error_class in (ErrorClass.PAUSED, ErrorClass.TOKEN_STALE)
)
FAILURE_BY_CODE = {
    **dict.fromkeys(NOT_FOLLOWING, "wechat_unfollowed"),
    **dict.fromkeys(REFUSING, "wechat_blocked"),
    **dict.fromkeys((*UNKNOWN_OPENID, 50002), "wechat_recipient"),
}


class Outcome(NamedTuple):
    """What to write, and what else to do."""

    state: str
    failure_type: str | None = None
    # Seconds until the next attempt; None keeps the place in the queue.
    delay: float | None = None
    # Whether WeChat may have taken the message: it is then repeated for a while only.
    may_have_arrived: bool = False
    # Whether WeChat has said something; None if it was not asked.
    is_answered: bool | None = True
    # Seconds to leave the account alone.
    pause: float = 0
    # What a manager has to look at: "account" or "template".
    stops: str | None = None
    # Whether the template is stopped unless WeChat still lists it.
    looks_up: bool = False
    # What the binding is marked as: "unfollowed" (once confirmed) or "blocked".
    mark: str | None = None
    # Whether it ends because it was called for so often.
    is_exhausted: bool = False


class WechatMessage(models.Model):
    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    @api.model
    def _get_outcome(self, call):
        """Return what becomes of a message after its call.

        :param SendCall call: the call, which has ended or was not made.
        :rtype: Outcome
        """
        if call.answer:
            return Outcome("sent", may_have_arrived=True)
        if not (call.error or call.began_at):
            outcome = Outcome("outgoing", is_answered=None)
        elif not call.began_at:
            outcome = self._get_outcome_without_token(call.error)
        elif not isinstance(call.error, WechatError):
            outcome = self._get_ambiguous_outcome(call)
        else:
            outcome = self._get_refused_outcome(call)
        if call.row["is_repeat"] and outcome.state == "outgoing":
            # Whatever this call has brought: what came of the one before it is as open as ever.
            outcome = outcome._replace(may_have_arrived=True)
        if outcome.state == "outgoing" and call.row["attempts"] - call.unmade >= MAX_CALLS:
            state, failure_type = ("unknown", "wechat_unknown") if outcome.may_have_arrived else EXHAUSTED
            outcome = outcome._replace(state=state, failure_type=failure_type, delay=None, is_exhausted=True)
        return outcome

    @api.model
    def _get_refused_outcome(self, call):
        """Return what becomes of a message after a call of its own that WeChat has not taken as it should."""
        error, row = call.error, call.row
        match error:
            case WechatAmbiguous():
                return self._get_ambiguous_outcome(call)
            case WechatRetry(errcode=None):
                return Outcome("outgoing", delay=self._get_delay(RETRY, RETRY_MAX, row), is_answered=False)
            case WechatRetry(errcode=43117):
                return Outcome("outgoing", delay=self._get_delay(TOO_OFTEN_RETRY, TOO_OFTEN_RETRY_MAX, row))
            case WechatRetry():
                return Outcome("outgoing", delay=self._get_delay(RETRY, RETRY_MAX, row))
            case WechatTokenStale():
                # Its replacement was refused too.
                return self._get_paused_outcome(PAUSE, row)
            case WechatPaused():
                return self._get_paused_outcome(PAUSES.get(error.errcode, LONG_PAUSE), row)
            case WechatRepeated(errcode=40241) if not row["is_repeat"]:
                return Outcome("outgoing", delay=self._spread(DUPLICATE_RETRY))
            case WechatRepeated() | WechatUnderReview():
                return Outcome("sent", may_have_arrived=True)
            case WechatUnreachable():
                return self._get_unreachable_outcome(call)
            case WechatTemplateError() if error.errcode in OF_ONE_MESSAGE:
                return Outcome("failed", "wechat_value")
            case WechatTemplateError() if error.errcode in PERHAPS_GONE and row["attempts"] < LISTED_ATTEMPTS:
                delay = self._get_delay(LISTED_RETRY, LISTED_RETRY_MAX, row)
                return Outcome("outgoing", delay=delay, looks_up=True)
            case WechatTemplateError():
                return Outcome("outgoing", stops="template")
            case WechatAccountError():
                return Outcome("outgoing", stops="account")
            case WechatDataError():
                return Outcome("failed", "wechat_content")
            case WechatBug():
                return Outcome("failed", "wechat_request")
        if row["is_repeat"]:
            return Outcome("sent", may_have_arrived=True)
        return Outcome("failed", "wechat_refused")

    @api.model
    def _get_paused_outcome(self, pause, row):
        """Return what becomes of a message that met a pause of its account: longer each time, so that the end of the
        next pause is tried with another one. It is woken when WeChat takes messages again."""
        return Outcome("outgoing", delay=self._get_delay(pause, RETRY_MAX, row), pause=pause)

    @api.model
    def _get_ambiguous_outcome(self, call):
        """Return what becomes of a message that WeChat may have taken: repeated under its number as long as WeChat
        recognises that, then a person's or a receipt's to explain."""
        row = call.row
        delay = self._get_delay(AMBIGUOUS_RETRY, AMBIGUOUS_RETRY_MAX, row)
        is_answered = isinstance(call.error, WechatError) and call.error.errcode is not None
        again_at = fields.Datetime.now() + timedelta(seconds=delay)
        if again_at >= row["first_call_at"] + timedelta(seconds=REPEAT_SECONDS):
            return Outcome("unknown", "wechat_unknown", may_have_arrived=True, is_answered=is_answered)
        return Outcome("outgoing", delay=delay, may_have_arrived=True, is_answered=is_answered)

    @api.model
    def _get_unreachable_outcome(self, call):
        """Return what becomes of a message to somebody who can't be reached."""
        errcode, row = call.error.errcode, call.row
        if (
            errcode in NOT_FOLLOWING
            and row["former_errcode"] not in NOT_FOLLOWING
            and row["last_event_at"]
            and call.began_at <= row["last_event_at"] + timedelta(seconds=FOLLOWED_SECONDS)
        ):
            return Outcome("outgoing", delay=self._spread(FOLLOWED_RETRY))
        mark = None
        if errcode in NOT_FOLLOWING or errcode in UNKNOWN_OPENID:
            mark = "unfollowed"
        elif errcode in REFUSING:
            mark = "blocked"
        return Outcome("failed", FAILURE_BY_CODE.get(errcode, "wechat_refused"), mark=mark)

    @api.model
    def _get_outcome_without_token(self, error):
        """Return what becomes of a message that was not sent because no access token could be had."""
        if isinstance(error, WechatAccountError) and error.errcode is not None:
            return Outcome("outgoing", is_answered=None, stops="account")
        pause = PAUSES.get(error.errcode, PAUSE) if isinstance(error, WechatPaused) else PAUSE
        return Outcome("outgoing", is_answered=None, pause=pause)

    @api.model
    def _get_delay(self, first, longest, row):
        """Return the seconds until a message is tried again: each time four times as long."""
        return self._spread(min(first * 4 ** min(row["attempts"] - 1, 10), longest))

    @api.model
    def _spread(self, seconds):
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311  # nothing to be guessed

    @api.model
    def _get_exhausted_term(self):
        """Return what it means that a message was called for as often as may be, to be translated by its reader.

        :rtype: LazyGettext
        """
        return _lt(
            "WeChat was called for this message %s times and is not called for it again. Send it again once the "
            "reason is gone.",
            MAX_CALLS,
        )

    @api.model
    def _get_failure_message(self, account, error, card=None):
        """Return what a failure means and what to do, in words.

        :param wechat.account account: in the language of the reader.
        :param Exception error: what the call has brought.
        :param dict card: what was sent.
        :rtype: str
        """
        terms = self._get_failure_terms(account, error, card)
        return "\n".join(term if isinstance(term, str) else account.env._(term) for term in terms)

    @api.model
    def _get_failure_terms(self, account, error, card=None):
        """Return the lines of :meth:`_get_failure_message`, see :func:`~.term_text.encode_terms`.

        :rtype: list
        """
        if not isinstance(error, WechatError):
            return [f"{type(error).__name__}: {error}"]
        terms = account._get_error_terms(error)
        if error.errcode == VALUE_NOT_ALLOWED and (keyword := re.search(r"data\.(\w+)\.value", error.errmsg)):
            terms.insert(0, _lt("Keyword %s is not allowed.", keyword[1]))
        if error.errcode == LINK_TOO_LONG and (link := (card or {}).get("url")):
            # Without its query, which may hold the key to a document.
            shown = link.partition("?")[0][:LINK_SHOWN]
            terms.insert(0, _lt("Link of %(length)s characters: %(link)s…", length=len(link), link=shown))
        return terms
