import io
import unicodedata
from itertools import pairwise

import pypdfium2

from odoo.exceptions import AccessError, UserError
from odoo.tools import mute_logger

from ..common import WechatCase, WechatHttpBase
from ..common_pictures import read_code

# Sizes of the paper formats in millimetres.
SIZES = {"poster": (210, 297), "card": (100, 140)}
POINTS = 72 / 25.4


class PrintingCase(WechatCase):
    def assertPrinted(self, pdf, codes, layout):
        """Check that a PDF has one page of the right size per code, with the code and the merchant's name."""
        document = pypdfium2.PdfDocument(pdf)
        self.assertEqual(len(document), len(codes))
        for page, code in zip(document, codes, strict=True):
            for size, expected in zip(page.get_size(), SIZES[layout], strict=True):
                self.assertAlmostEqual(size / POINTS, expected, delta=1)
            text = self._get_text(page)
            self.assertIn(code.partner_id.name, text)
            picture = page.render(scale=150 / 72).to_pil().convert("L")
            self.assertEqual(read_code(self._save(picture)), code.qr_content)
            self._assert_fills_the_page(picture)
        return document

    def _assert_fills_the_page(self, picture):
        """Check that the sheet is scaled to the paper: the bar at its top is as wide as the page."""
        top = [picture.getpixel((x, 4)) for x in range(picture.width)]
        self.assertLess(sum(pixel > 250 for pixel in top), picture.width * 0.02)

    def _get_text(self, page):
        """Return the text of a page. PDFs store some characters as look-alikes: the radical 一 for the number."""
        return unicodedata.normalize("NFKC", page.get_textpage().get_text_range())

    def _save(self, picture):
        content = io.BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()


class TestReport(PrintingCase):
    def _render(self, codes, layout):
        report = self.env["ir.actions.report"].with_user(self.user).with_context(force_report_rendering=True)
        return report._render_qweb_pdf(f"wechat_merchant_bind.wechat_bind_code_report_{layout}", codes.ids)[0]

    def test_each_layout_shows_the_code_and_its_expiry(self):
        self.merchant.tz = "Asia/Shanghai"
        code = self._make_code()
        code.expires_at = "2040-12-31 20:32:00"
        self.env.flush_all()
        for layout in SIZES:
            with self.subTest(layout=layout):
                document = self.assertPrinted(self._render(code, layout), code, layout)
                text = self._get_text(document[0])
                for words in ("2041-01-01 04:32", "微信扫一扫", "关注公众号", "绑定成功"):
                    self.assertIn(words, text)

    def test_each_layout_shows_the_sender(self):
        self.account.name = "西湖茶业服务号"
        self.env.company.write({"name": "西湖茶业有限公司", "phone": "0571-88880000"})
        code = self._make_code()
        for layout in SIZES:
            with self.subTest(layout=layout):
                document = self.assertPrinted(self._render(code, layout), code, layout)
                text = self._get_text(document[0])
                for words in ("西湖茶业有限公司", "西湖茶业服务号", "0571-88880000"):
                    self.assertIn(words, text)

    def test_several_codes_make_one_document(self):
        """Unpatched wkhtmltopdf, as in Debian, can't join documents."""
        self.other_merchant.name = "绍兴酒坊"
        merchants = self.merchant + self.other_merchant + self._create_merchant("长" * 60)
        codes = self.env["wechat.bind.code"].union(*(self._make_code(merchant) for merchant in merchants))
        document = self.assertPrinted(self._render(codes[:2], "card"), codes[:2], "card")
        self.assertEqual(len(document), 2)
        self.assertEqual(len(pypdfium2.PdfDocument(self._render(codes, "poster"))), 3)

    def test_the_sheet_has_twelve_codes_per_page(self):
        """The rows have the same height and fill the page."""
        names = [f"shop {number:02}" for number in range(13)]
        merchants = self.env["res.partner"].union(*map(self._create_merchant, names))
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(merchants).sudo()
        for line in batch.line_ids:
            line.write({"state": "done", "code_id": self._make_code(line.partner_id).id})
        report = self.env["ir.actions.report"].with_user(self.user).with_context(force_report_rendering=True)
        pdf = report._render_qweb_pdf("wechat_merchant_bind.wechat_bind_batch_report", batch.ids)[0]
        document = pypdfium2.PdfDocument(pdf)
        self.assertEqual(len(document), 2)
        page = document[0].get_textpage()
        bottoms = [page.get_charbox(page.search(name).get_next()[0])[1] / POINTS for name in names[:12:3]]
        heights = [upper - lower for upper, lower in pairwise(bottoms)]
        for height in heights:
            self.assertAlmostEqual(height, 69, delta=1, msg=str(heights))

    def test_only_open_codes_are_printed(self):
        former = self._make_code()
        code = self.merchant.with_user(self.user)._wechat_regenerate_bind_code().sudo()
        self.assertPrinted(self._render(former + code, "card"), code, "card")
        with self.assertRaisesRegex(UserError, "no valid binding code"):
            self._render(former, "card")

    def test_codes_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        account = self._create_account(company_id=company.id)
        merchant = self._create_merchant("外地商家", company_id=company.id)
        code = self.env["wechat.bind.code"]._create_for(merchant)
        self.assertEqual(code.account_id, account)
        with self.assertRaises(AccessError):
            self._render(code, "poster")


