"""The table of WeChat's error codes, with the class, the meaning and the remedy of each.

Sources: WeChat's list of error codes (https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html),
the error tables of the SDK WxJava, and WeChat's developer community for 40241, 40249, 40252, 43116, 43117, 45065, 45066
and 45067, and for 40013 as the answer to a template message.
"""

import enum
import ipaddress
import re
from typing import NamedTuple


class ErrorClass(enum.Enum):
    """The consequence of an error for its call."""

    RETRY = "retry"  # certainly not done: repeat later
    AMBIGUOUS = "ambiguous"  # perhaps done: repeat only if WeChat recognises the repetition
    TOKEN_STALE = "token_stale"  # nosec B105  # not done: repeat once with a fresh access token
    UNREACHABLE = "unreachable"  # this recipient cannot get messages
    TEMPLATE = "template"  # messages of this template, or with these values, cannot be sent
    ACCOUNT = "account"  # an admin must correct the account or its settings
    UNDER_REVIEW = "under_review"  # WeChat decides later: never repeat
    PAUSED = "paused"  # not done: the quota of this API of this account is used up
    REPEATED = "repeated"  # WeChat regards it as a repetition of an earlier call
    BUG = "bug"  # our request was malformed
    DATA = "data"  # the content was refused
    UNKNOWN = "unknown"  # never repeated, shown verbatim


class ErrorInfo(NamedTuple):
    """A row of the table. Meaning and remedy are English sentences to translate."""

    error_class: ErrorClass
    meaning: str
    remedy: str


# Paths of the calls with special meanings of error codes.
TOKEN_PATHS = ("/cgi-bin/stable_token", "/cgi-bin/token")
SEND_PATH = "/cgi-bin/message/template/send"
ADD_TEMPLATE_PATH = "/cgi-bin/template/api_add_template"
QR_PATH = "/cgi-bin/qrcode/create"
USER_PATH = "/cgi-bin/user/info"
USERS_PATH = "/cgi-bin/user/info/batchget"
FOLLOWERS_PATH = "/cgi-bin/user/get"
QUOTA_PATH = "/cgi-bin/openapi/quota/get"
CHANGE_OPENID_PATH = "/cgi-bin/changeopenid"


def _lt(text):
    # Odoo's term extraction looks for this name. The text is translated when it is shown.
    return text


_SEND_LATER = _lt("Nothing to do: Odoo sends it later.")
_NEW_TOKEN = _lt("Nothing to do: Odoo fetches a new access token and repeats the call once.")
_REPORT = _lt("Report this to the developer of the module, with WeChat's text and the rid.")
_FOLLOW_AGAIN = _lt("Ask the merchant to follow the Official Account again.")
_CHECK_APP_ID = _lt("Copy the AppID from WeChat's developer platform again.")
_CHECK_SECRET = _lt(
    "Copy the AppSecret from WeChat's developer platform again, or reset it there if it is no longer known."
)
_ALLOW_IP = _lt("Add the address in WeChat's text to the IP allow-list on WeChat's developer platform.")
_CONFIRM_IP = _lt("Let the administrator of the Official Account confirm the request in WeChat, then try again.")
_CHECK_RIGHTS = _lt("Check in WeChat's console that the account is a verified Service Account and has this right.")
_SYNC_TEMPLATES = _lt("Synchronise the templates and choose one that still exists.")
_CHANGE_TEXT = _lt("Change the text and send it again.")
_BUSY = ErrorInfo(
    ErrorClass.AMBIGUOUS,
    _lt("WeChat is busy and does not say whether it did the work."),
    _lt("Try again in a moment."),
)
_WRONG_SECRET = ErrorInfo(ErrorClass.ACCOUNT, _lt("The AppSecret is wrong."), _CHECK_SECRET)
_MINI_PROGRAM = ErrorInfo(
    ErrorClass.TEMPLATE,
    _lt("The mini program of the template is not linked to the Official Account, or its AppID is wrong."),
    _lt("Link the mini program to the Official Account in WeChat's console, or correct its AppID in the template."),
)
_RESTRICTED_RECIPIENT = ErrorInfo(
    ErrorClass.UNREACHABLE,
    _lt("The merchant's WeChat account or the Official Account is restricted."),
    _lt("If it happens to many merchants, look for a notice in WeChat's console."),
)
_UNKNOWN_API = ErrorInfo(ErrorClass.BUG, _lt("The request named an API that does not exist."), _REPORT)

