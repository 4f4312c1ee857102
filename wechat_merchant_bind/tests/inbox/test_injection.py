"""Hostile texts on their way through the addon: a merchant's name, what a phone sends, what WeChat's answers say.

What runs in the browser is in tests/e2e/test_injection.py, which looks whether a script has run.
"""

import csv
import io
import json
import logging
import re
import time
import unicodedata
import zipfile
from unittest.mock import patch

import openpyxl
from lxml import html

from odoo import http
from odoo.exceptions import UserError
from odoo.tools import mute_logger

from ..binding.test_undo import UndoCase
from ..common import QR_PATH, SEND_PATH
from ..common_outbox import OutboxCase
from ..common_push import Push, WechatPushCase

WEBHOOK_LOGGER = "odoo.addons.wechat_merchant_bind.controllers.webhook"
MESSAGES_MODULE = "odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_batch"
MARKUP = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "<a href=javascript:alert(1)>茶</a>",
    "</title></style></textarea><iframe src=//evil.example>",
    "<t t-out='env.cr'/><t t-call='web.login'/>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
)
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", '=HYPERLINK("http://evil.example")', "\t=1+1")
TEMPLATES = ("%s%n%d", "%(merchant)s", "{0}{merchant}{x.__class__}", "{{ object.company_id }}", "${7*7}", "{% x %}")
TEXTS = (
    "]]><Event>SCAN</Event>",
    "]]]]><![CDATA[>",
    "a\r\nBcc: evil@example.com\r\n\r\nb",
    "a\n2026-11-24 10:32:00,000 1 ERROR db odoo: forged",
    "../../../etc/passwd",
    "..\\..\\evil.exe",
    "/etc/passwd",
    "C:\\evil.exe",
    "茶\u202egnp.exe",
    "\u200e\u2066茶\ufeff",
    "🍵𝄞👨‍👩‍👧",
    "'; DROP TABLE res_partner; --",
    "\"quoted\" 'twice' `thrice`",
)
HOSTILE = MARKUP + FORMULAS + TEMPLATES + TEXTS
NAMELESS = re.compile(r"\s+")


def squeeze(text):
    """Return a text as a page shows it, with single blanks."""
    return NAMELESS.sub(" ", text).strip()


class InjectionCase(WechatPushCase):
    def assertHarmless(self, page, *texts, scripts=()):
        """Check that a page shows texts unchanged, and that none has become markup.

        :param scripts: addresses of the scripts that belong to it.
        """
        document = html.fromstring(page)
        for element in document.iter("br", "p"):
            element.tail = f"\n{element.tail or ''}"
        for element in document.iter():
            if not isinstance(element.tag, str):
                continue
            if element.tag == "script":
                self.assertIn(element.get("src"), scripts)
            self.assertNotIn(element.tag, ("iframe", "svg", "object", "embed", "base", "t"))
            for name, value in element.attrib.items():
                self.assertFalse(name.startswith("on"), f"{element.tag} {name}={value}")
                if name in ("href", "src", "action", "formaction"):
                    self.assertNotRegex(value, r"(?i)^\s*javascript:|^//evil")
                    self.assertNotEqual(value, "x")
        shown = squeeze(document.text_content())
        for text in texts:
            self.assertIn(squeeze(text), shown)


