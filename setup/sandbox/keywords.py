"""The types of template keywords and what each lets through (模板消息参数限制), as WeChat's production checks them.

The type is the letters of a key: `thing1`, `character_string12`. Keys of test accounts and old templates (`first`,
`keyword1`) have no type: the API takes any text, and the phone shows only a part of it.
"""

import re

KEYWORD = re.compile(r"\{\s*\{\s*(\w+)\.DATA\s*\}\s*\}")
KEY_TYPE = re.compile(r"([a-z_]+?)\d+")
HAN = r"\u3400-\u9fff\uf900-\ufaff"
CLOCK = r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?"
DAY = r"\d{4}(年\d{1,2}月\d{1,2}日|-\d{1,2}-\d{1,2}|/\d{1,2}/\d{1,2}|\.\d{1,2}\.\d{1,2})"
TIME = rf"({DAY}\s*)?{CLOCK}"
DATE = rf"{DAY}(\s*{CLOCK})?"


def _pattern(pattern: str):
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _name(value: str) -> bool:
    """10 characters when any is Chinese, else 20 Latin ones."""
    chinese = re.search(f"[{HAN}]", value)
    return len(value) <= (10 if chinese else 20) and "\n" not in value


CHECKS = {
    "thing": _pattern(r"[^\r\n]{1,20}"),
    "short_thing": _pattern(r"[^\r\n]{1,5}"),
    "character_string": _pattern(r"[\x21-\x7e](?:[\x20-\x7e]{0,30}[\x21-\x7e])?"),
    "time": _pattern(rf"{TIME}(~{TIME})?"),
    "date": _pattern(rf"{DATE}(~{DATE})?"),
    "amount": _pattern(r"[¥￥$€£]?\d{1,12}(\.\d+)?元?"),
    "phone_number": _pattern(r"[0-9+()#*\- ]{1,17}"),
    "car_number": _pattern(rf"[{HAN}A-Za-z0-9]([A-Za-z0-9·]{{0,6}}[{HAN}A-Za-z0-9])?"),
    "phrase": _pattern(rf"[{HAN}]{{1,5}}"),
    "name": _name,
    "number": _pattern(r"-?\d{1,32}(\.\d+)?"),
    "letter": _pattern(r"[A-Za-z]{1,32}"),
    "symbol": _pattern(r"[^\w\s]{1,5}"),
}
# WeChat approves each value of these types; the template lists them.
ENUMERATED = ("const", "enum", "enum_string")
# Keys that phones have not shown since 2023, and the characters that they show of other keys without a type.
HIDDEN = ("first", "remark")
FOLDED_AFTER = 20


def keys_of(content: str) -> list[str]:
    """The keyword keys in a template's content, in their order."""
    return KEYWORD.findall(content)


def refusal(key: str, value, allowed: dict) -> str | None:
    """Say why WeChat refuses this value of a keyword, in its words, or None.

    :param value: what stood in `data[key]["value"]`; None when missing
    :param allowed: approved values of enumerated keys, {key: [values]}
    """
    kind = KEY_TYPE.fullmatch(key)
    kind = kind and kind.group(1)
    if kind == "const" and value == "":
        return None
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"argument invalid! data.{key}.value is empty"
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return f"argument invalid! data.{key}.value invalid"
    value = str(value)
    if kind in ENUMERATED:
        valid = value in allowed.get(key, ()) and len(value) <= 20
    else:
        valid = CHECKS.get(kind, lambda _value: True)(value)
    return None if valid else f"argument invalid! data.{key}.value invalid"


def shown(key: str, value: str) -> str:
    """What a phone shows of a value: nothing of a hidden key, and the start of one without a type."""
    if key in HIDDEN:
        return ""
    kind = KEY_TYPE.fullmatch(key)
    if kind and kind.group(1) in (*CHECKS, *ENUMERATED):
        return value
    line = (value.splitlines() or [""])[0]
    return line if len(line) <= FOLDED_AFTER else f"{line[:FOLDED_AFTER]}…"