# By error code; by path and error code if the code has a special meaning for that call.
ERRORS = {
    # --- may be repeated ---
    -1: _BUSY,
    268487002: _BUSY,
    (FOLLOWERS_PATH, 268487002): _BUSY._replace(error_class=ErrorClass.RETRY),
    43108: ErrorInfo(
        ErrorClass.RETRY, _lt("Several messages were sent to the same follower at the same time."), _SEND_LATER
    ),
    43117: ErrorInfo(
        ErrorClass.RETRY,
        _lt("This follower was sent too many messages in a short time."),
        _lt("Send this merchant fewer messages; Odoo tries again after some hours."),
    ),
    45009: ErrorInfo(
        ErrorClass.PAUSED,
        _lt("The daily quota of this API is used up."),
        _lt("Wait until the next day, or ask for a higher quota in WeChat's console."),
    ),
    45011: ErrorInfo(
        ErrorClass.PAUSED,
        _lt("This API was called too often within a minute."),
        _lt("Wait a minute, and lower the send rate of the account if it happens often."),
    ),
    48006: ErrorInfo(
        ErrorClass.PAUSED,
        _lt("The quota was reset too often this month."),
        _lt("Wait until the next month."),
    ),
    40241: ErrorInfo(
        ErrorClass.REPEATED,
        _lt("WeChat takes this for a repetition of a message sent within the last 60 seconds."),
        _lt("Ask the merchant whether the message has arrived before you send it again."),
    ),
    45065: ErrorInfo(
        ErrorClass.REPEATED,
        _lt("WeChat has already accepted a message with this number."),
        _lt("Ask the merchant whether the message has arrived before you send it again."),
    ),
    45066: ErrorInfo(
        ErrorClass.REPEATED,
        _lt("A message with this number was sent a moment before."),
        _lt("Ask the merchant whether the message has arrived before you send it again."),
    ),
    40252: ErrorInfo(
        ErrorClass.UNDER_REVIEW,
        _lt("WeChat reviews the content of this message."),
        _lt("Wait: WeChat delivers or blocks it within 30 minutes."),
    ),
    # --- access token ---
    40001: ErrorInfo(ErrorClass.TOKEN_STALE, _lt("The access token is not the latest one."), _NEW_TOKEN),
    40014: ErrorInfo(ErrorClass.TOKEN_STALE, _lt("The access token is not valid."), _NEW_TOKEN),
    42001: ErrorInfo(ErrorClass.TOKEN_STALE, _lt("The access token has expired."), _NEW_TOKEN),
    # --- recipient ---
    43004: ErrorInfo(ErrorClass.UNREACHABLE, _lt("The merchant does not follow the Official Account."), _FOLLOW_AGAIN),
    50005: ErrorInfo(
        ErrorClass.UNREACHABLE, _lt("The merchant does not follow the Official Account any more."), _FOLLOW_AGAIN
    ),
    43019: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("The merchant is on the blacklist of the Official Account."),
        _lt("Take the merchant off the blacklist in WeChat's console."),
    ),
    43101: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("The merchant has not agreed to messages of this kind."),
        _lt("Ask the merchant to allow them in WeChat."),
    ),
    48002: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("The merchant has switched off the messages of the Official Account."),
        _lt("Ask the merchant to switch them on again in WeChat."),
    ),
    46004: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("This WeChat user does not exist."),
        _lt("Unbind the merchant and bind the merchant again."),
    ),
    40003: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("The OpenID is not one of this Official Account."),
        _lt("If it happens to many merchants, check that the AppID is the one they were bound with."),
    ),
    **dict.fromkeys([(path, 50002) for path in (SEND_PATH, USER_PATH, USERS_PATH)], _RESTRICTED_RECIPIENT),
    45015: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("The time to answer this user has passed, or the user does not follow any more."),
        _lt("Send a template message instead."),
    ),
    45047: ErrorInfo(
        ErrorClass.UNREACHABLE,
        _lt("This user was already sent as many answers as WeChat allows."),
        _lt("Send a template message instead."),
    ),
    # --- template and content ---
    40037: ErrorInfo(
        ErrorClass.TEMPLATE, _lt("The Official Account has no template with this number."), _SYNC_TEMPLATES
    ),
    40036: ErrorInfo(ErrorClass.TEMPLATE, _lt("The number of the template has a wrong length."), _SYNC_TEMPLATES),
    43116: ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("WeChat has banned this template."),
        _lt("Look for the notice in WeChat's console, and use another template."),
    ),
    43100: ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The template was changed too often, or WeChat has withdrawn it."),
        _SYNC_TEMPLATES,
    ),
    47003: ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("A value is empty or breaks the rules of its field; WeChat's text names the field."),
        _lt("Correct that line of the template."),
    ),
    40039: ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The link of the template is longer than WeChat takes."),
        _lt("Shorten the link of the template."),
    ),
    40165: ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The mini program has no such page."),
        _lt("Correct the page that the template opens."),
    ),
    40166: _MINI_PROGRAM,
    (SEND_PATH, 40013): _MINI_PROGRAM,
    (ADD_TEMPLATE_PATH, 45026): ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The Official Account has as many templates as WeChat allows."),
        _lt("Delete a template that is not used in WeChat's console."),
    ),
    (ADD_TEMPLATE_PATH, 40246): ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The template of the library has no such keywords."),
        _lt("Copy the names of the keywords from WeChat's library, in the order in which the card shall show them."),
    ),
    (ADD_TEMPLATE_PATH, 40247): ErrorInfo(
        ErrorClass.TEMPLATE,
        _lt("The template of the library belongs to a service category that the Official Account does not have."),
        _lt("Choose a template of one of the account's service categories, or add the category in WeChat's console."),
    ),
    45168: ErrorInfo(ErrorClass.DATA, _lt("The message holds a word that WeChat does not allow."), _CHANGE_TEXT),
    40249: ErrorInfo(ErrorClass.DATA, _lt("WeChat has blocked the message because of its content."), _CHANGE_TEXT),
    # --- account ---
    40013: ErrorInfo(ErrorClass.ACCOUNT, _lt("The AppID is wrong."), _CHECK_APP_ID),
    (CHANGE_OPENID_PATH, 40013): ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("WeChat knows of no move from the former Official Account to this one, or it was too long ago."),
        _lt("Compare both AppIDs with WeChat's console, and wait until the move is completed there."),
    ),
    41002: ErrorInfo(ErrorClass.ACCOUNT, _lt("The AppID is missing."), _CHECK_APP_ID),
    40125: _WRONG_SECRET,
    # The call fetches the access token, so no token can be stale.
    **dict.fromkeys([(path, 40001) for path in TOKEN_PATHS], _WRONG_SECRET),
    41004: ErrorInfo(ErrorClass.ACCOUNT, _lt("The AppSecret is missing."), _CHECK_SECRET),
    40243: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("The AppSecret is frozen."),
        _lt("Unfreeze it on WeChat's developer platform; that takes effect after 10 minutes."),
    ),
    40164: ErrorInfo(ErrorClass.ACCOUNT, _lt("WeChat does not know the address of this server."), _ALLOW_IP),
    61004: ErrorInfo(ErrorClass.ACCOUNT, _lt("WeChat does not know the address of this server."), _ALLOW_IP),
    **dict.fromkeys(
        (89501, 89502, 89503, 89504, 89505),
        ErrorInfo(
            ErrorClass.ACCOUNT,
            _lt("The administrator of the Official Account must confirm this server's address."),
            _CONFIRM_IP,
        ),
    ),
    89506: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("The administrator of the Official Account refused this server's address twice."),
        _lt("Agree with the administrator and try again after 24 hours."),
    ),
    89507: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("The administrator of the Official Account refused this server's address."),
        _lt("Agree with the administrator and try again after one hour."),
    ),
    48001: ErrorInfo(ErrorClass.ACCOUNT, _lt("The Official Account has no right to use this API."), _CHECK_RIGHTS),
    48004: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("WeChat has banned the Official Account from this API because of a violation."),
        _lt("Look for the notice in WeChat's console and follow it."),
    ),
    43107: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("WeChat has banned the Official Account from sending subscription messages."),
        _lt("Look for the notice in WeChat's console and follow it."),
    ),
    50002: ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("WeChat has restricted the Official Account."),
        _lt("Look for the notice in WeChat's console and follow it."),
    ),
    (QUOTA_PATH, 76022): ErrorInfo(
        ErrorClass.ACCOUNT, _lt("The Official Account may not ask for the quota of this API."), _CHECK_RIGHTS
    ),
    (QR_PATH, 45029): ErrorInfo(
        ErrorClass.ACCOUNT,
        _lt("The Official Account has as many QR codes as WeChat allows."),
        _lt("Use temporary codes instead of permanent ones."),
    ),
    # --- our mistakes ---
    40033: ErrorInfo(ErrorClass.BUG, _lt("The request had escaped characters."), _REPORT),
    41001: ErrorInfo(ErrorClass.BUG, _lt("The request had no access token."), _REPORT),
    47001: ErrorInfo(ErrorClass.BUG, _lt("The request was malformed."), _REPORT),
    45067: ErrorInfo(ErrorClass.BUG, _lt("The request's own number is too long."), _REPORT),
    76003: _UNKNOWN_API,
    76021: _UNKNOWN_API,
    # --- not known for certain ---
    42007: ErrorInfo(
        ErrorClass.UNKNOWN,
        _lt("A user's authorisation has ended because the user changed the WeChat password."),
        _lt("Ask the user to log in again."),
    ),
}

