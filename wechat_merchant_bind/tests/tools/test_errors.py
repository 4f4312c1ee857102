import inspect
import io
import itertools

from babel.messages.extract import extract_python

from odoo.tests import BaseCase, tagged

from ...tools import wechat_errors
from ...tools.wechat_errors import ErrorClass

SEND = wechat_errors.SEND_PATH
TOKEN, PLAIN_TOKEN = wechat_errors.TOKEN_PATHS
QR = wechat_errors.QR_PATH
USER = wechat_errors.USER_PATH
USERS = wechat_errors.USERS_PATH
FOLLOWERS = wechat_errors.FOLLOWERS_PATH
QUOTA = wechat_errors.QUOTA_PATH
ADD = wechat_errors.ADD_TEMPLATE_PATH
CHANGE = wechat_errors.CHANGE_OPENID_PATH
TEMPLATES = "/cgi-bin/template/get_all_private_template"
PATHS = (SEND, TOKEN, PLAIN_TOKEN, QR, USER, USERS, FOLLOWERS, QUOTA, ADD, CHANGE, TEMPLATES)
# The classes of the error codes, for every call.
CODES = {
    wechat_errors.WechatRetry: (43108, 43117),
    wechat_errors.WechatAmbiguous: (-1,),
    wechat_errors.WechatTokenStale: (40014, 42001),
    wechat_errors.WechatUnreachable: (43004, 43019, 43101, 48002, 50005, 46004, 40003, 45015, 45047),
    wechat_errors.WechatTemplateError: (40036, 40037, 40039, 43100, 43116, 47003, 40165, 40166),
    wechat_errors.WechatAccountError: (
        *(40125, 41004, 41002, 40243, 40164, 61004, 48001, 48004, 43107),
        *range(89501, 89508),
    ),
    wechat_errors.WechatUnderReview: (40252,),
    wechat_errors.WechatPaused: (45009, 45011, 48006),
    wechat_errors.WechatRepeated: (40241, 45065, 45066),
    wechat_errors.WechatBug: (41001, 45067, 47001, 40033, 76003, 76021),
    wechat_errors.WechatDataError: (45168, 40249),
    wechat_errors.WechatUnknown: (42007,),
}
# Classes that depend on the call: for some calls, and for all others.
CODES_BY_CALL = {
    40001: ({(TOKEN, PLAIN_TOKEN): wechat_errors.WechatAccountError}, wechat_errors.WechatTokenStale),
    40013: ({(SEND,): wechat_errors.WechatTemplateError}, wechat_errors.WechatAccountError),
    50002: ({(SEND, USER, USERS): wechat_errors.WechatUnreachable}, wechat_errors.WechatAccountError),
    45029: ({(QR,): wechat_errors.WechatAccountError}, wechat_errors.WechatUnknown),
    45026: ({(ADD,): wechat_errors.WechatTemplateError}, wechat_errors.WechatUnknown),
    40246: ({(ADD,): wechat_errors.WechatTemplateError}, wechat_errors.WechatUnknown),
    40247: ({(ADD,): wechat_errors.WechatTemplateError}, wechat_errors.WechatUnknown),
    76022: ({(QUOTA,): wechat_errors.WechatAccountError}, wechat_errors.WechatUnknown),
    268487002: ({(FOLLOWERS,): wechat_errors.WechatRetry}, wechat_errors.WechatAmbiguous),
}


@tagged("post_install", "-at_install", "wechat_tools")
class TestErrors(BaseCase):
    def test_every_code_has_its_class(self):
        for exception_class, codes in CODES.items():
            for code, path in itertools.product(codes, PATHS):
                with self.subTest(code=code, path=path):
                    error = wechat_errors.from_response(path, code, "text")
                    self.assertIs(type(error), exception_class)
                    self.assertEqual((error.errcode, error.path, error.errmsg), (code, path, "text"))
                    self.assertEqual(error.info, wechat_errors.info(path, code))

    def test_class_of_a_code_depends_on_the_call(self):
        for code, (some, others) in CODES_BY_CALL.items():
            classes = {path: exception_class for paths, exception_class in some.items() for path in paths}
            for path in PATHS:
                with self.subTest(code=code, path=path):
                    error = wechat_errors.from_response(path, code, "text")
                    self.assertIs(type(error), classes.get(path, others))
                    self.assertEqual(error.info, wechat_errors.info(path, code))
                    self.assertEqual(wechat_errors.WechatError(path, code).info, error.info, "The same as in the log")

    def test_no_code_of_the_table_is_untested(self):
        tested = {code for codes in CODES.values() for code in codes} | set(CODES_BY_CALL)
        self.assertEqual({key[1] if isinstance(key, tuple) else key for key in wechat_errors.ERRORS}, tested)

    def test_template_errors_are_no_account_errors(self):
        """For a mini program that is not linked, WeChat returns the code of a wrong AppID."""
        for code in (40013, 40036, 43116):
            info = wechat_errors.info(SEND, code)
            self.assertEqual(info.error_class, ErrorClass.TEMPLATE)
            self.assertNotEqual(info.meaning, wechat_errors.info(TOKEN, 40013).meaning)
        self.assertIn("link", wechat_errors.info(SEND, 40039).meaning)
        self.assertIn("mini program", wechat_errors.info(SEND, 40013).meaning)

    def test_the_app_id_of_a_move_is_the_former_one(self):
        self.assertIn("former", wechat_errors.info(CHANGE, 40013).meaning)

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
        """40001 of a call that fetches a token is no stale token: the client would fetch tokens forever."""
        for path in ("/cgi-bin/stable_token", "/cgi-bin/token"):
            error = wechat_errors.from_response(path, 40001, "invalid credential")
            self.assertIs(type(error), wechat_errors.WechatAccountError)
            self.assertEqual(error.errcode, 40001)
            self.assertEqual(error.info, wechat_errors.info(path, 40125))

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
        """Odoo extracts the arguments of _lt."""
        source = io.BytesIO(inspect.getsource(wechat_errors).encode())
        terms = {term for _line, _function, term, _comments in extract_python(source, ["_lt"], [], {})}
        rows = [*wechat_errors.ERRORS.values(), wechat_errors.info(SEND, 99999)]
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