class TestActions(PrintingCase):
    def test_the_dialog_prints_its_code(self):
        show = self.env["wechat.bind.code.show"].browse(
            self.merchant.with_user(self.user).action_wechat_bind_code()["res_id"]
        )
        for action, name in (
            (show.with_user(self.user).action_print_poster(), "report_bind_poster"),
            (show.with_user(self.user).action_print_card(), "report_bind_card"),
        ):
            self.assertEqual(action["type"], "ir.actions.report")
            self.assertEqual(action["report_name"], f"wechat_merchant_bind.{name}")
            self.assertEqual(action["context"]["active_ids"], show.code_id.ids)

    def test_the_list_prints_open_codes_and_names_the_others(self):
        code = self._make_code()
        merchants = (self.merchant + self.other_merchant).with_user(self.user)
        notification = merchants.action_wechat_print_posters()
        self.assertEqual(notification["tag"], "display_notification")
        self.assertIn("绍兴黄酒行", notification["params"]["message"])
        self.assertNotIn("杭州西湖茶庄", notification["params"]["message"])
        self.assertEqual(notification["params"]["next"]["context"]["active_ids"], code.ids)
        second = self._make_code(self.other_merchant)
        action = merchants.action_wechat_print_cards()
        self.assertEqual(action["context"]["active_ids"], (code + second).ids)
        with self.assertRaisesRegex(UserError, "no valid binding code"):
            self._create_merchant("没有码的").with_user(self.user).action_wechat_print_posters()

    def test_only_users_print(self):
        self._make_code()
        for user in (self.employee, self.portal, self.public):
            for method in ("action_wechat_print_posters", "action_wechat_print_cards"):
                with self.subTest(user=user.login, method=method), self.assertRaises(AccessError):
                    getattr(self.merchant.with_user(user), method)()


class TestDownload(PrintingCase, WechatHttpBase):
    def _download(self, user, code, layout="poster"):
        self.authenticate(user.login, user.login)
        return self.url_open(
            f"/report/pdf/wechat_merchant_bind.report_bind_{layout}/{code.id}?context=%7B%22force_report_rendering%22:true%7D"
        )

    def test_the_web_client_downloads_the_document(self):
        code = self._make_code()
        for layout in SIZES:
            response = self._download(self.user, code, layout)
            self.assertEqual(response.headers["Content-Type"], "application/pdf")
            self.assertPrinted(response.content, code, layout)

    def test_other_users_can_not_download_the_document(self):
        code = self._make_code()
        for user in (self.employee, self.portal):
            with self.subTest(user=user.login), mute_logger("odoo.http"):
                response = self._download(user, code)
                self.assertGreaterEqual(response.status_code, 400)
                self.assertNotIn(b"%PDF", response.content)