class TestNames(InjectionCase):
    """Hostile names of merchants stay texts."""

    def _live(self, name, number):
        """Generate, scan, refuse another, unbind for a hostile reason; return the merchant."""
        merchant = self._create_merchant(name)
        code, openid = self._make_code(merchant), self._make_openid()
        answer = self._push_scan(code, openid, create_time=int(time.time()) + number)
        self.assertEqual(
            answer.reply.keys(), {"ToUserName", "FromUserName", "CreateTime", "MsgType", "Content"}, "Nothing was added"
        )
        shown = name.replace("\r\n", "\n")
        self.assertEqual(answer.reply["Content"], f"您好！{shown}，公众号绑定成功！")
        self.assertBound(merchant, openid)
        self._push_scan(self._make_code(self._create_merchant("另一家")), openid)
        merchant.with_user(self.manager).action_wechat_unbind(name)
        self.env.flush_all()
        return merchant

    def test_reply_chatter_and_log(self):
        for number, name in enumerate(HOSTILE):
            with self.subTest(name):
                merchant = self._live(name, number)
                self.assertHarmless("".join(str(message.body) for message in merchant.message_ids), name)
                notes = self._get_operations(merchant).mapped("note")
                self.assertIn(name, "".join(note or "" for note in notes), "The log keeps it as it is")

    def test_public_pages(self):
        with self.assertNoLogs("odoo.addons.base.models.ir_qweb", "WARNING"):
            for name in HOSTILE:
                # The page shows half of a name, which can hold the whole text.
                merchant = self._create_merchant(name + "　" * len(name))
                code = self._make_code(merchant)
                with self.subTest(name):
                    page = self.url_open(f"/wechat/bind/{code.share_token}")
                    self.assertEqual(page.status_code, 200)
                    self.assertHarmless(page.text, scripts=["/wechat_merchant_bind/static/src/binding/share/share.js"])
                    self.assertNotIn("alert(1)>", page.text)

    def test_paper(self):
        codes = self.env["wechat.bind.code"].union(*(self._make_code(self._create_merchant(name)) for name in HOSTILE))
        reports = self.env["ir.actions.report"].with_user(self.user)
        for layout in ("poster", "card"):
            page = reports._render_qweb_html(f"wechat_merchant_bind.report_bind_{layout}", codes.ids)[0].decode()
            with self.subTest(layout):
                self.assertHarmless(page, *HOSTILE)
                self.assertEqual(set(re.findall(r"src=\"(\w+):", page)), {"data"}, "The printer fetches nothing")
                self.assertNotRegex(page, r"url\(|@import|<link")

    def test_sheet_and_outcomes(self):
        partners = self.env["res.partner"].union(*(self._create_merchant(name) for name in HOSTILE))
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(partners).sudo()
        self.env.flush_all()
        with patch(f"{MESSAGES_MODULE}.THREADS", 1):
            self.env.ref("wechat_merchant_bind.ir_cron_drain_bind_batches").method_direct_trigger()
        self.env.invalidate_all()
        # As if WeChat had refused one.
        batch.line_ids[0].state = "failed"
        batch.line_ids[0].write({"reason": "".join(MARKUP), "summary": "".join(MARKUP)})
        batch.invalidate_recordset(["outcomes"])
        self.assertHarmless(str(batch.outcomes), "".join(MARKUP))
        page = self.env["ir.actions.report"]._render_qweb_html("wechat_merchant_bind.bind_batch_sheet", batch.ids)[0]
        self.assertHarmless(page.decode())


