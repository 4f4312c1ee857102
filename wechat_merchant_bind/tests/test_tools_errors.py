import inspect
import io

from babel.messages.extract import extract_python

from odoo.tests import BaseCase, tagged

from ..tools import wechat_errors
from ..tools.wechat_errors import ErrorClass

# The table of WeChat's error codes, by what each means for us
CODES = {
    wechat_errors.WechatRetry: (43108, 43117),
    wechat_errors.WechatAmbiguous: (-1,),
    wechat_errors.WechatTokenStale: (40001, 40014, 42001),
    wechat_errors.WechatUnreachable: (43004, 43019, 43101, 48002, 50005, 46004, 40003, 50002, 45015, 45047),
    wechat_errors.WechatTemplateError: (40037, 43100, 47003, 40165, 45026, 40246),
    wechat_errors.WechatAccountError: (
        *(40013, 40125, 41004, 41002, 40243, 40164, 61004, 48001, 48004, 43107, 45029),
        *range(89501, 89508),
    ),
    wechat_errors.WechatUnderReview: (40252,),
    wechat_errors.WechatPaused: (45009, 45011, 48006),
    wechat_errors.WechatRepeated: (40241, 45065, 45066),
    wechat_errors.WechatBug: (41001, 47001, 40033, 76003),
    wechat_errors.WechatDataError: (45168,),
    wechat_errors.WechatUnknown: (42007, 43116),
}
SEND = "/cgi-bin/message/template/send"


@tagged("post_install", "-at_install", "wechat_tools")
class TestErrors(BaseCase):
    def test_every_code_has_its_class(self):
        for exception_class, codes in CODES.items():
            for code in codes:
                with self.subTest(code):
                    error = wechat_errors.from_response(SEND, code, "text")
                    self.assertIs(type(error), exception_class)
                    self.assertEqual((error.errcode, error.path, error.errmsg), (code, SEND, "text"))
                    self.assertEqual(error.info, wechat_errors.ERRORS[code])
                    self.assertEqual(error.info, wechat_errors.info(code))
        self.assertEqual(set(wechat_errors.ERRORS), {code for codes in CODES.values() for code in codes})

    def test_every_class_has_its_exception(self):
        self.assertEqual(
            {wechat_errors.from_response(SEND, codes[0], "").info.error_class for codes in CODES.values()},
            set(ErrorClass),
        )

    def test_not_sent_is_a_retry_and_no_other_is(self):
        error = wechat_errors.WechatNotSent(SEND, errmsg="Connection refused")
        self.assertIsInstance(error, wechat_errors.WechatRetry)
        self.assertEqual(error.info.error_class, ErrorClass.RETRY)
        self.assertNotIsInstance(wechat_errors.from_response(SEND, -1, ""), wechat_errors.WechatRetry)

    def test_no_errcode(self):
        error = wechat_errors.WechatAmbiguous(SEND, errmsg="HTTP status 502")
        self.assertIsNone(error.errcode)
        self.assertEqual(error.info.error_class, ErrorClass.AMBIGUOUS)
        self.assertEqual(str(error), f"{SEND}: HTTP status 502")

    def test_codes_as_text(self):
        self.assertIs(type(wechat_errors.from_response(SEND, "42001", "")), wechat_errors.WechatTokenStale)
        self.assertIs(type(wechat_errors.from_response(SEND, "-1", "")), wechat_errors.WechatAmbiguous)
        self.assertEqual(wechat_errors.from_response(SEND, "42001", "").errcode, 42001)

    def test_unreadable_codes(self):
        for errcode in ("", "abc", "0x1", 1.5, True, [], {}, "9" * 5000, 2**31, -(2**31) - 1):
            with self.subTest(repr(errcode)[:20]):
                error = wechat_errors.from_response(SEND, errcode, "text")
                self.assertIs(type(error), wechat_errors.WechatAmbiguous)
                self.assertIsNone(error.errcode)
                self.assertIn("text", error.errmsg)

    def test_unknown_codes_are_kept(self):
        for code in (99999, 1, -2, 2**31 - 1):
            error = wechat_errors.from_response(SEND, code, "never heard of rid: 5f9b-1a")
            self.assertIs(type(error), wechat_errors.WechatUnknown)
            self.assertEqual(error.info.error_class, ErrorClass.UNKNOWN)
            self.assertEqual(str(error), f"{SEND}: {code} never heard of rid: 5f9b-1a")

    def test_wrong_secret(self):
        """40001 of a call that fetches a token is no stale token: fetching again would never end."""
        for path in ("/cgi-bin/stable_token", "/cgi-bin/token"):
            error = wechat_errors.from_response(path, 40001, "invalid credential")
            self.assertIs(type(error), wechat_errors.WechatAccountError)
            self.assertEqual(error.errcode, 40001)
            self.assertEqual(error.info, wechat_errors.info(40125))

    def test_rid(self):
        for errmsg, rid in (
            ("invalid openid rid: 5f9b1c8c-2a1b2c3d-4e5f6a7b", "5f9b1c8c-2a1b2c3d-4e5f6a7b"),
            ("invalid openid, rid:5f9b1c8c", "5f9b1c8c"),
            ("rid: 5f9b1c8c, view more at https://mmbizurl.cn/s/JtxxFh33r", "5f9b1c8c"),
            ("grid: 1", None),
            ("", None),
            (None, None),
        ):
            with self.subTest(errmsg):
                self.assertEqual(wechat_errors.from_response(SEND, 40003, errmsg).rid, rid)

    def test_endless_text_is_cut(self):
        self.assertEqual(len(wechat_errors.from_response(SEND, 40003, "x" * 100_000).errmsg), 500)

    def test_texts_can_be_translated(self):
        """Odoo finds the texts by the name of the function around them."""
        source = io.BytesIO(inspect.getsource(wechat_errors).encode())
        terms = {term for _line, _function, term, _comments in extract_python(source, ["_lt"], [], {})}
        rows = [*wechat_errors.ERRORS.values(), wechat_errors.info(99999)]
        rows += [error(SEND).info for error in (wechat_errors.WechatNotSent, wechat_errors.WechatAmbiguous)]
        for row in rows:
            for text in (row.meaning, row.remedy):
                self.assertIn(text, terms)
                self.assertRegex(text, r"\A[A-Z].*\.\Z")

    def test_invalid_ip(self):
        for errmsg, address in (
            ("invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 63c4-5a-7b", "1.2.3.4"),
            ("invalid ip 1.2.3.4, not in whitelist", "1.2.3.4"),
            ("access clientip is not registered, not in ip-white-list, requestIP: 203.0.113.7 rid: 1-2", "203.0.113.7"),
            ("requestIP:203.0.113.7", "203.0.113.7"),
            ("the address is 203.0.113.7.", "203.0.113.7"),
            ("invalid ip ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"),
            ("invalid ip 2001:DB8::1 ipv6 2001:DB8::1, not in whitelist", "2001:db8::1"),
            ("invalid ip 2001:db8:0:0:1:0:0:1, not in whitelist", "2001:db8::1:0:0:1"),
            ("invalid ip 999.2.3.4 ipv6 2001:db8::1, not in whitelist", "2001:db8::1"),
            ("invalid ip 1.2.3.4.5, not in whitelist", None),
            ("not in whitelist rid: 63c45e5a-0a1b2c3d-7b", None),
            ("", None),
            (None, None),
        ):
            with self.subTest(errmsg):
                self.assertEqual(wechat_errors.invalid_ip(errmsg), address)
