"""The policy of sending, without a database."""

import itertools
import random

from odoo.tests import BaseCase, tagged

from ...tools.send_policy import MAX_CALLS, REPEAT_SECONDS, Attempt, is_answered, judge, judge_token
from ...tools.wechat_errors import ERRORS, SEND_PATH, TOKEN_PATHS, WechatAmbiguous, WechatNotSent, from_response

NO_ANSWER, NOT_SENT = WechatAmbiguous(SEND_PATH), WechatNotSent(SEND_PATH)
REPEATED, SENT = ("outgoing", None), ("sent", None)
# State and failure type after the first call, by code. Of the codes with a consequence beyond the message, see below.
FIRST = {
    **dict.fromkeys((-1, 268487002, 43108, 43117, 40241, 45009, 45011, 48006, 40001, 40014, 42001), REPEATED),
    **dict.fromkeys((45065, 45066, 40252), SENT),
    **dict.fromkeys((43004, 50005), ("failed", "wechat_unfollowed")),
    **dict.fromkeys((43019, 43101, 48002), ("failed", "wechat_blocked")),
    **dict.fromkeys((40003, 46004, 50002), ("failed", "wechat_recipient")),
    **dict.fromkeys((40039, 47003), ("failed", "wechat_value")),
    **dict.fromkeys((40249, 45168), ("failed", "wechat_content")),
    **dict.fromkeys((40033, 41001, 45067, 47001, 76003, 76021), ("failed", "wechat_request")),
    **dict.fromkeys((45015, 45047, 42007), ("failed", "wechat_refused")),
}
BY_TEMPLATE = (40013, 40036, 40037, 40165, 40166, 43100, 43116)
PERHAPS_GONE = (40037, 43100)
BY_ACCOUNT = (
    40125, 40164, 40243, 41002, 41004, 43107, 48001, 48004, 61004, 89501, 89502, 89503, 89504, 89505, 89506, 89507,
)  # fmt: skip
PAUSES = {45009: 3600, 45011: 60, 48006: 3600, -1: 5}
# Codes whose meaning for another call is known, and unknown ones.
UNKNOWN = (40246, 40247, 45026, 45029, 76022, 1, 99999)
CODES = sorted({code if isinstance(code, int) else code[1] for code in ERRORS} | set(UNKNOWN))


def refuse(errcode, path=SEND_PATH):
    """Return the error of a call that WeChat has answered by a code."""
    return from_response(path, errcode, "text")