_UNKNOWN = ErrorInfo(
    ErrorClass.UNKNOWN,
    _lt("WeChat refused the request with a code that this module does not know."),
    _lt("Look the code up in WeChat's list of error codes."),
)
_NOT_SENT = ErrorInfo(
    ErrorClass.RETRY,
    _lt("WeChat could not be reached."),
    _lt("Check this server's Internet connection, name resolution, proxy and certificates."),
)
_NO_ANSWER = ErrorInfo(
    ErrorClass.AMBIGUOUS,
    _lt("WeChat did not answer, or the answer was not one of WeChat's."),
    _lt("Try again in a moment. If it fails again, check the API address and the proxy."),
)


class Receipt(NamedTuple):
    """The meaning of a receipt's status. Meaning and remedy are English sentences to translate."""

    failure_type: str | None = None
    meaning: str = ""
    remedy: str = ""

    @property
    def is_delivered(self):
        return self.failure_type is None


# By the status without its spaces: documentation, SDKs and real pushes differ in them ("failed:user block",
# "failed: system failed").
RECEIPTS = {
    "success": Receipt(),
    "failed:userblock": Receipt(
        "wechat_blocked",
        _lt("The merchant has switched off the messages of your Official Account."),
        _lt("Ask the merchant to allow them again in WeChat, in the settings of the account's profile."),
    ),
    "failed:systemfailed": Receipt(
        "wechat_system", _lt("WeChat accepted the message but could not deliver it."), _lt("Send it again.")
    ),
    "failed:freqlimit": Receipt(
        "wechat_frequency",
        _lt("WeChat did not deliver the message, because this merchant was sent too many."),
        _lt("Send it again later, and fewer messages to this merchant."),
    ),
}
_OTHER_RECEIPT = Receipt(
    "wechat_receipt",
    _lt("WeChat accepted the message but did not deliver it, and tells the reason in the receipt only."),
)

