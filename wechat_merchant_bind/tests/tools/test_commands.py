from odoo.tests import BaseCase, tagged

from ...tools import wechat_commands


@tagged("post_install", "-at_install", "wechat")
class TestCommands(BaseCase):
    def _parse(self, content, msg_type="text"):
        return wechat_commands.parse({"MsgType": msg_type, "Content": content})

    def test_unbind(self):
        for content in ("解绑", " 解绑\n", "\u3000解绑"):
            self.assertEqual(self._parse(content), wechat_commands.UNBIND, repr(content))
        for content in ("我要解绑", "解绑吗", "解 绑", ""):
            self.assertIsNone(self._parse(content), repr(content))

    def test_digits(self):
        for content in ("2368", " 2368 ", "２３６８", "\u3000２３６8\r\n"):
            self.assertEqual(self._parse(content), "2368", repr(content))
        for content in ("236", "23688", "236a", "23 68", "13857102368", "٢٣٦٨", "-236", "2368."):
            self.assertIsNone(self._parse(content), repr(content))

    def test_other_pushes(self):
        self.assertIsNone(self._parse("2368", "voice"))
        self.assertIsNone(self._parse("解绑", "event"))
        self.assertIsNone(wechat_commands.parse({"MsgType": "text"}))

    def test_last_digits(self):
        for phone, digits in (
            ("13857102368", "2368"),
            ("+86 138 5710 2368", "2368"),
            ("(0571) 8102-6688", "6688"),
            ("0571-81026688转801", "6688"),
            ("0571-81026688 ext. 801", "6688"),
            ("13857102368 / 13900001111", "2368"),
            ("１３８５７１０２３６８", "2368"),
            ("陈老板：13857102368", "2368"),
            ("110", None),
            ("12345", None),
            ("待补", None),
            ("", None),
            (False, None),
            (None, None),
        ):
            self.assertEqual(wechat_commands.last_digits(phone), digits, phone)

    def test_comparison(self):
        self.assertTrue(wechat_commands.is_same("2368", "2368"))
        self.assertFalse(wechat_commands.is_same("2368", "2369"))
