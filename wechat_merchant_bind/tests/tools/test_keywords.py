from datetime import date, datetime

from odoo.tests import BaseCase, tagged

from ...tools import wechat_keywords
from ...tools.wechat_keywords import Amount, Currency, KeywordError

EMOJI = "😀"


@tagged("post_install", "-at_install", "wechat")
class TestKeywords(BaseCase):
    def _assertFitted(self, key, cases, currency=None):
        """Check the fitted values.

        :param cases: pairs of a value and its text
        """
        for value, text in cases:
            with self.subTest(key=key, value=value):
                self.assertEqual(wechat_keywords.fit(key, value, currency).text, text)

    def _assertRefused(self, key, code, values):
        for value in values:
            with self.subTest(key=key, value=value):
                with self.assertRaises(KeywordError) as caught:
                    wechat_keywords.fit(key, value)
                self.assertEqual(caught.exception.code, code)
                self.assertIn(code, wechat_keywords.PROBLEMS)

    def _assertCut(self, key, cases):
        for value, text in cases:
            with self.subTest(key=key, value=value):
                fitted = wechat_keywords.fit(key, value)
                self.assertEqual((fitted.text, fitted.is_cut), (text, text != value))

    def test_texts_are_cut_at_their_limit(self):
        self._assertCut(
            "thing1",
            [
                ("字" * 20, "字" * 20),
                ("字" * 21, "字" * 19 + "…"),
                (EMOJI * 10, EMOJI * 10),
                (EMOJI * 11, EMOJI * 9 + "…"),
            ],
        )
        self._assertCut("short_thing1", [("一二三四五", "一二三四五"), ("一二三四五六", "一二三四五")])
        self._assertCut(
            "name1",
            [
                ("a" * 20, "a" * 20),
                ("a" * 21, "a" * 20),
                ("名" * 10, "名" * 10),
                ("名" * 11, "名" * 10),
                # One Chinese character makes it a Chinese name.
                ("a" * 9 + "名", "a" * 9 + "名"),
                ("a" * 10 + "名", "a" * 10),
            ],
        )

    def test_characters_are_not_cut_in_half(self):
        flag, family, thumb, keycap = "🇨🇳", "👨\u200d👩\u200d👧", "👍🏽", "1\ufe0f\u20e3"
        scotland = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
        for cluster in (flag, family, thumb, keycap, scotland, "e\u0301", EMOJI):
            length = len(cluster.encode("utf-16-le")) // 2
            for number in range(21):
                before, cut = "a" * number, "a" * min(number, 19) + "…"
                text = before + cluster
                with self.subTest(cluster=cluster, number=number):
                    expected = text if number + length <= 20 else cut
                    self.assertEqual(wechat_keywords.fit("thing1", text).text, expected)
        # Flags stay flags: two regional letters each.
        self._assertCut("thing1", [(flag * 5, flag * 5), (flag * 6, flag * 4 + "…"), (f"a{flag * 5}", f"a{flag * 4}…")])
        self._assertCut("short_thing1", [(flag * 2, flag), ("一二三" + family, "一二三")])

    def test_numbers_and_dates_are_not_cut(self):
        euro = Currency("EUR", 2, "€")
        for value in (123456, 1234.5, date(2026, 10, 1), datetime(2026, 10, 1, 5, 7)):
            self._assertRefused("short_thing1", "too_long", [value])
        self._assertFitted("short_thing1", [(12345, "12345"), (["一", "二"], "['一',")])
        self._assertFitted("short_thing1", [(Amount("€ 12.50", 12.5, euro), "12.50")])
        self._assertRefused("short_thing1", "too_long", [Amount("€ 1,234.50", 1234.5, euro)])

    def test_amounts_are_written_in_the_way_that_fits(self):
        dollar = Currency("TWD", 2, "NT$")
        won = Currency("KRW", 0, "₩")
        for key, amount, text, is_rewritten, is_without_currency in (
            ("amount1", Amount("NT$ 1,234.50", 1234.5, dollar), "1234.50", False, True),
            ("thing1", Amount("NT$ 1,234.50", 1234.5, dollar), "NT$ 1,234.50", False, False),
            ("character_string1", Amount("NT$ 1,234.50", 1234.5, dollar), "NT$ 1,234.50", False, False),
            ("character_string1", Amount("₩ 1,235", 1234.5, won), "KRW 1235", True, False),
            ("number1", Amount("₩ 1,235", 1235, won), "1235", False, False),
            ("keyword1", Amount("12.50", 12.5, dollar, "NT$12.50"), "NT$12.50", False, False),
            ("character_string1", Amount("12.50", 12.5, dollar, "NT$12.50"), "12.50", False, False),
        ):
            with self.subTest(key=key, amount=amount):
                fitted = wechat_keywords.fit(key, amount)
                self.assertEqual(
                    (fitted.text, fitted.is_rewritten, fitted.is_without_currency),
                    (text, is_rewritten, is_without_currency),
                )
        fitted = wechat_keywords.fit("amount1", "NT$ 1,234.50", dollar)
        self.assertEqual((fitted.text, fitted.is_rewritten), ("1234.50", True))

    def test_example(self):
        self.assertEqual(wechat_keywords.parse_example("订单号: 1\n时间：15:01\n无"), {"订单号": "1", "时间": "15:01"})
        self.assertEqual(wechat_keywords.parse_example(None), {})

    def test_lines_are_joined(self):
        for key in ("thing1", "name1", "short_thing1"):
            self._assertFitted(key, [(" 一\r\n二\u2028三\x00 ", "一 二 三")])

    def test_moments(self):
        self._assertFitted(
            "time1",
            [
                (datetime(2019, 10, 1, 15, 1, 59), "2019年10月1日 15:01"),
                (date(2019, 10, 1), "2019年10月1日 00:00"),
                ("15:01", "15:01"),
                ("9:01:02", "9:01:02"),
                ("2019-10-01 15:01", "2019年10月1日 15:01"),
                ("2019年10月01日15:01", "2019年10月1日 15:01"),
                ("2019/10/1 15：01～16：00", "2019年10月1日 15:01~16:00"),
            ],
        )
        self._assertRefused(
            "time1",
            "time",
            ["2019年10月1日", "24:00", "15:60", "3 PM", "明天", "2019-02-30 10:00", "1:00~2:00~3:00", 5, True],
        )
        self._assertFitted(
            "date1",
            [
                (date(2019, 10, 1), "2019年10月1日"),
                (datetime(2019, 10, 1, 15, 1), "2019年10月1日 15:01"),
                ("2019.10.1", "2019年10月1日"),
                ("2019-10-01~2019-10-31", "2019年10月1日~2019年10月31日"),
                ("2019-10-01 ~ 2019-10-31 9:00", "2019年10月1日~2019年10月31日 9:00"),
            ],
        )
        self._assertRefused("date1", "date", ["15:01", "10-01", "2019-13-01", "2019-10/01", "2019", "D"])

    def test_amounts(self):
        self._assertFitted(
            "amount1",
            [
                (100.21, "￥100.21"),
                (0.0, "￥0.00"),
                # The result of a rounded difference.
                (-0.0, "￥0.00"),
                (-0.001, "￥0.00"),
                (0, "￥0.00"),
                (100.215, "￥100.22"),
                (123456789012, "￥123456789012.00"),
                ("￥100.21", "￥100.21"),
                ("¥\xa01,234.50", "￥1234.50"),
                ("1.234,50\xa0€", "€1234.50"),
                ("$ 1'000", "$1000"),
                ("100元", "100元"),
                ("￥100.21元", "￥100.21元"),
                ("1,234", "1234"),
                ("12,5", "12.5"),
                ("100", "100"),
            ],
        )
        self._assertFitted("amount1", [(100, "¥100"), ("¥100", "¥100")], Currency("JPY", 0))
        fitted = wechat_keywords.fit("amount1", 5.5, Currency("CHF", 2))
        self.assertEqual((fitted.text, fitted.is_without_currency), ("5.50", True))
        self._assertRefused("amount1", "negative", [-0.01, "-5", "￥-5", "-￥5", "−5"])
        self._assertRefused("amount1", "too_long", [1234567890123, "1234567890123", 1e30])
        self._assertRefused(
            "amount1", "amount", ["人民币100", "100 CNY", "￥100€", "12,34,56", "1.234.56", "1,2345", ".", "abc", True]
        )

    def test_phone_numbers(self):
        self._assertFitted(
            "phone_number1",
            [
                ("+86 138 0013 8000", "+86 138 0013 8000"),
                ("+86 (138) 0013-8000", "+8613800138000"),
                ("１３８００１３８０００", "13800138000"),
                ("1" * 17, "1" * 17),
                (13800138000, "13800138000"),
            ],
        )
        self._assertRefused("phone_number1", "too_long", ["1" * 18])
        self._assertRefused("phone_number1", "phone_number", ["138 / 139", "0571-8888转1", "+", "无"])

    def test_texts_that_must_not_be_cut(self):
        for key, fitting, too_long, wrong in (
            ("character_string1", ["SO1042", "a" * 32, "A b"], ["a" * 33], ["订单1", "a\nb中"]),
            ("car_number1", ["浙A12345", "粤Z1234港", "浙AD12345"], ["浙AD123456"], ["浙A 12345", "A浙12345"]),
            ("phrase1", ["审", "已审核通过"], ["已审核通过了"], ["OK", "已审核1"]),
            ("const1", ["待确认", "a" * 20], ["a" * 21], ["a\nb"]),
            ("enum1", ["甲"], ["a" * 21], ["a\nb"]),
            ("enum_string1", ["甲"], ["a" * 21], ["a\nb"]),
            ("letter1", ["abc", "a" * 32], ["a" * 33], ["a1", "甲"]),
            ("symbol1", ["!?", "!" * 5], ["!" * 6], ["a!", "! !"]),
        ):
            self._assertFitted(key, [(value, value) for value in fitting])
            self._assertRefused(key, "too_long", too_long)
            self._assertRefused(key, "characters", wrong)
        self._assertFitted("character_string1", [("ＳＯ１０４２", "SO1042")])

    def test_numbers(self):
        self._assertFitted(
            "number1",
            [
                (12, "12"),
                (12.5, "12.5"),
                (12.0, "12"),
                (0.1 + 0.2, "0.3"),
                ("1,234.50", "1234.50"),
                (-3, "-3"),
                (0, "0"),
            ],
        )
        self._assertFitted("number1", [("1" * 32, "1" * 32)])
        self._assertRefused("number1", "number", ["一", "1.2.3", "12 件", "1" * 33])
        self._assertRefused("number1", "too_long", ["1" * 32 + ".5"])

    def test_empty_values(self):
        for key in ("thing1", "time1", "amount1", "character_string1", "phone_number1", "first", "keyword1"):
            self._assertRefused(key, "empty", [None, False, "", "  \n"])
        self._assertRefused("thing1", "empty", ["\x1b\x00"])
        self._assertFitted("const1", [(None, ""), (False, ""), ("", "")])

    def test_keys_without_a_type_are_as_the_phone_shows_them(self):
        """The phone folds their values after 20 characters and cuts them at a line break."""
        for key in ("keyword1", "name", "time", "amount", "unknown_type1", "thing1x"):
            self.assertIsNone(wechat_keywords.get_type(key), key)
            self._assertFitted(key, [(datetime(2019, 10, 1, 5, 7), "2019年10月1日 05:07"), (1.5, "1.5")])
            self._assertCut(key, [("字" * 20, "字" * 20), ("字" * 21, "字" * 19 + "…")])
            self._assertFitted(key, [("一\n二", "一 二")])
            self.assertEqual(wechat_keywords.get_limit(key), wechat_keywords.get_limit("thing1"))

    def test_keys_that_the_phone_does_not_show(self):
        text = "很长的内容\n" * 50
        for key in ("first", "remark"):
            self._assertFitted(key, [(text, " ".join(text.split()))])
            self.assertIn("Not shown", wechat_keywords.get_limit(key))

    def test_invisible_characters_of_negative_amounts(self):
        self._assertRefused("amount1", "negative", ["-\ufeff￥5", "￥\xa0-\ufeff5.00"])
        for key in ("number1", "character_string1", "thing1", "keyword1"):
            self._assertFitted(key, [("-\ufeff5", "-5")])

    def test_every_type_has_a_label(self):
        for name, keyword_type in wechat_keywords.KEYWORD_TYPES.items():
            self.assertIs(wechat_keywords.get_type(f"{name}12"), keyword_type)
            self.assertTrue(keyword_type.label and keyword_type.limit)

    def test_content(self):
        content = "{{first.DATA}}\n订单号：{ {character_string1.DATA} }\n金额:{{ amount2.DATA }}\n"
        content += "{{thing3.DATA}} 已付 {{x.DATA}}"
        self.assertEqual(
            wechat_keywords.parse_content(content),
            [("first", ""), ("character_string1", "订单号"), ("amount2", "金额"), ("thing3", ""), ("x", "已付")],
        )
        self.assertEqual(wechat_keywords.parse_content(False), [])
        self.assertEqual(wechat_keywords.parse_content("{{a.DATA}} {{a.DATA}} {{b}}"), [("a", "")])
