import io
import zipfile
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import openpyxl
import requests
import zxingcpp
from PIL import Image

from odoo import Command, api, fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import tagged
from odoo.tools import html2plaintext, mute_logger

from ...tools import file_names
from ..common import QR_PATH, TOKEN_PATH, WechatCase, WechatHttpBase

CRON = "wechat_merchant_bind.ir_cron_drain_bind_batches"
LINE = "odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_batch_line"
BATCH_MODULE = "odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_batch"
# The error of another addon.
REFUSAL = "第三方不允许"


class TestBatch(WechatCase):
    def setUp(self):
        super().setUp()
        # One call at a time, for a fixed order of WeChat's answers.
        self.startPatcher(patch(f"{BATCH_MODULE}.THREADS", 1))

    def _create_batch(self, partners, user=None):
        action = partners.with_user(user or self.user).action_wechat_bind_code()
        self.assertEqual(action["res_model"], "wechat.bind.batch")
        return self.env["wechat.bind.batch"].browse(action["res_id"])

    def _process_queue(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def test_several_merchants_start_a_batch(self):
        triggers = self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.env.ref(CRON).id)])
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.assertEqual(self.wechat.calls, [], "The browser does not wait for WeChat")
        self.assertEqual(batch.line_ids.partner_id, self.merchant + self.other_merchant)
        self.assertRecordValues(batch, [{"user_id": self.user.id, "pending_count": 2, "total_count": 2, "progress": 0}])
        self.assertEqual(
            self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.env.ref(CRON).id)]), triggers + 1
        )

    def test_contacts_of_a_disabled_merchant_are_skipped(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        batch = self._create_batch(contact + self.other_merchant)
        self.merchant.active = False
        self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["skipped", "done"])
        self.assertIn("disabled", batch.line_ids[0].reason)
        self.assertFalse(contact.wechat_bind_code_ids)

    def test_a_batch_without_merchants_is_refused(self):
        with self.assertRaises(UserError):
            self.env["res.partner"].with_user(self.user).action_wechat_bind_code()

    def test_each_line_gets_a_code_or_a_reason(self):
        bound, disabled = self._create_merchant("已绑定"), self._create_merchant("已停用")
        refused = self._create_merchant("被拒")
        batch = self._create_batch(self.merchant + bound + disabled + refused + self.other_merchant)
        self._bind(bound)
        disabled.active = False
        real = {"ticket": "t", "url": "http://weixin.qq.com/q/x", "expire_seconds": 2592000}
        self.wechat.answer(QR_PATH, real, {"errcode": 99999, "errmsg": "no such thing rid: 1"})
        self._process_queue()
        self.assertEqual(
            [(line.partner_id.name, line.state) for line in batch.line_ids.with_context(active_test=False)],
            [
                ("杭州西湖茶庄", "done"),
                ("已绑定", "skipped"),
                ("已停用", "skipped"),
                ("被拒", "failed"),
                ("绍兴黄酒行", "done"),
            ],
        )
        self.assertIn("99999", batch.line_ids[3].reason)
        self.assertTrue(batch.line_ids[1].reason and batch.line_ids[2].reason)
        self.assertRecordValues(
            batch, [{"done_count": 2, "skipped_count": 2, "failed_count": 1, "pending_count": 0, "progress": 100}]
        )
        code = batch.line_ids[0].code_id
        self.assertEqual((code.partner_id, code.user_id), (self.merchant, self.user))
        self.assertEqual(batch.line_ids[0].share_url, code.share_url)
        self.assertChatter(self.merchant, "generated", author=self.user.partner_id)

    def test_a_rate_limit_pauses_the_account(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.env["ir.cron.trigger"].search([]).unlink()
        self.wechat.answer(QR_PATH, {"errcode": 45011, "errmsg": "api minute-quota reach limit rid: 1"})
        self._process_queue()
        self.assertEqual(self.wechat.count(QR_PATH), 1, "WeChat would refuse the second merchant, too")
        self.assertEqual(set(batch.line_ids.mapped("state")), {"pending"})
        self.assertIn("45011", batch.line_ids[0].reason)
        trigger = self.env["ir.cron.trigger"].search([("cron_id", "=", self.env.ref(CRON).id)])
        self.assertGreater(trigger.call_at, fields.Datetime.now())
        self._process_queue()
        self.assertEqual(self.wechat.count(QR_PATH), 1, "No calls during the pause")
        batch.line_ids.next_attempt_at = fields.Datetime.now()
        self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})
        self.assertFalse(batch.line_ids[0].reason)

    def test_a_paused_account_does_not_delay_others(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        other = self._create_account(company_id=company.id)
        self.user.company_ids += company
        elsewhere = self._create_merchant("外地商家", company_id=company.id)
        batch = self._create_batch(self.merchant + self.other_merchant + elsewhere)
        self.assertEqual(batch.line_ids.account_id, self.account + other)
        self.wechat.answer(QR_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 1"})
        self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["pending", "pending", "done"])
        self.assertEqual(self.wechat.count(QR_PATH), 2)

    def test_a_line_fails_after_too_many_attempts(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        line = batch.line_ids[0]
        self.wechat.answer(QR_PATH, *[{"errcode": -1, "errmsg": "system error"}] * 4)
        with patch("odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_batch_line.MAX_ATTEMPTS", 2):
            self._process_queue()
            self.assertEqual(line.state, "pending")
            batch.line_ids.next_attempt_at = fields.Datetime.now()
            self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])

    def test_an_account_error_fails_all_lines_with_one_call(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1"})
        self._process_queue()
        self.assertEqual(self.wechat.count(QR_PATH), 1)
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        with self.assertRaises(AccessError):
            batch.with_user(self.employee).action_retry_failed()
        batch.with_user(self.user).action_retry_failed()
        self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})

    def test_lines_fail_when_the_user_has_lost_the_right(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.user.group_ids -= self.env.ref("wechat_merchant_bind.group_user")
        self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        self.assertEqual(self.wechat.calls, [])

    def test_a_line_is_generated_once(self):
        self._create_batch(self.merchant + self.other_merchant)
        self._process_queue()
        self._process_queue()
        self.assertEqual(self.wechat.count(QR_PATH), 2)

    def test_the_queue_is_processed_in_portions(self):
        partners = self.env["res.partner"].concat(*(self._create_merchant(f"商家{i}") for i in range(5)))
        batch = self._create_batch(partners)
        with patch(f"{BATCH_MODULE}.WINDOW", 2), patch(f"{BATCH_MODULE}.REFILL", 2):
            self._process_queue()
        self.assertEqual(batch.pending_count, 0, "The scheduler calls again while work remains")
        self.assertEqual(batch.done_count, 5)

    def test_a_merchant_hidden_from_the_user_fails(self):
        hidden = self._create_merchant("外地商家")
        batch = self._create_batch(hidden + self.merchant)
        hidden.company_id = self.env["res.company"].create({"name": "另一家公司"})
        self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])
        self.assertTrue(batch.line_ids[0].reason)

    def test_lines_fail_when_the_user_has_left_the_company(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        self._create_account(company_id=company.id)
        self.user.company_ids += company
        partners = self.merchant + self.other_merchant
        batch = self._create_batch(partners.with_company(company))
        batch.company_id = company
        self.user.write({"company_ids": [(3, company.id)]})
        later = self._create_batch(partners, self.manager)
        self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        self.assertEqual(set(later.line_ids.mapped("state")), {"done"})

    def test_a_failing_automation_fails_its_line_only(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        codes = type(self.env["wechat.bind.code"])
        create = codes.create

        @api.model_create_multi
        def fail_once(self, vals_list):
            if any(vals["partner_id"] == batch.line_ids[0].partner_id.id for vals in vals_list):
                raise ValueError("an automation of a third party")
            return create(self, vals_list)

        logger = "odoo.addons.wechat_merchant_bind.models.binding.wechat_bind_batch_line"
        with patch.object(codes, "create", fail_once), self.assertLogs(logger, "ERROR"):
            self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])
        self.assertIn("an automation of a third party", batch.line_ids[0].reason)

    @contextmanager
    def _meanwhile(self, act):
        """Run a function after WeChat has answered, before the first result is recorded."""
        batches = type(self.env["wechat.bind.batch"])
        take = batches._take
        acts = [act]

        def act_and_take(*args):
            ended = take(*args)
            while acts:
                acts.pop()()
                self.env.flush_all()
            return ended

        with patch.object(batches, "_take", act_and_take):
            yield

    # === CANCEL, SKIP, RACES === #

    def test_cancelling_keeps_ended_lines(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        batch.line_ids[0].state = "failed"
        with self.assertRaises(AccessError):
            batch.with_user(self.employee).action_cancel()
        batch.with_user(self.user).action_cancel()
        self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "canceled"])
        self.assertRecordValues(batch, [{"state": "canceled", "canceled_count": 1, "is_active": False}])
        self.assertEqual(self.wechat.calls, [])

    def test_a_line_cancelled_during_its_call_gets_no_code(self):
        batch = self._create_batch(self.merchant + self.other_merchant)

        with self._meanwhile(lambda: batch.line_ids[0].write({"state": "canceled"})):
            self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["canceled", "done"])
        self.assertFalse(self.merchant.wechat_bind_code_ids)

    def test_an_open_code_is_kept(self):
        code = self._make_code()
        code.share_expires_at = fields.Datetime.now()
        batch = self._create_batch(self.merchant + self.other_merchant, self.manager)
        self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["skipped", "done"])
        self.assertEqual((batch.line_ids[0].code_id, code.state), (code, "active"))
        self.assertGreater(code.share_expires_at, fields.Datetime.now(), "The link is renewed")
        self.assertEqual(len(batch.with_user(self.manager)._get_open_lines()), 2)

    def test_changes_during_a_call_are_not_overwritten(self):
        """Bound, disabled, given a code by another user: the lines are skipped with these reasons."""
        bound, disabled, given = (self._create_merchant(name) for name in ("绑定", "停用", "已有"))
        batch = self._create_batch(bound + disabled + given + self.merchant)
        others_code = {
            "partner_id": given.id,
            "account_id": self.account.id,
            "scene_str": "mb_others",
            "ticket": "t",
            "qr_content": "http://weixin.qq.com/q/others",
            "expires_at": "2040-01-01 00:00:00",
        }

        def meanwhile():
            self._bind(bound)
            disabled.active = False
            self.env["wechat.bind.code"].create(others_code)

        with self._meanwhile(meanwhile):
            self._process_queue()
        lines = batch.line_ids.with_context(active_test=False)
        self.assertEqual(lines.mapped("state"), ["skipped", "skipped", "skipped", "done"])
        self.assertEqual(len(set(lines[:3].mapped("reason"))), 3)
        self.assertFalse((bound + disabled).wechat_bind_code_ids)
        self.assertEqual(given.wechat_bind_code_ids.scene_str, "mb_others")

    def test_a_repeated_call_requests_the_same_scene(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        scenes = batch.line_ids.mapped("scene_str")
        self.assertEqual(len(set(scenes)), 2)
        busy = {"errcode": -1, "errmsg": "system error"}
        self.wechat.answer(QR_PATH, busy, 502, busy, requests.ReadTimeout())
        for _attempt in range(2):
            self._process_queue()
            self.assertEqual(set(batch.line_ids.mapped("state")), {"pending"})
            self.assertEqual(batch.state, "paused")
            self.assertTrue(batch.pause_reason and batch.resumes_at)
            batch.line_ids.next_attempt_at = fields.Datetime.now()
        self._process_queue()
        asked = [
            call.payload["action_info"]["scene"]["scene_str"] for call in self.wechat.calls if call.path == QR_PATH
        ]
        self.assertEqual(asked, [scenes[0]] * 5 + [scenes[1]])
        self.assertEqual(batch.line_ids.code_id.mapped("scene_str"), scenes)

    def test_a_stale_token_is_renewed_once(self):
        self._make_code(self._create_merchant("令牌"))
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.wechat.renew_token()
        tokens = self.wechat.count(TOKEN_PATH)
        with patch(f"{BATCH_MODULE}.THREADS", 4):
            self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})
        self.assertEqual(self.wechat.count(TOKEN_PATH), tokens + 1)

    def test_two_batches_generate_one_code_per_merchant(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        later = self._create_batch(self.merchant + self.other_merchant, self.manager)
        with patch(f"{BATCH_MODULE}.THREADS", 4):
            self._process_queue()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})
        self.assertEqual(set(later.line_ids.mapped("state")), {"skipped"})
        self.assertEqual(self.wechat.count(QR_PATH), 2)

    def test_a_failing_line_does_not_undo_others(self):
        partners = self.env["res.partner"].concat(*(self._create_merchant(f"商家{i}") for i in range(9)))
        batch = self._create_batch(partners)
        codes = type(self.env["wechat.bind.code"])
        create = codes.create

        @api.model_create_multi
        def fail(self, vals_list):
            records = create(self, vals_list)
            if partners[4] in records.partner_id:
                raise UserError(REFUSAL)
            return records

        with patch.object(codes, "create", fail), self.assertLogs(LINE, "ERROR"):
            self._process_queue()
        self.assertEqual(batch.line_ids.mapped("state"), ["done"] * 4 + ["failed"] + ["done"] * 4)
        self.assertEqual(batch.line_ids[4].reason, REFUSAL)
        self.assertEqual(self.wechat.count(QR_PATH), 9)
        self.assertEqual(len(self._get_operations(partners[0])), 1)

    def test_outcomes_are_grouped(self):
        bound = self._create_merchant("绑定一") + self._create_merchant("绑定二")
        batch = self._create_batch(bound + self.merchant)
        for partner in bound:
            self._bind(partner)
        self.wechat.answer(QR_PATH, {"errcode": 99999, "errmsg": "<b>no such</b> thing rid: 1"})
        self._process_queue()
        text = html2plaintext(batch.outcomes)
        self.assertRegex(text, r"Skipped\s+2\s+The merchant is already bound\.")
        self.assertRegex(text, r"Generation failed\s+1\s+WeChat refused")

    # === DOWNLOADS === #

    def test_file_names_are_safe_and_unique(self):
        names = ["a/b:c*?", "", "CON", "x" * 200, "茶庄\u202egnp.exe", " 茶庄. ", "茶庄", "Tea", "tea", "..", None]
        safe = [file_names.safe_name(name, "商家 7") for name in names]
        self.assertEqual(
            safe,
            ["a_b_c_", "商家 7", "_CON", "x" * 70, "茶庄gnp.exe", "茶庄", "茶庄", "Tea", "tea", "商家 7", "商家 7"],
        )
        self.assertEqual(
            file_names.number_duplicates(["茶", "茶", "Tea", "tea", "茶 (2)"]),
            ["茶", "茶 (2)", "Tea", "tea (2)", "茶 (2) (2)"],
        )