# Codes with a treatment of their own.
VALUE_NOT_ALLOWED = 47003
LINK_TOO_LONG = 40039
OF_ONE_MESSAGE = (VALUE_NOT_ALLOWED, LINK_TOO_LONG)  # other messages of the template may be accepted
PERHAPS_GONE = (40037, 43100)  # temporarily also for existing templates: the list of templates decides
DAILY_QUOTA = 45009
ALREADY_SENT = 45065  # the answer may hold the number of the message
UNKNOWN_OPENID = (40003, 46004)  # other refusals of a recipient may concern the whole account

ERRMSG_MAX_LENGTH = 500
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_INT32 = range(-(2**31), 2**31)  # range of an Integer field


class WechatError(Exception):
    """A call to WeChat failed.

    Its text may be logged: errmsg must hold no tokens, secrets and OpenIDs.

    :param str path: path of the call, without host and query
    :param int errcode: None if WeChat gave none
    :param str errmsg: WeChat's text, or ours if WeChat gave none
    :param ErrorInfo info: replaces the table's row of errcode
    """

    default_info = _UNKNOWN

    def __init__(self, path, errcode=None, errmsg="", info=None):
        super().__init__(path, errcode, errmsg)
        self.path = path
        self.errcode = errcode
        self.errmsg = errmsg
        match = re.search(r"\brid:\s*([\w-]+)", errmsg)
        self.rid = match[1] if match else None  # WeChat's support asks for it
        self._info = info

    def __str__(self):
        code = "" if self.errcode is None else f"{self.errcode} "
        return f"{self.path}: {code}{self.errmsg}"

    @property
    def info(self):
        """The row of the table: class, meaning and remedy.

        :rtype: ErrorInfo
        """
        return self._info or _find(self.path, self.errcode) or self.default_info


