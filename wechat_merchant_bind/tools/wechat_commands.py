"""What a person can ask for by typing it into the chat, and the digits of a phone that prove who it is."""

import hmac
import re
import unicodedata

UNBIND = "解绑"
DIGITS = 4
# A shorter number is an extension or an emergency number: its last digits prove nothing.
PHONE_DIGITS_AT_LEAST = 7

_TYPED_DIGITS = re.compile(rf"[0-9]{{{DIGITS}}}")
# Whatever separates two numbers, or a number and its extension.
_NO_PART_OF_A_NUMBER = re.compile(r"[^0-9 ().+-]")


def parse(message):
    """Return the command in a push.

    :param dict message: the push's fields.
    :return: ``UNBIND``, four ASCII digits, or None if the push is no command.
    :rtype: str | None
    """
    if message.get("MsgType") != "text":
        return None
    # Chinese keyboards have digits of double width.
    text = unicodedata.normalize("NFKC", message.get("Content") or "").strip()
    return text if text == UNBIND or is_digits(text) else None


def is_digits(command):
    """Tell whether a command is digits that shall prove who typed them.

    :param str | None command: see :func:`parse`.
    :rtype: bool
    """
    return bool(command and _TYPED_DIGITS.fullmatch(command))


def last_digits(phone):
    """Return the last four digits of a phone number.

    :param str | None phone: as people write it; of several numbers the first counts, and no extension does.
    :rtype: str | None
    """
    for number in _NO_PART_OF_A_NUMBER.split(unicodedata.normalize("NFKC", phone or "")):
        digits = re.sub(r"[^0-9]", "", number)
        if len(digits) >= PHONE_DIGITS_AT_LEAST:
            return digits[-DIGITS:]
    return None


def is_same(typed, expected):
    """Compare digits in a time that tells nothing about them.

    :rtype: bool
    """
    return hmac.compare_digest(typed.encode(), expected.encode())