class TestFiles(InjectionCase):
    """Hostile names in files: the name of a file stays a name, cells stay texts."""

    def setUp(self):
        super().setUp()
        self.partners = self.env["res.partner"].union(*(self._create_merchant(name) for name in HOSTILE))
        self.batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.partners).sudo()
        self.env.flush_all()
        with patch(f"{MESSAGES_MODULE}.THREADS", 1):
            self.env.ref("wechat_merchant_bind.ir_cron_drain_bind_batches").method_direct_trigger()
        self.env.invalidate_all()
        self.user.group_ids += self.env.ref("base.group_allow_export")
        self.authenticate(self.user.login, self.user.login)

    def assertFileName(self, name):
        """Check that a name stays in its folder on every system, and shows its extension."""
        self.assertNotRegex(name, r"[/\\:<>|*?\"\x00-\x1f\x7f]")
        self.assertNotIn(name.split(".")[0], ("", "CON"))
        for character in name:
            self.assertNotIn(unicodedata.category(character), ("Cc", "Cf", "Co", "Cs"))

    def test_pictures(self):
        response = self.url_open(f"/wechat/batch/{self.batch.id}/pictures.zip")
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            names = archive.namelist()
        self.assertEqual((len(names), len({name.casefold() for name in names})), (len(HOSTILE), len(HOSTILE)))
        for name in names:
            with self.subTest(name):
                self.assertFileName(name)

    def test_the_picture_of_one(self):
        for partner in self.partners:
            with self.subTest(partner.name):
                name = partner.wechat_bind_code_ids._get_file_name()
                self.assertFileName(name)
                dialog = (
                    self.env["wechat.bind.code.show"]
                    .with_user(self.user)
                    .browse(partner.with_user(self.user).action_wechat_bind_code()["res_id"])
                )
                response = self.url_open(dialog.action_download()["url"])
                self.assertEqual(response.headers["Content-Type"], "image/png")
                self.assertNotIn("Bcc", response.headers)
                disposition = response.headers["Content-Disposition"]
                self.assertTrue(disposition.startswith("attachment"), disposition)
                self.assertNotRegex(disposition, r"[\r\n<>\u202e]|\.\./")

    def test_our_workbook(self):
        response = self.url_open(f"/wechat/batch/{self.batch.id}/merchants.xlsx")
        sheet = openpyxl.load_workbook(io.BytesIO(response.content)).active
        cells = [row[1] for row in sheet.iter_rows(min_row=2)]
        self.assertEqual({cell.data_type for cell in cells}, {"s"})
        self.assertFalse([cell for row in sheet.iter_rows() for cell in row if cell.hyperlink])
        for cell, name in zip(cells, HOSTILE, strict=True):
            self.assertEqual(squeeze(cell.value.replace("_x000D_", "")), squeeze(name))

    def test_exports_of_odoo(self):
        """Odoo guards its CSV exports, also those of the addon's lists."""
        data = {
            "import_compat": False,
            "context": {},
            "domain": [("id", "in", self.batch.line_ids.ids)],
            "fields": [{"name": "partner_id/name", "label": "商家", "type": "char"}],
            "groupby": [],
            "ids": False,
            "model": "wechat.bind.batch.line",
        }
        values = {"data": json.dumps(data), "csrf_token": http.Request.csrf_token(self)}
        response = self.url_open("/web/export/csv", data=values)
        rows = list(csv.reader(io.StringIO(response.text.lstrip("\ufeff"))))[1:]
        self.assertEqual(len(rows), len(HOSTILE))
        for [cell] in rows:
            self.assertFalse(cell.startswith(("=", "+", "-")), cell)


class TestMails(UndoCase, InjectionCase):
    def test_mails(self):
        """The mail with a code, and the one that tells about a binding: no header, recipient or markup is added."""
        self.env.company.email = self.user.email = "hello@ourselves.example.com"
        for number, name in enumerate(HOSTILE):
            with self.subTest(name):
                merchant = self._create_merchant(name, email=f"m{number}@example.com")
                code = self._make_code(merchant)
                merchant.with_user(self.user)._wechat_email_bind_codes()
                self._push_scan(code, self._make_openid())
                self.env.flush_all()
                with self._outbox() as outbox:
                    self.env["mail.mail"].sudo().search([("state", "=", "outgoing")]).send()
                own = [message for message in outbox if f"m{number}@" in dict(message.raw_items())["To"]]
                self.assertEqual(len(own), 2)
                for message in own:
                    self.assertTrue({"Bcc", "Cc"}.isdisjoint(header for header, _value in message.raw_items()))
                    self.assertNotIn("evil@example.com", dict(message.raw_items())["To"])
                    self.assertHarmless(message.get_body(("html",)).get_content(), name)
                    for part in message.iter_attachments():
                        TestFiles.assertFileName(self, part.get_filename())


