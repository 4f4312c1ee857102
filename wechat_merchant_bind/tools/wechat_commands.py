"""Commands that a user gives in the chat: unbinding, and the digits of a phone number as proof of identity."""

import hmac
import re
import unicodedata

UNBIND = "解绑"
DIGITS = 4
# A shorter number is an extension or an emergency number: its digits prove nothing.
PHONE_DIGITS_AT_LEAST = 7

_TYPED_DIGITS = re.compile(rf"[0-9]{{{DIGITS}}}")
# Characters that separate two numbers, or a number and its extension.
_NO_PART_OF_A_NUMBER = re.compile(r"[^0-9 ().+-]")


def parse(message):
    """Return the command in a push: a text, or a click on a menu button with the key UNBIND.

    :param dict message: the fields of the push.
    :return: UNBIND, four ASCII digits, or None if the push is no command.
    :rtype: str | None
    """
    if message.get("MsgType") == "event":
        return UNBIND if (message.get("Event"), message.get("EventKey")) == ("CLICK", UNBIND) else None
    if message.get("MsgType") != "text":
        return None
    text = normalize(message.get("Content"))
    return text if text == UNBIND or is_digits(text) else None


def normalize(text):
    """Return what a user has typed without blanks around it, and with ASCII digits: Chinese keyboards have wide ones.

    :param str | None text: the text.
    :rtype: str
    """
    return unicodedata.normalize("NFKC", text or "").strip()


def is_digits(command):
    """Tell whether a command consists of the digits of a phone number.

    :param str | None command: from parse.
    :rtype: bool
    """
    return bool(command and _TYPED_DIGITS.fullmatch(command))


def last_digits(phone):
    """Return the last four digits of a phone number.

    :param str | None phone: in any notation; of several numbers the first counts, extensions are ignored.
    :rtype: str | None
    """
    for number in _NO_PART_OF_A_NUMBER.split(unicodedata.normalize("NFKC", phone or "")):
        digits = re.sub(r"[^0-9]", "", number)
        if len(digits) >= PHONE_DIGITS_AT_LEAST:
            return digits[-DIGITS:]
    return None


def is_same(typed, expected):
    """Compare digits in constant time.

    :rtype: bool
    """
    return hmac.compare_digest(typed.encode(), expected.encode())