class WechatRetry(WechatError):
    """The call was certainly not done, and may be repeated later."""


class WechatNotSent(WechatRetry):
    """The request was never written, for lack of a connection (refused, DNS, proxy, TLS, timeout)."""

    default_info = _NOT_SENT


class WechatAmbiguous(WechatError):
    """The call was perhaps done: -1, no answer, or none of WeChat's (5xx, redirect, not JSON, incomplete)."""

    default_info = _NO_ANSWER


class WechatTokenStale(WechatError):
    """The access token must be fetched again."""


class WechatUnreachable(WechatError):
    """The recipient cannot be reached."""


class WechatTemplateError(WechatError):
    """The template or one of its values is wrong."""


class WechatAccountError(WechatError):
    """The account or its settings are wrong."""


class WechatUnderReview(WechatError):
    """WeChat reviews the message and decides later."""


class WechatPaused(WechatError):
    """The quota of this API of this account is used up."""


class WechatRepeated(WechatError):
    """WeChat regards the message as a repetition."""


class WechatBug(WechatError):
    """Our request was malformed."""


class WechatDataError(WechatError):
    """The content was refused."""


class WechatUnknown(WechatError):
    """The meaning of the code is not known for certain."""


_EXCEPTIONS = {
    ErrorClass.RETRY: WechatRetry,
    ErrorClass.AMBIGUOUS: WechatAmbiguous,
    ErrorClass.TOKEN_STALE: WechatTokenStale,
    ErrorClass.UNREACHABLE: WechatUnreachable,
    ErrorClass.TEMPLATE: WechatTemplateError,
    ErrorClass.ACCOUNT: WechatAccountError,
    ErrorClass.UNDER_REVIEW: WechatUnderReview,
    ErrorClass.PAUSED: WechatPaused,
    ErrorClass.REPEATED: WechatRepeated,
    ErrorClass.BUG: WechatBug,
    ErrorClass.DATA: WechatDataError,
    ErrorClass.UNKNOWN: WechatUnknown,
}


def info(path, errcode):
    """Return the row of the table for an error code of a call.

    :param str path: path of the call
    :param int errcode: any code; an unknown one has the class UNKNOWN
    :rtype: ErrorInfo
    """
    return _find(path, errcode) or _UNKNOWN


def get_receipt(status):
    """Return the meaning of a receipt.

    :param str status: of the push, verbatim
    :rtype: Receipt
    """
    return RECEIPTS.get("".join((status or "").lower().split()), _OTHER_RECEIPT)


def from_response(path, errcode, errmsg):
    """Return, not raise, the exception for an answer with an error code other than 0.

    :param str path: path of the call
    :param errcode: an integer; in old answers a string
    :param errmsg: WeChat's text, possibly None
    :rtype: WechatError
    """
    code = _to_int(errcode)
    # A line break could forge a line of the log, and direction marks reverse the rest of a line.
    errmsg = _UNPRINTABLE.sub(" ", str(errmsg or "")[:ERRMSG_MAX_LENGTH])
    if code is None:
        return WechatAmbiguous(path, errmsg=f"unreadable errcode; {errmsg}")
    row = info(path, code)
    return _EXCEPTIONS[row.error_class](path, code, errmsg, row)


def invalid_ip(errmsg):
    """Return the address that WeChat does not allow.

    :param errmsg: text of 40164 (invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: …) or 61004
    :return: the IPv4 address if there is one, else the IPv6 address, else None
    :rtype: str | None
    """
    candidates = re.findall(r"(?<![\d.])\d+(?:\.\d+){3}(?!\.?\d)", errmsg or "")
    candidates += re.findall(r"(?<![\w:])[\dA-Fa-f]*:[\dA-Fa-f:]+", errmsg or "")
    for candidate in candidates:
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return None


def _to_int(errcode):
    if isinstance(errcode, bool) or not isinstance(errcode, (int, str)):
        return None
    try:
        code = int(errcode)
    except ValueError:
        return None
    return code if code in _INT32 else None


def _find(path, errcode):
    return ERRORS.get((path, errcode)) or ERRORS.get(errcode)
