import io
import re
from html import unescape
from pathlib import Path

import polib

from odoo.tools.translate import trans_export

from .common import WechatCase

FOLDER = Path(__file__).parent.parent / "i18n"
# A quoted menu path.
PATH = re.compile(r"“([^”]+ > [^”]+)”")
PLACEHOLDER = re.compile(r"%\(\w+\)s|%[sd]|\{\w+\}|</?\w+|#\{[^}]*\}")


class TestTranslation(WechatCase):
    """The translation holds every term that Odoo exports of the addon."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        buffer = io.BytesIO()
        trans_export("", ["wechat_merchant_bind"], buffer, "po", cls.env)
        cls.terms = {entry.msgid for entry in polib.pofile(buffer.getvalue().decode())}
        cls.chinese = polib.pofile(str(FOLDER / "zh_CN.po"))
        cls.template = polib.pofile(str(FOLDER / "wechat_merchant_bind.pot"))

    def test_export_covers_every_kind_of_term(self):
        """The export covers code, views, fields, selections, scripts and the table of errors."""
        for term in (
            "The binding code could not be generated.",
            "Generate Binding Code",
            "WeChat OpenID",
            "Waiting for the scan",
            "The AppSecret is wrong.",
        ):
            self.assertIn(term, self.terms)

    def test_files_hold_exactly_the_exported_terms(self):
        for name, file in (("zh_CN.po", self.chinese), ("wechat_merchant_bind.pot", self.template)):
            translated = {entry.msgid for entry in file if not entry.obsolete}
            with self.subTest(file=name):
                self.assertEqual(sorted(self.terms - translated), [], f"Missing in {name}: export the terms again")
                self.assertEqual(sorted(translated - self.terms), [], f"No longer used, but in {name}")

    def test_every_term_is_translated(self):
        self.assertEqual([entry.msgid for entry in self.chinese if not entry.msgstr.strip()], [])
        self.assertEqual([entry.msgid for entry in self.chinese if entry.fuzzy], [])

    def test_labels_are_unique_in_a_model(self):
        """Odoo warns of equal labels at installation, and filters and exports cannot tell such fields apart."""
        for name, model in self.env.registry.items():
            fields_by_label = {}
            for field in model._fields.values():
                fields_by_label.setdefault(field.string, []).append(field)
            for label, fields in fields_by_label.items():
                if any("wechat_merchant_bind" in field._modules for field in fields):
                    with self.subTest(model=name, label=label):
                        self.assertEqual(len(fields), 1, fields)

    def test_placeholders_are_kept(self):
        for entry in self.chinese:
            with self.subTest(term=entry.msgid):
                self.assertEqual(
                    sorted(PLACEHOLDER.findall(entry.msgstr)), sorted(PLACEHOLDER.findall(entry.msgid)), entry.msgstr
                )

    def test_quoted_menu_paths_exist(self):
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

    def test_translation_is_loaded(self):
        chinese = self.env["res.partner"].with_context(lang="zh_CN")
        self.assertNotEqual(chinese.fields_get(["wechat_state"])["wechat_state"]["selection"][1][1], "Bound")
        self.assertIn(
            "生成绑定码", chinese.get_view(self.env.ref("wechat_merchant_bind.wechat_merchant_view_list").id)["arch"]
        )
