import io
import re
from html import unescape
from pathlib import Path

import polib

from odoo.tools.translate import trans_export

from .common import WechatCase

FOLDER = Path(__file__).parent.parent / "i18n"
# A path of menus, as texts quote it.
PATH = re.compile(r"“([^”]+ > [^”]+)”")
PLACEHOLDER = re.compile(r"%\(\w+\)s|%[sd]|\{\w+\}|</?\w+|#\{[^}]*\}")


class TestTranslation(WechatCase):
    """Every term of the addon, as Odoo exports them at this moment, is there in Chinese."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        buffer = io.BytesIO()
        trans_export("", ["wechat_merchant_bind"], buffer, "po", cls.env)
        cls.terms = {entry.msgid for entry in polib.pofile(buffer.getvalue().decode())}
        cls.chinese = polib.pofile(str(FOLDER / "zh_CN.po"))
        cls.template = polib.pofile(str(FOLDER / "wechat_merchant_bind.pot"))

    def test_terms_are_found(self):
        """What the comparison below stands on: code, views, fields, selections, script and error table are in it."""
        for term in (
            "The binding code could not be generated.",
            "Generate Binding Code",
            "WeChat OpenID",
            "Waiting for the scan",
            "The AppSecret is wrong.",
        ):
            self.assertIn(term, self.terms)

    def test_nothing_is_missing_or_left_over(self):
        for name, file in (("zh_CN.po", self.chinese), ("wechat_merchant_bind.pot", self.template)):
            translated = {entry.msgid for entry in file if not entry.obsolete}
            with self.subTest(file=name):
                self.assertEqual(sorted(self.terms - translated), [], f"Missing in {name}: export the terms again")
                self.assertEqual(sorted(translated - self.terms), [], f"No longer used, but in {name}")

    def test_nothing_is_untranslated_or_fuzzy(self):
        self.assertEqual([entry.msgid for entry in self.chinese if not entry.msgstr.strip()], [])
        self.assertEqual([entry.msgid for entry in self.chinese if entry.fuzzy], [])

    def test_no_two_fields_of_a_model_have_the_same_label(self):
        """Odoo warns of such fields at each installation; in filters and exports they can't be told apart."""
        for name, model in self.env.registry.items():
            fields_by_label = {}
            for field in model._fields.values():
                fields_by_label.setdefault(field.string, []).append(field)
            for label, fields in fields_by_label.items():
                if any("wechat_merchant_bind" in field._modules for field in fields):
                    with self.subTest(model=name, label=label):
                        self.assertEqual(len(fields), 1, fields)

    def test_placeholders_survive(self):
        for entry in self.chinese:
            with self.subTest(term=entry.msgid):
                self.assertEqual(
                    sorted(PLACEHOLDER.findall(entry.msgstr)), sorted(PLACEHOLDER.findall(entry.msgid)), entry.msgstr
                )

    def test_paths_in_texts_are_those_of_the_menus(self):
        menus = self.env["ir.ui.menu"].with_context(lang="zh_CN", **{"ir.ui.menu.full_list": True}).search([])
        paths = [menu.complete_name.replace("/", " > ") for menu in menus]
        found = [path for entry in self.chinese for path in PATH.findall(unescape(entry.msgstr))]
        self.assertTrue(found)
        for path in found:
            with self.subTest(path=path):
                self.assertTrue(any(menu.endswith(path) for menu in paths), "No such menu")

    def test_a_failed_code_or_event_is_not_called_a_failed_sending(self):
        for model, label in (
            ("wechat.message", "发送失败"),
            ("wechat.bind.batch.line", "生成失败"),
            ("wechat.event", "处理失败"),
        ):
            with self.subTest(model=model):
                records = self.env[model].with_context(lang="zh_CN")
                self.assertEqual(dict(records.fields_get(["state"])["state"]["selection"])["failed"], label)

    def test_it_is_loaded(self):
        chinese = self.env["res.partner"].with_context(lang="zh_CN")
        self.assertNotEqual(chinese.fields_get(["wechat_state"])["wechat_state"]["selection"][1][1], "Bound")
        self.assertIn(
            "生成绑定码", chinese.get_view(self.env.ref("wechat_merchant_bind.wechat_merchant_view_list").id)["arch"]
        )