class TestPushes(InjectionCase):
    """Hostile fields of an authentic push stay texts."""

    def _get_harmful(self):
        # XML holds no other control characters, and a parser reads a carriage return as a line feed.
        return [text for text in HOSTILE if "]]>" not in text]

    def test_event_keys_and_openids(self):
        known = self._make_openid()
        self._bind(self.other_merchant, known)
        code = self._make_code()
        with self.assertNoLogs("odoo", "WARNING"):
            for number, text in enumerate(self._get_harmful()):
                for event, openid, key in (
                    ("SCAN", known, text),
                    ("SCAN", known, f"mb_{text}"),
                    ("subscribe", known, f"qrscene_mb_{text}"),
                    ("SCAN", text, code.scene_str),
                    (text, known, code.scene_str),
                ):
                    with self.subTest(event=event, openid=openid, key=key):
                        answer = self._push_event(event, openid, int(time.time()) + number, EventKey=key)
                        self.assertEqual(answer.status, 200)
                        for part in (answer.body, *answer.reply.values()):
                            self.assertNotIn(squeeze(text), squeeze(part), "Nothing is echoed")
        self.assertNotBound(self.merchant)
        self.assertEqual(code.state, "active")
        self.assertEqual(set(self._get_events().mapped("openid")), {known, False})
        notes = "".join(str(message.body) for message in (self.merchant + self.other_merchant).message_ids)
        self.assertHarmless(f"<p>{notes}</p>")

    def test_messages_and_their_reply(self):
        """The reply swaps sender and recipient; neither can break out of its field."""
        openid = self._make_openid()
        for number, text in enumerate(self._get_harmful()):
            with self.subTest(text):
                answer = self._push_text(openid, content=text, msg_id=number + 1)
                self.assertEqual(
                    answer.reply.keys(), {"ToUserName", "FromUserName", "CreateTime", "MsgType"}, answer.body
                )

    @mute_logger(WEBHOOK_LOGGER)
    def test_original_ids(self):
        """Only a text in the form of WeChat's IDs is learnt from the first push."""
        for text in ("<b>x</b>", "gh_\u202ex", "../x", "gh_" + "x" * 200):
            account = self._create_account(original_id=False)
            fields = self._event_fields("VIEW", self._make_openid(), account=account, EventKey="x")
            self._send(Push(account, {**fields, "ToUserName": text}))
            account.invalidate_recordset()
            self.assertFalse(account.original_id, text)


class TestCards(OutboxCase, InjectionCase):
    """Hostile values of a template stay texts in the preview, the payload and the chatter."""

    def test_values(self):
        template = self._create_template(
            line_ids=[(0, 0, {"key": "thing1", "label": "<b>商家</b>", "value": "{{ object.name }}"})]
        )
        for name in HOSTILE:
            merchant = self._create_merchant(name)
            self._bind(merchant)
            with self.subTest(name):
                composer = (
                    self.env["wechat.composer"]
                    .with_user(self.user)
                    .create({"template_id": template.id, "res_model": "res.partner", "res_ids": f"[{merchant.id}]"})
                )
                value = composer.card["lines"][0]["value"]
                # WeChat allows 20 characters; nothing of it is evaluated.
                self.assertTrue(squeeze(name).startswith(squeeze(value.rstrip("…"))[:15]), value)
                composer.action_send()
                message = self.env["wechat.message"].search([("partner_id", "=", merchant.id)])
                self.assertEqual(message.card["data"]["thing1"]["value"], value)
                self.assertHarmless(str(message.mail_message_id.body), value, "<b>商家</b>")

    def test_the_address_of_a_card(self):
        for url in ("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd"):
            with self.subTest(url):
                template = self._create_template(url="{{ object.website }}")
                self.merchant.website = url
                self.assertTrue(template._prepare_cards(self.merchant)[self.merchant.id].errors, "It is not sent")


class TestErrors(OutboxCase, InjectionCase):
    """Hostile answers in the place of WeChat's stay texts."""

    def test_errmsg(self):
        for text in HOSTILE:
            with self.subTest(text):
                self.wechat.answer(SEND_PATH, {"errcode": 47001, "errmsg": f"{text} rid: 1-2"})
                records = []
                with patch.object(logging.Logger, "handle", lambda _logger, record, r=records: r.append(record)):
                    messages = self._queue()
                    self._process_queue()
                for record in records:
                    self.assertNotRegex(record.getMessage(), r"[\r\n\u202e]", "A record is one line")
                self.assertEqual(messages.state, "failed")
                self.assertNotRegex(messages.errmsg, r"[\r\n\u202e]")

    def test_errmsg_in_words(self):
        for text in MARKUP:
            self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": text})
            with self.assertRaises(UserError) as refused:
                self._make_code(self._create_merchant("被拒"))
            self.assertIn(text, str(refused.exception), "It is told as it is, and Odoo's dialogs show texts")
        check = self.env["wechat.account.check"].create({"account_id": self.account.id})
        self.assertNotIn("html", {field.type for field in check.line_ids._fields.values()})
        self.assertNotIn("html", {field.type for field in self.env["wechat.message"]._fields.values()})