@tagged("post_install", "-at_install", "wechat")
class TestDownloads(WechatHttpBase):
    def setUp(self):
        super().setUp()
        self.twin = self._create_merchant("杭州西湖茶庄")
        self.formula = self._create_merchant('=HYPERLINK("http://evil.example","x")')
        self.refused = self._create_merchant("被拒")
        self._bind(self.refused)
        partners = self.merchant + self.twin + self.formula + self.refused
        self.batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(partners).sudo()
        self.env.flush_all()
        with patch(f"{BATCH_MODULE}.THREADS", 1):
            self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()
        self.authenticate(self.user.login, self.user.login)

    def _download(self, file):
        response = self.url_open(f"/wechat/batch/{self.batch.id}/{file}")
        self.assertEqual(response.status_code, 200)
        self.assertIn("attachment", response.headers["Content-Disposition"])
        self.assertEqual(response.headers["Cache-Control"], "no-store")
        return io.BytesIO(response.content)

    def test_the_zip_file_has_a_picture_per_merchant(self):
        with zipfile.ZipFile(self._download("pictures.zip")) as archive:
            self.assertIsNone(archive.testzip())
            names = ["杭州西湖茶庄.png", "杭州西湖茶庄 (2).png", "=HYPERLINK(_http_evil.example_,_x_).png"]
            self.assertEqual(archive.namelist(), names)
            for name, line in zip(names, self.batch.line_ids, strict=False):
                self.assertTrue(archive.getinfo(name).flag_bits & 0x800 or name.isascii(), "UTF-8 must be said")
                picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
                [code] = zxingcpp.read_barcodes(picture)
                self.assertEqual(code.text, line.code_id.qr_content)

    def test_the_list_has_all_merchants_and_their_links(self):
        sheet = openpyxl.load_workbook(self._download("merchants.xlsx")).active
        rows = list(sheet.iter_rows(min_row=2, values_only=True))
        self.assertEqual([row[:2] for row in rows], [(p.id, p.name) for p in self.batch.line_ids.partner_id])
        self.assertEqual([row[4] for row in rows], [line.share_url or None for line in self.batch.line_ids])
        self.assertEqual((rows[3][2], rows[3][3]), ("Skipped", "The merchant is already bound."))
        expires_at = self.batch.line_ids[0].code_id.expires_at
        local = fields.Datetime.context_timestamp(self.batch.with_user(self.user), expires_at)
        self.assertAlmostEqual(rows[0][6], local.replace(tzinfo=None), delta=timedelta(seconds=1))
        self.assertEqual({cell.data_type for cell in sheet["B"]}, {"s"}, "Names are written as text")

    def test_the_sheet_is_printed(self):
        report = self.env["ir.actions.report"].with_user(self.user)
        html = report._render_qweb_html("wechat_merchant_bind.bind_batch_sheet", self.batch.ids)[0].decode()
        self.assertEqual(html.count("data:image/png"), 3)
        self.assertIn("=HYPERLINK(&#34;", html)
        with self.assertRaises(AccessError):
            report.with_user(self.employee)._render_qweb_html("wechat_merchant_bind.bind_batch_sheet", self.batch.ids)

    def test_used_codes_are_not_downloaded(self):
        self.batch.line_ids.code_id.write({"state": "used"})
        self.assertEqual(self.url_open(f"/wechat/batch/{self.batch.id}/pictures.zip").status_code, 404)
        with self.assertRaises(UserError):
            self.batch.with_user(self.user).action_download_pictures()
        sheet = openpyxl.load_workbook(self._download("merchants.xlsx")).active
        self.assertEqual({row[4] for row in sheet.iter_rows(min_row=2, values_only=True)}, {None})

    def test_hidden_merchants_are_not_downloaded(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        self.twin.wechat_bind_code_ids.unlink()
        self.twin.company_id = company
        self.env.flush_all()
        with zipfile.ZipFile(self._download("pictures.zip")) as archive:
            self.assertEqual(len(archive.namelist()), 2)
        sheet = openpyxl.load_workbook(self._download("merchants.xlsx")).active
        self.assertEqual(sheet.max_row, 4)


class TestBatchEmails(WechatCase):
    def setUp(self):
        super().setUp()
        self.merchant.email = "tea@example.com"
        self.sent = []
        self.startPatcher(patch(f"{BATCH_MODULE}.THREADS", 1))
        partners_class = type(self.env["res.partner"])
        email = partners_class._wechat_email_bind_codes

        def record(partners):
            obstacles = email(partners)
            self.sent += [partner.email for partner in partners if partner.id not in obstacles]
            return obstacles

        self.startPatcher(patch.object(partners_class, "_wechat_email_bind_codes", record))

    def _process_queue(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def test_each_merchant_is_mailed_once(self):
        partners = self.merchant + self.other_merchant
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(partners)
        self._process_queue()
        self.assertEqual(self.sent, [])
        batch.action_email()
        self.assertTrue(batch.is_active)
        self._process_queue()
        self._process_queue()
        self.assertEqual(self.sent, ["tea@example.com"], "Once, and only with an address")
        self.assertEqual(batch.line_ids.mapped("email_state"), ["queued", "failed"])
        self.assertIn("e-mail address", batch.line_ids[1].email_reason)
        self.assertFalse(batch.is_active)

    def _email_batch(self):
        """Queue the e-mails of two merchants; return the batch and the e-mails."""
        self.other_merchant.email = "wine@example.com"
        partners = self.merchant + self.other_merchant
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(partners)
        self._process_queue()
        batch.action_email()
        self._process_queue()
        emails = self.env["mail.mail"].search([("recipient_ids", "in", partners.ids)], order="id")
        self.assertEqual((batch.line_ids.mapped("email_state"), len(emails)), (["queued", "queued"], 2))
        return batch, emails

    def test_an_email_is_sent_once_the_server_has_accepted_it(self):
        batch, emails = self._email_batch()
        self.assertNotIn("Sent", batch.email_progress)
        with self._outbox() as outbox:
            emails[0].send()
        self.assertEqual(len(outbox), 1)
        self.assertFalse(emails[0].exists(), "Odoo deletes sent e-mails")
        self.assertEqual(batch.line_ids.mapped("email_state"), ["sent", "queued"])
        self.assertEqual(batch.email_progress, "On its way 1 · Sent 1")

    @mute_logger("odoo.addons.mail.models.mail_mail")
    def test_emails_that_the_server_refuses_are_not_reported_as_sent(self):
        batch, emails = self._email_batch()
        refusal = ConnectionRefusedError(111, "Connection refused")
        with patch.object(type(self.env["ir.mail_server"]), "_connect__", side_effect=refusal):
            emails.send()
        self.assertEqual(emails.mapped("state"), ["exception", "exception"])
        self.assertEqual(batch.line_ids.mapped("email_state"), ["failed", "failed"])
        self.assertIn("Connection refused", batch.line_ids[0].email_reason)
        self.assertEqual(batch.email_progress, "Not sent 2")
        emails.mark_outgoing()
        self.assertEqual(batch.email_progress, "On its way 2")
        emails[0].cancel()
        self.assertEqual(batch.line_ids.mapped("email_state"), ["failed", "queued"])
        self.assertIn("cancelled", batch.line_ids[0].email_reason)

    def test_reasons_of_unsent_emails_are_translated_for_the_reader(self):
        batch, emails = self._email_batch()
        emails[0].cancel()
        line = batch.line_ids[0]
        self.assertEqual(line.with_context(lang="en_US").email_reason, "The e-mail was cancelled before it was sent.")
        self.assertEqual(line.with_context(lang="zh_CN").email_reason, "邮件在发送前已被取消。")

    def test_reasons_of_lines_are_translated_for_the_reader(self):
        self.user.lang = "zh_CN"
        self._bind(self.other_merchant)
        self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1"})
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.merchant + self.other_merchant)
        self._process_queue()
        english, chinese = (batch.with_context(lang=lang) for lang in ("en_US", "zh_CN"))
        self.assertEqual(english.line_ids[1].reason, "The merchant is already bound.")
        self.assertEqual(chinese.line_ids[1].reason, "商家已绑定。")
        self.assertIn("The binding code could not be generated.", english.line_ids[0].reason)
        self.assertIn("48001 api unauthorized", english.line_ids[0].reason)
        self.assertIn("绑定码生成失败。", chinese.line_ids[0].reason)
        self.assertIn("The merchant is already bound.", english.outcomes)
        self.assertIn("商家已绑定。", chinese.outcomes)
        groups = chinese.line_ids.formatted_read_group([("batch_id", "=", batch.id)], ["summary"], ["__count"])
        self.assertIn("商家已绑定。", [group["summary"] for group in groups])
        [group] = [group for group in groups if group["summary"] == "商家已绑定。"]
        self.assertEqual(
            batch.line_ids.search([("batch_id", "=", batch.id), *group["__extra_domain"]]), batch.line_ids[1]
        )

    def test_a_failing_email_does_not_delay_others(self):
        self.other_merchant.email = "wine@example.com"

        def refuse(partners):
            if self.merchant in partners:
                raise UserError(REFUSAL)
            self.sent.extend(partners.mapped("email"))
            return {}

        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.merchant + self.other_merchant)
        self._process_queue()
        batch.action_email()
        with (
            patch.object(type(self.env["res.partner"]), "_wechat_email_bind_codes", refuse),
            self.assertLogs(LINE, "ERROR"),
        ):
            self._process_queue()
        self.assertEqual(batch.line_ids.mapped("email_state"), ["failed", "queued"])
        self.assertEqual(batch.line_ids[0].email_reason, REFUSAL)
        self.assertEqual(self.sent, ["wine@example.com"])

    def test_an_automation_needs_no_rights_of_the_user(self):
        """A user that creates a merchant needs no right to generate codes, and does not wait for the calls."""
        self.env["base.automation"].create(
            {
                "name": "新商家",
                "model_id": self.env["ir.model"]._get_id("res.partner"),
                "trigger": "on_create",
                "action_server_ids": [
                    Command.create(
                        {
                            "name": "发码",
                            "model_id": self.env["ir.model"]._get_id("res.partner"),
                            "state": "code",
                            "code": "records._wechat_generate_and_email_bind_codes()",
                        }
                    )
                ],
            }
        )
        partner = self.env["res.partner"].with_user(self.employee).create({"name": "新店", "email": "new@example.com"})
        self.assertEqual(self.wechat.calls, [])
        self._process_queue()
        self.assertEqual(self.sent, ["new@example.com"])
        code = partner.sudo().wechat_bind_code_ids
        self.assertEqual((code.state, code.user_id), ("active", self.employee))

    def test_an_automation_without_an_account_records_the_error(self):
        self.account.active = False
        batch = self.merchant.sudo()._wechat_generate_and_email_bind_codes()
        self.assertFalse(self.merchant.sudo()._wechat_generate_and_email_bind_codes(), "Its e-mail is waiting already")
        self._process_queue()
        self.assertEqual(batch.line_ids.state, "failed")
        self.assertIn(self.env.company.name, batch.line_ids.reason)
        self.account.active = True
        batch.with_user(self.user).action_retry_failed()
        self._process_queue()
        self.assertEqual((batch.line_ids.state, self.sent), ("done", ["tea@example.com"]))
