"""Values that the addon prepares must pass the sandbox's independent table of keyword types.

Both tables were written from WeChat's documentation, independently. The sandbox must accept each value that the addon
accepts, and may accept values that the addon refuses.
"""

import importlib.util
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, path: str):
    """Import a file that is no part of a package here."""
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


addon = load("addon_keywords", "wechat_merchant_bind/tools/wechat_keywords.py")
sandbox = load("sandbox_keywords", "setup/sandbox/keywords.py")

TEXTS = st.text(max_size=60) | st.text("审核通过字abcXYZ09 .,:-/年月日~￥¥$€元+()!\n", max_size=40)
VALUES = st.one_of(
    TEXTS,
    st.floats(-1e15, 1e15),
    st.integers(-(10**15), 10**15),
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    st.none() | st.booleans(),
)


@pytest.mark.parametrize("kind", addon.KEYWORD_TYPES)
@given(value=VALUES)
@example(value="2019年10月1日 15:01")
@example(value="2019-10-01~2019-10-31")
@example(value="￥1,234.50")
@example(value="1.234,50 €")
@example(value="+86 (138) 0013-8000")
@example(value="😀" * 30)
@example(value="浙A12345")
def test_accepted_values_pass(kind, value):
    key = f"{kind}1"
    try:
        text = addon.fit(key, value).text
    except addon.KeywordError:
        return
    # The sandbox knows what was approved for a template; the addon can't.
    assert sandbox.refusal(key, text, {key: [text]}) is None, text


@pytest.mark.parametrize("key", ["keyword1", "name", "time", "orderNo"])
@given(value=TEXTS)
def test_phone_shows_values_without_a_type_in_full(key, value):
    try:
        text = addon.fit(key, value).text
    except addon.KeywordError:
        return
    assert sandbox.shown(key, text) == text


@pytest.mark.parametrize("key", ["first", "remark"])
def test_both_know_the_hidden_keys(key):
    assert sandbox.shown(key, addon.fit(key, "您好").text) == ""
    assert key in addon.HIDDEN_KEYS


@pytest.mark.parametrize("kind", addon.KEYWORD_TYPES)
def test_tables_have_the_same_types(kind):
    assert kind in sandbox.CHECKS or kind in sandbox.ENUMERATED
    assert set(addon.KEYWORD_TYPES) == {*sandbox.CHECKS, *sandbox.ENUMERATED}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thing", "字" * 20),
        ("name", "名" * 10),
        ("character_string", "a" * 32),
        ("amount", "￥123456789012.50"),
        ("phone_number", "1" * 17),
        ("car_number", "粤Z1234港"),
        ("phrase", "已审核通过"),
        ("number", "1" * 32),
        ("letter", "a" * 32),
        ("symbol", "!" * 5),
        ("time", "2019年10月1日 15:01"),
        ("date", "2019年10月1日"),
    ],
)
def test_values_at_the_limit_are_unchanged(kind, value):
    assert sandbox.refusal(f"{kind}1", value, {}) is None
    assert addon.fit(f"{kind}1", value).text == value
