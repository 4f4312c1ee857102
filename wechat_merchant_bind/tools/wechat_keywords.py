"""The keywords of template messages: the table of their types, with the values that WeChat accepts in each.

The type is the letters of a key such as thing1 or character_string12 (source: 模板消息参数值内容限制说明 of WeChat's
reference for service accounts). Keys of test accounts and of historic templates (first, keyword1, name) have no type:
the phone folds their values after 20 characters, cuts them at a line break, and shows no first and no remark.

A value is shortened where only length is lost, and refused where its meaning would change. Characters are counted as
UTF-16 code units, since WeChat does not define them: an emoji counts as two.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import NamedTuple


def _lt(text):
    # Odoo's term extraction looks for this name. The text is translated when it is shown.
    return text


class KeywordError(ValueError):
    """WeChat would refuse a value.

    :param str code: a key of PROBLEMS
    """

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Fitted(NamedTuple):
    """A value as WeChat accepts it."""

    text: str
    # Whether its end was cut off.
    is_cut: bool = False
    # Whether the currency had to be left out.
    is_without_currency: bool = False
    # Whether it is written in another way, since WeChat would refuse the first one.
    is_rewritten: bool = False


class Currency(NamedTuple):
    """The currency of an amount.

    :param str code: ISO 4217 code
    :param int decimal_places: decimal places of its amounts
    :param str symbol: such as NT$
    """

    code: str = "CNY"
    decimal_places: int = 2
    symbol: str = ""


class Amount(str):
    """An amount as text, with its number and its currency.

    :param str formatted: the text with the symbol of the currency; default: the text.
    """

    def __new__(cls, text, number, currency, formatted=None):
        self = super().__new__(cls, text)
        self.number, self.currency, self.formatted = number, currency, formatted or str(text)
        return self


class KeywordType(NamedTuple):
    """A row of the table."""

    label: str
    limit: str
    # Function that fits a value in a currency.
    fit: Callable[[object, Currency], Fitted]


PROBLEMS = {
    "empty": _lt("has no value. WeChat refuses empty values; a default can follow the expression after |||"),
    "too_long": _lt("is too long, and must not be cut"),
    "characters": _lt("has characters that WeChat does not allow here"),
    "time": _lt("is not a time such as 15:01 or 2019年10月1日 15:01"),
    "date": _lt("is not a date such as 2019年10月1日"),
    "amount": _lt("is not an amount such as ￥100.21"),
    "negative": _lt("is a negative amount, which WeChat does not take"),
    "phone_number": _lt("is not one phone number of digits and symbols"),
    "number": _lt("is not a number"),
}

# Keys that the phone does not show.
HIDDEN_KEYS = ("first", "remark")

# As in get_all_private_template; WeChat's own example has blanks between the braces.
_KEYWORD = re.compile(r"\{\s*\{\s*(\w+)\.DATA\s*\}\s*\}")
_TYPED_KEY = re.compile(r"([a-z_]+?)[0-9]+")
_HAN = "\u3400-\u9fff\uf900-\ufaff"
_CLOCK = re.compile("(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
_DAY = re.compile("([0-9]{4})(?: ?年 ?([0-9]{1,2}) ?月 ?([0-9]{1,2}) ?日|([-/.])([0-9]{1,2})\\4([0-9]{1,2}))")
# What is one character for readers: a flag, or a character with marks, skin tones and what joiners add.
_MARKS = "\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
_CLUSTER = re.compile(f"[\U0001f1e6-\U0001f1ff]{{2}}|.[{_MARKS}]*(?:\u200d.[{_MARKS}]*)*")
# Currency signs that WeChat accepts, by currency.
_SIGNS = {"CNY": "￥", "JPY": "¥", "USD": "$", "EUR": "€", "GBP": "£"}
_AMOUNT = re.compile(
    "(?P<minus>[-−]?) ?(?P<sign>[¥$€£]?) ?(?P<minus_behind>[-−]?) ?"
    "(?P<digits>[0-9](?:[0-9., ']*[0-9])?) ?(?P<end>[¥$€£元]?)"
)
_NUMBER = re.compile(r"([-−]?)([0-9]{1,32})(?:\.([0-9]{1,32}))?")
_AMOUNT_DIGITS = 12  # before the decimal point
_NUMBER_DIGITS = 32
_PHONE_LENGTH = 17


# === CONTENT OF A TEMPLATE === #


def parse_content(content):
    """Return the keywords of a template in the order of its card.

    :param str | None content: the content at WeChat, such as 金额:{{amount2.DATA}}.
    :return: keys with their labels, the words before them on their lines.
    :rtype: list[tuple[str, str]]
    """
    keywords = {}
    for line in (content or "").splitlines():
        end = 0
        for match in _KEYWORD.finditer(line):
            label = line[end : match.start()].strip().rstrip(":：").strip()
            keywords.setdefault(match[1], label)
            end = match.end()
    return list(keywords.items())


def parse_example(example):
    """Return the values of WeChat's example by their labels.

    :param str | None example: such as 金额:￥100.21, one line for each keyword.
    :rtype: dict[str, str]
    """
    pairs = [re.split("[:：]", line, maxsplit=1) for line in (example or "").splitlines()]
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) > 1}


def get_type(key):
    """Return the type of a key.

    :param str key: such as thing1.
    :rtype: KeywordType | None
    """
    match = _TYPED_KEY.fullmatch(key)
    return KEYWORD_TYPES.get(match[1]) if match else None


def get_limit(key):
    """Return in words what WeChat takes and shows of a key.

    :param str key: such as thing1.
    :rtype: str
    """
    if key in HIDDEN_KEYS:
        return _lt("Not shown on the phone")
    return (get_type(key) or KEYWORD_TYPES["thing"]).limit


def is_empty(value):
    """Tell whether a value is none for WeChat. Zero is not empty.

    :param value: see fit.
    :rtype: bool
    """
    return value is None or value is False or (isinstance(value, str) and not value.strip())


def fit(key, value, currency=None):
    """Make a value fit its keyword.

    :param str key: such as thing1.
    :param value: text, number, Amount, date or datetime (local time of the reader); False and None are empty.
    :param Currency currency: currency of amounts without a sign; default: CNY.
    :rtype: Fitted
    :raise KeywordError: if WeChat would refuse it.
    """
    keyword_type = get_type(key)
    if is_empty(value):
        if keyword_type is KEYWORD_TYPES["const"]:
            return Fitted("")
        raise KeywordError("empty")
    if key in HIDDEN_KEYS:
        fit_value = _fit_line
    else:
        fit_value = (keyword_type or KEYWORD_TYPES["thing"]).fit
    currency = getattr(value, "currency", currency) or Currency()
    problem = None
    for writing in _get_writings(keyword_type, value, currency):
        try:
            fitted = fit_value(writing, currency)
        except KeywordError as error:
            problem = problem or error
            continue
        if not fitted.text:
            # All its characters are invisible.
            problem = problem or KeywordError("empty")
        elif fitted.is_cut and isinstance(value, (Amount, int, float, Decimal, date)):
            # What is left of a number or a date says something else.
            problem = problem or KeywordError("too_long")
        else:
            return fitted._replace(is_rewritten=problem is not None)
    raise problem


def _get_writings(keyword_type, value, currency):
    """Return the ways to write a value, the best first: an amount also with the code of its currency, or without."""
    is_amount = isinstance(value, Amount)
    if keyword_type is KEYWORD_TYPES["amount"] and isinstance(value, str) and not is_amount:
        # As Odoo writes amounts of currencies for which WeChat has no sign.
        return [value.strip(), value.replace(currency.symbol, "").strip()]
    if not is_amount:
        return [value.strip() if isinstance(value, str) else value]
    if keyword_type in (KEYWORD_TYPES["amount"], KEYWORD_TYPES["number"]):
        return [value.number]
    text = value.formatted if keyword_type in (None, KEYWORD_TYPES["thing"]) else str(value)
    number = f"{_round(Decimal(str(value.number)), currency.decimal_places):f}"
    return [text, f"{currency.code} {number}", number]


def to_text(value):
    """Return a value as text for readers.

    :param value: see fit.
    :rtype: str
    """
    if isinstance(value, datetime):
        return f"{_format_day(value)} {value:%H:%M}"
    if isinstance(value, date):
        return _format_day(value)
    if isinstance(value, float):
        return _trim(f"{value:.6f}")
    # PostgreSQL stores neither NUL nor lone surrogates. Odoo writes U+FEFF, which is invisible, behind a minus.
    return re.sub("[\x00\ufeff\ud800-\udfff]", "", str(value))


# === FITTING === #


def _cut(limit, ellipsis=""):
    def fit_text(value, _currency):
        text = _join_lines(to_text(value))
        return _cut_at(text, limit, ellipsis)

    return fit_text


def _fit_line(value, _currency):
    return Fitted(_join_lines(to_text(value)))


def _fit_name(value, _currency):
    text = _join_lines(to_text(value))
    return _cut_at(text, 20 if text.isascii() else 10, "")


def _match(pattern, limit, normalize=True):
    """Return a function that accepts texts of a pattern, up to a number of characters."""
    compiled = re.compile(pattern)

    def fit_text(value, _currency):
        text = _normalize(value) if normalize else to_text(value)
        if not compiled.fullmatch(text):
            raise KeywordError("characters")
        if _count(text) > limit:
            raise KeywordError("too_long")
        return Fitted(text)

    return fit_text


def _fit_time(value, _currency):
    if isinstance(value, datetime):
        return Fitted(to_text(value))
    if isinstance(value, date):
        return Fitted(f"{_format_day(value)} 00:00")
    return _fit_moments(value, "time")


def _fit_date(value, _currency):
    if isinstance(value, date):
        return Fitted(to_text(value))
    return _fit_moments(value, "date")


def _fit_moments(value, code):
    """Fit one moment or two joined by "~", and write their days in Chinese.

    :param str code: time, which needs a time of day, or date, which needs a day.
    """
    moments = [_read_moment(text.strip(), code) for text in _normalize(value).split("~")]
    if len(moments) > 2:
        raise KeywordError(code)
    return Fitted("~".join(moments))


def _read_moment(text, code):
    day = _DAY.match(text)
    clock = text[day.end() :].strip() if day else text
    if not (day if code == "date" else clock) or (clock and not _CLOCK.fullmatch(clock)):
        raise KeywordError(code)
    if not day:
        return clock
    try:
        words = _format_day(date(*(int(number) for number in day.groups() if number and number.isdigit())))
    except ValueError:
        raise KeywordError(code) from None
    return f"{words} {clock}".strip()


def _fit_amount(value, currency):
    if isinstance(value, (bool, date)):
        raise KeywordError("amount")
    if isinstance(value, (int, float, Decimal)):
        sign, end = _SIGNS.get(currency.code, ""), ""
        is_without_currency = not sign
        if not Decimal(value).is_finite():
            raise KeywordError("amount")
        number = _round(Decimal(str(value)), currency.decimal_places)
    else:
        sign, number, end = _read_amount(_normalize(value), currency)
        is_without_currency = False
    if number < 0:
        raise KeywordError("negative")
    text = f"{abs(number):f}"
    if len(text.partition(".")[0]) > _AMOUNT_DIGITS:
        raise KeywordError("too_long")
    return Fitted(f"{sign}{text}{end}", is_without_currency=is_without_currency)


def _round(number, decimal_places):
    try:
        return number.quantize(Decimal(1).scaleb(-decimal_places), ROUND_HALF_UP)
    except InvalidOperation:
        # More digits than the precision of Decimal.
        raise KeywordError("too_long") from None


def _read_amount(text, currency):
    """Parse an amount as Odoo and users write it, with thousands separators and the sign at either end.

    :return: the sign, the number, and the text behind it.
    :rtype: tuple[str, Decimal, str]
    """
    match = _AMOUNT.fullmatch(text)
    digits = _read_separators(re.sub("[ ']", "", match["digits"])) if match else None
    if digits is None:
        raise KeywordError("amount")
    sign, end = match["sign"], match["end"] or ""
    if end in _SIGNS.values() or end == "¥":
        if sign:
            raise KeywordError("amount")
        sign, end = end, ""
    if sign == "¥" and currency.code != "JPY":
        # Yuan and yen share the sign; WeChat documents the full-width form for the yuan.
        sign = _SIGNS["CNY"]
    return sign, Decimal(f"{'-' if match['minus'] or match['minus_behind'] else ''}{digits}"), end


def _read_separators(text):
    """Return a number with a decimal point, or None if its separators are inconsistent.

    A comma is a decimal separator only if a point separates thousands, or if one or two digits follow.
    """
    last = max(text.rfind("."), text.rfind(","))
    if last < 0:
        return text
    whole, fraction = text[:last], text[last + 1 :]
    if text[last] == "," and "." not in whole and len(fraction) == 3:
        whole, fraction = text, ""
    elif text[last] in whole or (text[last] == "," and len(fraction) > 2):
        return None
    groups = re.split("[.,]", whole)
    if len(groups) > 1 and not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
        return None
    whole = "".join(groups)
    return f"{whole}.{fraction}" if fraction else whole


def _fit_phone_number(value, _currency):
    text = _normalize(value)
    if not re.fullmatch("[0-9+()#* -]*[0-9][0-9+()#* -]*", text):
        raise KeywordError("phone_number")
    if len(text) > _PHONE_LENGTH:
        text = re.sub("[ ()-]", "", text)
    if len(text) > _PHONE_LENGTH:
        raise KeywordError("too_long")
    return Fitted(text)


def _fit_number(value, _currency):
    match = _NUMBER.fullmatch(_normalize(value).replace(",", ""))
    if not match:
        raise KeywordError("number")
    minus, whole, fraction = match.groups()
    if len(whole + (fraction or "")) > _NUMBER_DIGITS:
        raise KeywordError("too_long")
    return Fitted(f"{'-' if minus else ''}{whole}{'.' + fraction if fraction else ''}")


# === CHARACTERS === #


def _normalize(value):
    # Chinese keyboards have full-width digits, letters and signs.
    return " ".join(unicodedata.normalize("NFKC", to_text(value)).split())


def _join_lines(text):
    """Return the text on one line, without control characters."""
    text = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
    return " ".join(text.split())


def _count(text):
    return len(text) + sum(ord(char) > 0xFFFF for char in text)


def _cut_at(text, limit, ellipsis):
    if _count(text) <= limit:
        return Fitted(text)
    kept = ""
    for cluster in _CLUSTER.findall(text):
        if _count(kept + cluster + ellipsis) > limit:
            break
        kept += cluster
    return Fitted(kept.rstrip() + ellipsis, is_cut=True)


def _format_day(day):
    return f"{day.year}年{day.month}月{day.day}日"


def _trim(number):
    return number.rstrip("0").rstrip(".")


# === THE TABLE === #

KEYWORD_TYPES = {
    "thing": KeywordType(_lt("Text"), _lt("20 characters; longer ones are cut"), _cut(20, "…")),
    "short_thing": KeywordType(_lt("Short text"), _lt("5 characters; longer ones are cut"), _cut(5)),
    "name": KeywordType(
        _lt("Person's name"), _lt("10 Chinese or 20 English characters; longer ones are cut"), _fit_name
    ),
    "character_string": KeywordType(
        _lt("Letters and digits"),
        _lt("32 English letters, digits and symbols"),
        _match(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", 32),
    ),
    "time": KeywordType(_lt("Time"), _lt("2019年10月1日 15:01, or two joined by ~"), _fit_time),
    "date": KeywordType(_lt("Date"), _lt("2019年10月1日, or two joined by ~"), _fit_date),
    "amount": KeywordType(_lt("Amount"), _lt("A currency sign and 12 digits, such as ￥100.21"), _fit_amount),
    "phone_number": KeywordType(_lt("Phone number"), _lt("17 digits and symbols"), _fit_phone_number),
    "car_number": KeywordType(
        _lt("Number plate"),
        _lt("8 characters, of which the first and last may be Chinese"),
        _match(rf"[{_HAN}A-Za-z0-9](?:[A-Za-z0-9·]*[{_HAN}A-Za-z0-9])?", 8),
    ),
    "const": KeywordType(
        _lt("Approved text"),
        _lt("Only what WeChat has approved for this template, or nothing"),
        _match(r"[^\r\n]+", 20, False),
    ),
    "enum": KeywordType(_lt("Choice"), _lt("Only what WeChat lists for this keyword"), _match(r"[^\r\n]+", 20, False)),
    "enum_string": KeywordType(
        _lt("Choice"), _lt("Only what WeChat lists for this keyword"), _match(r"[^\r\n]+", 20, False)
    ),
    "phrase": KeywordType(_lt("Phrase"), _lt("5 Chinese characters"), _match(rf"[{_HAN}]+", 5, False)),
    "number": KeywordType(_lt("Number"), _lt("32 digits"), _fit_number),
    "letter": KeywordType(_lt("Letters"), _lt("32 English letters"), _match(r"[A-Za-z]+", 32)),
    "symbol": KeywordType(_lt("Symbols"), _lt("5 symbols"), _match(r"[^\w\s]+", 5, False)),
}
