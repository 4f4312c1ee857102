import re
import unicodedata
from datetime import datetime
from unittest.mock import patch

from markupsafe import Markup

from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form
from odoo.tools import mute_logger

from ...models.channel import wechat_template
from ...tools import wechat_keywords
from ..common import ADD_TEMPLATE_PATH, TEMPLATES_PATH, WechatCase

EDITOR = "mail.group_mail_template_editor"
UNSAFE = "{{ object.env['res.users'].search([]).mapped('login') }}"


class WechatTemplateCase(WechatCase):
    """Base class with templates of res.partner."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # As in a company that lets only some users write expressions.
        cls.env["ir.config_parameter"].set_param("mail.restrict.template.rendering", True)
        cls.editor = cls._create_user(
            "editor", f"wechat_merchant_bind.group_manager,base.group_partner_manager,{EDITOR}"
        )

    @classmethod
    def _create_template(cls, values_by_key, **values):
        """Create a template with keywords labelled by their keys.

        :param dict[str, str] values_by_key: the expressions
        """
        return cls.env["wechat.template"].create(
            {
                "name": "订单通知",
                "title": "新订单通知",
                "account_id": cls.account.id,
                "template_uid": f"t{next(cls._serial)}",
                "model_id": cls.env["ir.model"]._get_id("res.partner"),
                "line_ids": [
                    Command.create({"key": key, "label": key, "value": value, "sequence": number})
                    for number, (key, value) in enumerate(values_by_key.items())
                ],
                **values,
            }
        )

    def _render(self, values_by_key, partner=None, **values):
        """Return the card of a partner, and its values by key."""
        partner = partner or self.merchant
        card = self._create_template(values_by_key, **values)._prepare_cards(partner)[partner.id]
        return card, {key: entry["value"] for key, entry in card.card["data"].items()}


class TestRendering(WechatTemplateCase):
    def test_card(self):
        card, data = self._render(
            {"thing1": "{{ object.name }}", "first": "{{ object.ref ||| 无 }}"},
            url="{{ '/odoo/contacts/%s' % object.id }}",
            miniprogram_appid="wx0123456789abcdef",
            miniprogram_path="pages/{{ object.id }}",
        )
        self.assertEqual(data, {"thing1": "杭州西湖茶庄", "first": "无"})
        self.assertEqual(
            card.card,
            {
                "title": "新订单通知",
                "lines": [{"label": "thing1", "value": "杭州西湖茶庄"}],
                "data": {"thing1": {"value": "杭州西湖茶庄"}, "first": {"value": "无"}},
                "url": f"{self.merchant.get_base_url()}/odoo/contacts/{self.merchant.id}",
                "miniprogram": {"appid": "wx0123456789abcdef", "pagepath": f"pages/{self.merchant.id}"},
            },
        )
        self.assertEqual(card.body, "新订单通知\nthing1: 杭州西湖茶庄\nfirst: 无")
        self.assertEqual(card.errors, [])
        self.assertEqual(card.cuts, ["first (first) is not shown: WeChat leaves it out."])

    def test_values_are_formatted_for_their_keywords(self):
        self.merchant.write({"tz": "Asia/Tokyo", "phone": "+86 (138) 0013-8000", "comment": "<p>一<b>二</b></p>"})
        moment = "datetime.datetime(2019, 10, 1, 16, 1)"
        _card, data = self._render(
            {
                "time1": f"{{{{ {moment} }}}}",
                "date2": f"{{{{ {moment}.date() }}}}",
                "amount3": "{{ 100.214 }}",
                "phone_number4": " {{object.phone}}",
                "thing5": "到 {{ datetime.date(2019, 10, 2) }}",
                "thing6": "{{ object.comment }}",
                "phrase7": "{{ object.type }}",
                "first": "{{ object.lang }}",
                "number9": "{{ 0 }}",
                "thing10": "{{ object }}",
            }
        )
        self.assertEqual(
            data,
            {
                # An hour later than in China, and a day later than in UTC.
                "time1": "2019年10月2日 01:01",
                "date2": "2019年10月1日",
                "amount3": f"{'￥' if self.env.company.currency_id.name == 'CNY' else '$'}100.21",
                "phone_number4": "+8613800138000",
                "thing5": "到 2019年10月2日",
                "thing6": "一*二*",
                # The label in the merchant's language, not the stored value.
                "phrase7": dict(
                    self.env["res.partner"]
                    .with_context(lang="zh_CN")
                    ._fields["type"]
                    ._description_selection(self.env(context={"lang": "zh_CN"}))
                )["contact"],
                "first": dict(self.env["res.lang"].get_installed())["zh_CN"],
                "number9": "0",
                "thing10": "杭州西湖茶庄",
            },
        )

    def test_monetary_in_its_currency(self):
        template = self._create_template(
            {"amount1": "{{ object.amount_total }}", "thing2": "{{ object.amount_total }}"}
        )
        euro = self.env.ref("base.EUR")
        with (
            patch.object(type(template), "_is_field_path", lambda *_args: True),
            patch.object(type(template), "_read_path", lambda *_args: (12.5, euro)),
        ):
            card = template._prepare_cards(self.merchant)[self.merchant.id]
        self.assertEqual(card.card["data"]["amount1"]["value"], "€12.50")
        self.assertIn("€", card.card["data"]["thing2"]["value"])

    def test_language(self):
        self.other_merchant.lang = "en_US"
        template = self._create_template({"thing1": "{{ object.type }}"})
        words = self.env["res.partner"]._fields["type"]
        cards = template._prepare_cards(self.merchant + self.other_merchant)
        for partner in self.merchant + self.other_merchant:
            label = dict(words._description_selection(self.env(context={"lang": partner.lang})))["contact"]
            self.assertEqual(cards[partner.id].card["data"]["thing1"]["value"], label)
        # The template's language wins. If it is missing or can't be rendered, the recipient's counts.
        for lang, expected in (("en_US", "en_US"), ("{{ object.nothing }}", "zh_CN"), ("fr_FR", "zh_CN")):
            template.lang = lang
            with self.subTest(lang=lang), mute_logger(wechat_template.__name__):
                card = template._prepare_cards(self.merchant)[self.merchant.id]
                label = dict(words._description_selection(self.env(context={"lang": expected})))["contact"]
                self.assertEqual(card.card["data"]["thing1"]["value"], label)

    def test_cuts_and_refusals_are_explained(self):
        card, data = self._render(
            {
                "thing1": "字" * 25,
                "amount2": "很多",
                "const3": "",
                "character_string4": "{{ object.ref }}",
                "name5": "名" * 12,
            }
        )
        self.assertEqual((data["thing1"], data["const3"]), ("字" * 19 + "…", ""))
        self.assertEqual(len(card.cuts), 2)
        self.assertIn("thing1", card.cuts[0])
        self.assertIn("name5", card.cuts[1])
        self.assertEqual(len(card.errors), 2)
        self.assertIn("amount2", card.errors[0])
        self.assertIn("很多", card.errors[0])
        self.assertIn("character_string4", card.errors[1])

    @mute_logger(wechat_template.__name__)
    def test_failing_expression_fails_only_its_card(self):
        template = self._create_template({"number1": "{{ 1 / (object.color - 1) }}"})
        self.merchant.color, self.other_merchant.color = 1, 3
        cards = template._prepare_cards(self.merchant + self.other_merchant)
        self.assertIn("division by zero", cards[self.merchant.id].errors[0])
        self.assertEqual(cards[self.other_merchant.id].errors, [])
        self.assertEqual(cards[self.other_merchant.id].card["data"]["number1"]["value"], "0.5")

    def test_blank_values_use_the_default(self):
        self.merchant.write({"ref": "  ", "comment": "<!-- only a\ncomment -->"})
        _card, data = self._render(
            {
                "thing1": "{{ object.ref ||| 无 }}",
                "thing2": "编号 {{ object.ref ||| 无 }}",
                "thing3": "{{ object.comment ||| 无 }}",
                "thing4": "{{ 0 ||| 无 }}",
            }
        )
        self.assertEqual(list(data.values()), ["无", "编号 无", "无", "0"])

    def test_comments_of_html_are_left_out(self):
        for comment, expected in (
            ("<p>一<!-- 二\n> 三 -->四</p>", "一四"),
            ("<!-- 一 -->", "无"),
            ("<!-- 一", "无"),
            ("<?xml version='1.0'?>", "无"),
        ):
            with self.subTest(comment=comment):
                # HTML from elsewhere, not sanitised as in Odoo's own fields.
                with patch.object(
                    type(self.merchant), "get_html", lambda _self, html=comment: Markup(html), create=True
                ):
                    card, data = self._render({"thing1": "{{ object.get_html() ||| 无 }}"})
                self.assertEqual((data["thing1"], card.errors), (expected, []))

    def test_blanks_around_an_expression_are_not_text(self):
        template = self._create_template({"amount1": " {{ object.amount_total }} \n"})
        with (
            patch.object(type(template), "_is_field_path", lambda *_args: True),
            patch.object(type(template), "_read_path", lambda *_args: (12.5, self.env.ref("base.EUR"))),
        ):
            card = template._prepare_cards(self.merchant)[self.merchant.id]
        self.assertEqual(card.card["data"]["amount1"]["value"], "€12.50")

    def test_links(self):
        for url, error in (
            ("https://example.com/{{ object.id }}", False),
            ("", False),
            ("javascript:alert(1)", True),
            ("example.com", True),
            ("https://", True),
            ("https://[example.com/", True),
            ("/[{{ object.id }}", False),
        ):
            card, _data = self._render({"thing1": "x"}, url=url)
            with self.subTest(url=url):
                self.assertEqual(bool(card.errors), error, card.errors)

    def test_another_model(self):
        template = self._create_template({"thing1": "x"})
        with self.assertRaisesRegex(UserError, "made for"):
            template._prepare_cards(self.env.user)

    def test_many_records_take_few_queries(self):
        template = self._create_template(
            {"thing1": "{{ object.parent_id.name ||| 无 }}", "thing2": "{{ object.name }}"}
        )
        partners = self.env["res.partner"].create(
            [{"name": f"商家 {number}", "lang": "zh_CN"} for number in range(300)]
        )
        template._prepare_cards(partners[:1])
        self.env.flush_all()
        self.env.invalidate_all()
        with self.assertQueryCount(12):
            cards = template._prepare_cards(partners)
        self.assertEqual(len(cards), 300)


class TestOtherWritings(WechatTemplateCase):
    """A value that WeChat would refuse is written in another way where there is one, and the preview says so."""

    def _render(self, values_by_key, partner=None, **values):
        card, data = super()._render(values_by_key, partner, **values)
        for key, text in data.items():
            if not card.errors:
                self.assertEqual(wechat_keywords.fit(key, text).text, text, f"WeChat refuses {key}")
        return card, data

    def test_labels_of_other_languages(self):
        labels = {
            lang: dict(self.env["res.partner"]._fields["type"]._description_selection(self.env(context={"lang": lang})))
            for lang in ("zh_CN", "en_US")
        }
        chinese, english = labels["zh_CN"]["contact"], labels["en_US"]["contact"]
        self.assertNotEqual(chinese, english)
        for key, lang, sent, refused in (
            ("phrase1", "en_US", chinese, english),
            ("phrase1", "zh_CN", chinese, None),
            ("character_string1", "zh_CN", english, chinese),
            ("letter1", "zh_CN", english, chinese),
            ("letter1", "en_US", english, None),
            ("thing1", "en_US", english, None),
        ):
            self.merchant.lang = lang
            card, data = self._render({key: "{{ object.type }}"})
            with self.subTest(key=key, lang=lang):
                self.assertEqual((data[key], card.errors), (sent, []))
                expected = [f"{key} ({key}) is sent as {sent}: WeChat refuses {refused}."] if refused else []
                self.assertEqual(card.cuts, expected)

    def test_dates_of_other_languages(self):
        self.merchant.lang = "en_US"
        card, data = self._render({"date1": "{{ format_date(datetime.date(2026, 10, 1)) }}"})
        self.assertEqual((data["date1"], card.errors, len(card.cuts)), ("2026年10月1日", [], 1))

    def test_value_without_another_writing_is_refused(self):
        self.merchant.lang = "en_US"
        for key, value in (
            ("phrase1", "Paid"),
            ("phrase1", "{{ object.name }}"),
            ("character_string1", "{{ '订单' }}"),
        ):
            card, data = self._render({key: value})
            with self.subTest(key=key, value=value):
                self.assertEqual((len(card.errors), card.cuts), (1, []))
                self.assertIn(data[key], card.errors[0])

    def test_amounts_of_all_currencies(self):
        currencies = self.env["res.currency"].with_context(active_test=False).search([])
        self.assertGreater(len(currencies), 160)
        keys = ("amount1", "thing2", "character_string3", "number4", "keyword5", "short_thing6")
        template = self._create_template(dict.fromkeys(keys))
        for currency in currencies:
            number = f"{1234.56:.{currency.decimal_places}f}"
            template.line_ids.value = (
                f"{{{{ format_amount(1234.56, object.env['res.currency'].browse({currency.id})) }}}}"
            )
            card = template._prepare_cards(self.merchant)[self.merchant.id]
            data = {key: entry["value"] for key, entry in card.card["data"].items()}
            with self.subTest(currency=currency.name):
                # Most are longer than 5 characters, and would say something else if they were cut.
                self.assertEqual([error for error in card.errors if not error.startswith("short_thing6")], [])
                self.assertEqual(data["amount1"].lstrip("￥¥$€£"), number)
                if data["amount1"] == number:
                    self.assertIn(f"amount1 (amount1) goes without {currency.name}", card.cuts[0])
                self.assertEqual(float(data["number4"]), 1234.56)
                unit = wechat_keywords.Currency(currency.name, currency.decimal_places)
                for key in keys[:5]:
                    self.assertEqual(wechat_keywords.fit(key, data[key], unit).text, data[key])
                symbol = unicodedata.normalize("NFKC", currency.symbol)
                self.assertRegex(data["character_string3"], f"{currency.name}|{re.escape(symbol)}")

    def test_negative_amounts(self):
        amount = "format_amount(-5, object.env.ref('base.EUR'))"
        card, data = self._render({"thing1": f"{{{{ {amount} }}}}", "number2": f"{{{{ {amount} }}}}"})
        self.assertEqual((data["number2"], card.errors), ("-5", []))
        self.assertNotIn("\ufeff", data["thing1"])
        card, _data = self._render({"amount1": f"{{{{ {amount} }}}}"})
        self.assertIn("negative", card.errors[0])

    def test_amounts_with_the_symbol_of_the_record(self):
        currency = wechat_keywords.Currency("TWD", 2, "NT$")
        with patch.object(type(self.env["wechat.template"]), "_get_record_currency", lambda *_args: currency):
            for text in ("NT$ 1,234.50", "NT$1234.50", "1234,50 NT$"):
                card, data = self._render({"amount1": f"{{{{ '{text}' }}}}"})
                with self.subTest(text=text):
                    self.assertEqual((card.errors, float(data["amount1"])), ([], 1234.5))
                    self.assertEqual(len(card.cuts), 1)

    def test_numbers_and_dates_are_not_cut(self):
        card, data = self._render(
            {
                "short_thing1": "{{ 123456.5 }}",
                "short_thing2": "{{ datetime.date(2026, 10, 1) }}",
                "short_thing3": "{{ format_amount(12.5, object.env.ref('base.EUR')) }}",
                "short_thing4": "{{ '一二三四五六' }}",
            }
        )
        self.assertEqual([error.split()[0] for error in card.errors], ["short_thing1", "short_thing2"])
        self.assertEqual((data["short_thing3"], data["short_thing4"]), ("12.50", "一二三四五"))
        self.assertEqual(len(card.cuts), 2)

    @mute_logger(wechat_template.__name__)
    def test_every_type_takes_or_refuses_every_value(self):
        """A card without errors has values that WeChat takes; a refused value is said in words."""
        for value in (
            "object.type",
            "object.name",
            "object.create_date",
            "format_date(object.create_date)",
            "format_amount(1234.5, object.env.ref('base.JPY'))",
            "format_amount(-1, object.env.ref('base.JPY'))",
            "'🇨🇳' * 30",
            "'-\\ufeff5'",
            "'\\u200d'",
            "10 ** 20",
            "True",
        ):
            template = self._create_template(
                {f"{name}1": f"{{{{ {value} }}}}" for name in wechat_keywords.KEYWORD_TYPES}
            )
            for lang in ("zh_CN", "en_US"):
                self.merchant.lang = lang
                card = template._prepare_cards(self.merchant)[self.merchant.id]
                for line in template.line_ids:
                    text = card.card["data"][line.key]["value"]
                    refused = any(error.startswith(line.key) for error in card.errors)
                    with self.subTest(value=value, key=line.key, lang=lang):
                        if not refused:
                            unit = wechat_keywords.Currency("JPY", 0)
                            self.assertEqual(wechat_keywords.fit(line.key, text, unit).text, text)


class TestExpressionRights(WechatTemplateCase):
    """Only template editors may write expressions, in any field."""

    def test_writing(self):
        template = self._create_template({"thing1": "{{ object.name }}"}).with_user(self.manager)
        for vals in (
            {"url": UNSAFE},
            {"lang": UNSAFE},
            {"miniprogram_path": UNSAFE},
            {"line_ids": [Command.update(template.line_ids.id, {"value": UNSAFE})]},
            {"line_ids": [Command.create({"key": "thing2", "value": UNSAFE})]},
        ):
            with self.subTest(vals=vals), self.assertRaises(AccessError):
                template.write(vals)
        for write in (
            lambda: template.line_ids.write({"value": UNSAFE}),
            lambda: (
                self.env["wechat.template.line"]
                .with_user(self.manager)
                .create({"template_id": template.id, "key": "thing3", "value": "{{ object.write_uid.login }}"})
            ),
            lambda: (
                self.env["wechat.template"]
                .with_user(self.manager)
                .create({"name": "x", "account_id": self.account.id, "template_uid": "x", "url": UNSAFE})
            ),
        ):
            with self.assertRaises(AccessError):
                write()
        # Texts without expressions, and expressions that mail.render.mixin allows to all users.
        template.write({"name": "改名", "url": "https://example.com", "fallback": "email"})
        template.line_ids.value = "{{ object.name }} 您好"
        template.with_user(self.editor).line_ids.value = UNSAFE
        template.name = "再改名"
        with self.assertRaises(AccessError):
            template.copy()

    def test_previewing_an_unsaved_expression(self):
        template = self._create_template({"thing1": "{{ object.name }}"})
        with Form(template.with_user(self.manager)) as form:
            form.preview_ref = f"res.partner,{self.merchant.id}"
            with form.line_ids.edit(0) as line:
                line.value = UNSAFE
            self.assertIn("thing1", form.card_preview["errors"][0])
            self.assertNotIn(self.manager.login, str(form.card_preview))
            with form.line_ids.edit(0) as line:
                line.value = "{{ object.name }}"

    def test_every_sender_may_render_an_editors_template(self):
        template = self._create_template({"thing1": "{{ object.create_uid.name }}"})
        card = template.with_user(self.user)._prepare_cards(self.merchant.with_user(self.user))[self.merchant.id]
        self.assertIn("thing1", card.errors[0])
        # As in the composer and in automation rules, after an editor wrote the template.
        card = template.sudo()._prepare_cards(self.merchant.with_user(self.user))[self.merchant.id]
        self.assertEqual(card.errors, [])


class TestPreview(WechatTemplateCase):
    def test_form(self):
        template = self._create_template({"thing1": "{{ object.name }}"}, example="thing1:示例", url="/my")
        self.assertEqual(template.card_preview["lines"], [{"label": "thing1", "value": "示例"}])
        with Form(template) as form:
            form.preview_ref = f"res.partner,{self.merchant.id}"
            self.assertEqual(form.card_preview["lines"][0]["value"], "杭州西湖茶庄")
            with form.line_ids.edit(0) as line:
                line.value = "{{ object.name }}" * 4
            self.assertEqual(form.card_preview["lines"][0]["value"], ("杭州西湖茶庄" * 4)[:19] + "…")
            self.assertEqual(len(form.card_preview["cuts"]), 1)

    def test_untyped_keywords_are_shown_as_on_the_phone(self):
        template = self._create_template(
            {"first": "您好", "keyword1": "{{ object.name }}\n" * 4, "remark": "谢谢"}, example="first:您好"
        )
        self.assertEqual([line["label"] for line in template.card_preview["lines"]], ["keyword1"])
        card = template._prepare_preview(self.merchant)
        self.assertEqual(card["lines"], [{"label": "keyword1", "value": "杭州西湖茶庄 杭州西湖茶庄 杭州西湖茶…"}])
        self.assertEqual(card["data"]["first"], {"value": "您好"})
        self.assertEqual([cut.split()[0] for cut in card["cuts"]], ["first", "keyword1", "remark"])
        self.assertEqual(
            template.line_ids.mapped("limit"),
            ["Not shown on the phone", "20 characters; longer ones are cut", "Not shown on the phone"],
        )

    def test_dialog(self):
        template = self._create_template({"thing1": "{{ object.type }}"})
        preview = self.env["wechat.template.preview"].with_context(default_template_id=template.id)
        with Form(preview) as form:
            self.assertTrue(form.resource_ref)
            form.resource_ref = f"res.partner,{self.merchant.id}"
            form.lang = "en_US"
            self.assertEqual(form.card["lines"][0]["value"], "Contact")

    def test_status(self):
        template = self._create_template({"thing1": "x", "const2": False})
        self.assertEqual(template.status, "ready")
        template.line_ids[0].value = False
        self.assertEqual(template.status, "incomplete")
        template.stop_reason = "47003"
        self.assertEqual(template.status, "stopped")
        template.is_vanished = True
        self.assertEqual(template.status, "vanished")


class TestSynchronisation(WechatTemplateCase):
    def setUp(self):
        super().setUp()
        self.content = "订单号:{ {character_string1.DATA} }\n金额：{{amount2.DATA}}"

    def _answer(self, *templates):
        self.wechat.answer(TEMPLATES_PATH, {"template_list": list(templates)})

    def _prepare(self, uid="uid-1", **values):
        return {"template_id": uid, "title": "新订单通知", "content": self.content, "example": "订单号:1", **values}

    def _find(self, uid="uid-1"):
        return self.env["wechat.template"].search([("template_uid", "=", uid)])

    def test_new_templates_are_added_with_their_keywords(self):
        self._answer(self._prepare())
        action = self.account.with_user(self.manager).action_sync_templates()
        template = self._find()
        self.assertRecordValues(
            template,
            [
                {
                    "name": "新订单通知",
                    "title": "新订单通知",
                    "content": self.content,
                    "example": "订单号:1",
                    "status": "incomplete",
                }
            ],
        )
        self.assertRecordValues(
            template.line_ids,
            [
                {"key": "character_string1", "label": "订单号", "value": False},
                {"key": "amount2", "label": "金额", "value": False},
            ],
        )
        self.assertIn("1", action["params"]["message"])

    def test_expressions_are_kept(self):
        self._answer(self._prepare())
        self.account._sync_templates()
        template = self._find()
        template.write({"name": "我们的名字", "url": "https://example.com"})
        template.line_ids[0].value = "{{ object.ref }}"
        twin = template.copy({"model_id": self.env["ir.model"]._get_id("res.users")})
        self.content = "单号:{{character_string1.DATA}}\n商家:{{thing3.DATA}}"
        self._answer(self._prepare(title="改了"))
        self.account._sync_templates()
        self.assertEqual(self._find(), template + twin)
        for record in template + twin:
            self.assertEqual((record.title, record.url), ("改了", "https://example.com"))
            self.assertRecordValues(
                record.line_ids,
                [
                    {"key": "character_string1", "label": "单号", "value": "{{ object.ref }}"},
                    {"key": "thing3", "label": "商家", "value": False},
                ],
            )
        self.assertEqual(template.name, "我们的名字")

    def test_vanished_templates_are_marked_and_restored(self):
        self._answer(self._prepare())
        self.account._sync_templates()
        template = self._find()
        template.active = False
        other = self._create_template({}, account_id=self._create_account().id)
        self._answer()
        self.account._sync_templates()
        self.assertTrue(template.exists().is_vanished)
        self.assertFalse(other.is_vanished)
        self._answer(self._prepare())
        self.assertEqual(self.account._sync_templates(), {"all": 1, "new": 0, "vanished": 0})
        self.assertFalse(template.is_vanished)

    def test_refusal_is_explained(self):
        self.wechat.answer(TEMPLATES_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1-2-3"})
        with self.assertRaisesRegex(UserError, "(?s)could not be read.*48001 api unauthorized"):
            self.env["wechat.template"].with_user(self.manager).action_sync()

    def test_other_accounts_are_read_after_a_refusal(self):
        self.account.sequence = -1
        other = self._create_account(sequence=1)
        self.env["wechat.account"].search([("id", "not in", (self.account + other).ids)]).active = False
        self.wechat.answer(
            TEMPLATES_PATH, {"errcode": 48001, "errmsg": "no"}, {"template_list": [self._prepare("uid-2")]}
        )
        action = self.env["wechat.template"].with_user(self.manager).action_sync()
        self.assertEqual(self._find("uid-2").account_id, other)
        params = action["params"]
        self.assertEqual((params["type"], params["sticky"]), ("warning", True))
        self.assertIn("WeChat has 1 templates: 1 are new here", params["message"])
        self.assertRegex(params["message"], f"The templates of {self.account.name} could not be read.*48001 no")

    def test_all_refused_accounts_are_named(self):
        other = self._create_account(name="第二个公众号")
        self.wechat.answer(TEMPLATES_PATH, *[{"errcode": 48001, "errmsg": "no"}] * 2)
        with self.assertRaisesRegex(UserError, f"(?s){self.account.name}.*第二个公众号"):
            (self.account + other).with_user(self.manager).action_sync_templates()

    def test_cron_continues_after_a_refusal(self):
        self.account.sequence = -1
        other = self._create_account()
        self.wechat.answer(
            TEMPLATES_PATH, {"errcode": 48001, "errmsg": "no"}, {"template_list": [self._prepare("uid-2")]}
        )
        with self.assertLogs("odoo.addons.wechat_merchant_bind.models.channel.wechat_account", "WARNING"):
            self.env.ref("wechat_merchant_bind.ir_cron_sync_templates").method_direct_trigger()
        self.assertEqual(self._find("uid-2").account_id, other)

    def test_add_from_the_library(self):
        dialog = self.env["wechat.template.add"].with_user(self.manager)
        dialog = dialog.create({"template_id_short": " 43216 ", "words": "订单号\n\n 金额 "})
        self.assertEqual(dialog.account_id, self.account)
        self._answer(self._prepare("library-43216"))
        action = dialog.action_add()
        [call] = [call for call in self.wechat.calls if call.path == ADD_TEMPLATE_PATH]
        self.assertEqual(call.payload, {"template_id_short": "43216", "keyword_name_list": ["订单号", "金额"]})
        self.assertEqual(action["res_id"], self._find("library-43216").id)

    def test_refusals_of_the_library(self):
        dialog = self.env["wechat.template.add"].create({"template_id_short": "1", "words": "x"})
        for code, words in (
            (40037, "no template with the number 1"),
            (40246, "keywords"),
            (45026, "as many templates"),
        ):
            self.wechat.answer(ADD_TEMPLATE_PATH, {"errcode": code, "errmsg": "no"})
            with self.subTest(code=code), self.assertRaisesRegex(UserError, words):
                dialog.action_add()


class TestTestMessage(WechatTemplateCase):
    def _create_test(self, template, **values):
        return (
            self.env["wechat.template.test"]
            .with_user(self.editor)
            .create({"template_id": template.id, "partner_id": self.merchant.id, **values})
        )

    def test_test_message_has_the_highest_priority(self):
        self._bind()
        template = self._create_template({"thing1": "{{ object.name }}"})
        test = self._create_test(template, resource_ref=f"res.partner,{self.other_merchant.id}")
        action = test.action_send()
        self.assertEqual((action["res_model"], action["res_id"]), (test._name, test.id))
        self.assertRecordValues(
            test.message_id,
            [
                {
                    "partner_id": self.merchant.id,
                    "kind": "test",
                    "state": "outgoing",
                    "priority": 0,
                    "res_id": self.other_merchant.id,
                    "user_id": self.editor.id,
                }
            ],
        )
        self.assertEqual(test.message_id.sudo().card["data"]["thing1"]["value"], "绍兴黄酒行")
        self.assertEqual(test.state, "outgoing")

    def test_unsendable_test_message_is_refused(self):
        template = self._create_template({"amount1": "很多"})
        with self.assertRaisesRegex(UserError, "not bound"):
            self._create_test(template).action_send()
        self._bind()
        with self.assertRaisesRegex(UserError, "amount1"):
            self._create_test(template).action_send()
        self.assertFalse(self.env["wechat.message"].search([("template_id", "=", template.id)]))


class TestWelcome(WechatTemplateCase):
    def _scan(self):
        code = self._make_code()
        self.env["wechat.binding"]._create_from_scan(code, self._make_openid(), datetime(2026, 1, 1))
        return self.env["wechat.message"].search([("partner_id", "=", self.merchant.id)])

    def test_welcome_is_off_by_default(self):
        self.assertFalse(self._scan())

    def test_welcome_is_queued_without_a_call(self):
        self.account.welcome_template_id = self._create_template({"thing1": "{{ object.name }}"})
        code = self._make_code()
        self.wechat.calls.clear()
        self.env["wechat.binding"]._create_from_scan(code, self._make_openid(), datetime(2026, 1, 1))
        message = self.env["wechat.message"].search([("partner_id", "=", self.merchant.id)])
        self.assertRecordValues(message, [{"kind": "welcome", "state": "outgoing", "priority": 0}])
        self.assertEqual(message.card["data"]["thing1"]["value"], "杭州西湖茶庄")
        self.assertEqual(self.wechat.calls, [])

    def test_refused_card_is_kept_with_its_reason(self):
        self.account.welcome_template_id = self._create_template({"amount1": "很多"})
        message = self._scan()
        self.assertRecordValues(message, [{"state": "failed", "failure_type": "wechat_value"}])
        self.assertIn("amount1", message.failure_reason)

    def test_failing_welcome_keeps_the_binding(self):
        self.account.welcome_template_id = self._create_template({"thing1": "x"})

        def fail(*_args):
            self.env.cr.execute("SELECT 1 / 0")

        logger = "odoo.addons.wechat_merchant_bind.models.outbox.wechat_binding"
        with (
            patch.object(type(self.env["wechat.message"]), "_queue", fail),
            self.assertLogs(logger, "ERROR"),
            mute_logger("odoo.sql_db"),
        ):
            self.assertFalse(self._scan())
        self.assertTrue(self._get_live_binding())

    def test_welcome_template_must_fit_the_account(self):
        other = self._create_template({"thing1": "x"}, account_id=self._create_account().id)
        users = self._create_template({"thing1": "x"}, model_id=self.env["ir.model"]._get_id("mail.channel") or False)
        for template in other + users:
            with self.assertRaises(ValidationError):
                self.account.welcome_template_id = template


class TestActionMenu(WechatTemplateCase):
    def test_manager_adds_and_removes_the_action(self):
        template = self._create_template({"thing1": "x"}).with_user(self.manager)
        template.action_create_sidebar_action()
        action = template.sudo().sidebar_action_id
        bindings = self.env["ir.actions.actions"].with_user(self.user).get_bindings("res.partner")
        self.assertIn(action.id, [binding["id"] for binding in bindings["action"]])
        bindings = self.env["ir.actions.actions"].with_user(self.employee).get_bindings("res.partner")
        self.assertNotIn(action.id, [binding["id"] for binding in bindings.get("action", ())])
        template.action_unlink_sidebar_action()
        self.assertFalse(action.exists())
        template.action_create_sidebar_action()
        action = template.sudo().sidebar_action_id
        template.unlink()
        self.assertFalse(action.exists())