@tagged("post_install", "-at_install", "wechat_tools")
class TestSendPolicy(BaseCase):
    def test_every_code_after_the_first_call(self):
        for code in CODES:
            with self.subTest(code):
                verdict = judge(Attempt(), refuse(code))
                if code in (*BY_TEMPLATE, *BY_ACCOUNT):
                    expected = REPEATED
                else:
                    expected = FIRST.get(code, ("failed", "wechat_refused"))
                self.assertEqual((verdict.state, verdict.failure_type), expected)
                suspends = "template" if code in BY_TEMPLATE else "account" if code in BY_ACCOUNT else None
                self.assertEqual((verdict.suspends, verdict.looks_up), (suspends, code in PERHAPS_GONE))
                self.assertEqual(verdict.pause, PAUSES.get(code, 0))
                self.assertEqual(verdict.is_token_stale, code in (40001, 40014, 42001))
                self.assertTrue(is_answered(refuse(code)))

    def test_every_code_after_a_call_that_may_have_arrived(self):
        """No message is told to have failed if an earlier call may have sent it, unless WeChat says why."""
        for code in CODES:
            with self.subTest(code):
                verdict = judge(Attempt(2, is_repeat=True, seconds=20), refuse(code))
                if code in UNKNOWN or code in (40241, 42007):
                    self.assertEqual(verdict.state, "sent")
                elif verdict.state == "outgoing":
                    self.assertTrue(verdict.may_have_arrived)
                elif verdict.state == "unknown":
                    self.assertGreater(verdict.delay + 20, REPEAT_SECONDS)

    def test_marks(self):
        for code, mark in (
            (43004, "unfollowed"),
            (50005, "unfollowed"),
            (40003, "unfollowed"),
            (46004, "unfollowed"),
            (48002, "blocked"),
            (43019, "blocked"),
            (50002, None),
            (47003, None),
        ):
            self.assertEqual(judge(Attempt(), refuse(code)).mark, mark, code)

    def test_new_follower_is_tried_once_more(self):
        for code in (43004, 50005):
            verdict = judge(Attempt(is_new_follower=True), refuse(code))
            self.assertEqual((verdict.state, verdict.mark), ("outgoing", None))
            again = judge(Attempt(2, former_errcode=code, is_new_follower=True), refuse(code))
            self.assertEqual((again.state, again.mark), ("failed", "unfollowed"))

    def test_stale_token(self):
        """The replacement of a stale token that is refused too pauses the account."""
        self.assertEqual(judge(Attempt(), refuse(40001)).delay, 0)
        again = judge(Attempt(2, former_errcode=42001), refuse(40001))
        self.assertEqual((again.pause, again.is_token_stale), (60, False))

    def test_listed_template_is_suspended_after_some_calls(self):
        looks_up = [judge(Attempt(number), refuse(40037)).looks_up for number in range(1, 7)]
        self.assertEqual(looks_up, [True] * 4 + [False] * 2)

    def test_no_token(self):
        for error, pause, suspends in (
            (refuse(40125, TOKEN_PATHS[0]), 0, "account"),
            (refuse(45009, TOKEN_PATHS[0]), 3600, None),
            (refuse(-1, TOKEN_PATHS[0]), 60, None),
            (NOT_SENT, 60, None),
            (NO_ANSWER, 60, None),
        ):
            verdict = judge_token(error)
            self.assertEqual((verdict.pause, verdict.suspends), (pause, suspends), error)

    def test_no_answer(self):
        for error in (NO_ANSWER, ValueError("x")):
            verdict = judge(Attempt(), error)
            self.assertTrue(verdict.may_have_arrived and not is_answered(error))
        self.assertFalse(judge(Attempt(), NOT_SENT).may_have_arrived)
        self.assertEqual(judge(Attempt(2, is_repeat=True, seconds=REPEAT_SECONDS - 1), NO_ANSWER).state, "unknown")


@tagged("post_install", "-at_install", "wechat_tools")
class TestLimits(BaseCase):
    """Every sequence of answers ends a message within the limits."""

    ANSWERS = [*(refuse(code) for code in CODES), NO_ANSWER, NOT_SENT, ValueError("x")]

    def _play(self, answers, state=None):
        """Call until the message ends.

        :param list answers: the error of each call; the last one is repeated
        :param dict state: as an earlier process has left it
        """
        attempt = Attempt(**(state or {}))
        now, first = attempt.seconds, 0 if attempt.is_repeat else None
        for call in itertools.count():
            self.assertLessEqual(attempt.number, MAX_CALLS, answers)
            self.assertTrue(first is None or now - first < REPEAT_SECONDS, answers)
            error = answers[min(call, len(answers) - 1)]
            verdict = judge(attempt, error)
            if verdict.state != "outgoing":
                return verdict
            if verdict.may_have_arrived and first is None:
                first = now
            elif not verdict.may_have_arrived:
                first = None
            now += verdict.delay
            attempt = Attempt(
                attempt.number + 1,
                first is not None,
                0 if first is None else now - first,
                getattr(error, "errcode", None),
                attempt.is_new_follower,
            )
        return None

    def test_one_answer_again_and_again(self):
        for error in self.ANSWERS:
            with self.subTest(error=error):
                self.assertIn(self._play([error]).state, ("sent", "failed", "unknown"))

    def test_two_answers_in_turn(self):
        for pair in itertools.product(self.ANSWERS, repeat=2):
            self._play(list(pair) * MAX_CALLS)

    def test_any_answers_from_any_state(self):
        chance = random.Random(14)  # a fixed seed
        for _number in range(20_000):
            answers = chance.choices(self.ANSWERS, k=MAX_CALLS)
            state = {
                "number": chance.randint(1, MAX_CALLS),
                "is_repeat": (is_repeat := chance.random() < 0.5),
                "seconds": chance.uniform(0, REPEAT_SECONDS - 1) if is_repeat else 0,
                "former_errcode": chance.choice(CODES),
                "is_new_follower": chance.random() < 0.5,
            }
            self.assertIn(self._play(answers, state).state, ("sent", "failed", "unknown"))
