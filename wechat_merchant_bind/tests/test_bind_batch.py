from unittest.mock import patch

from odoo import api, fields
from odoo.exceptions import AccessError, UserError

from .common import QR_PATH, WechatCase

CRON = "wechat_merchant_bind.ir_cron_drain_bind_batches"


DRAIN = "odoo.addons.wechat_merchant_bind.models.wechat_bind_batch_drain"


class TestBatch(WechatCase):
    def setUp(self):
        super().setUp()
        # One call after the other, so that a test knows which gets which of WeChat's answers.
        self.startPatcher(patch(f"{DRAIN}.THREADS", 1))

    def _create_batch(self, partners, user=None):
        action = partners.with_user(user or self.user).action_wechat_bind_code()
        self.assertEqual(action["res_model"], "wechat.bind.batch")
        return self.env["wechat.bind.batch"].browse(action["res_id"])

    def _drain(self):
        self.env.flush_all()
        self.env.ref(CRON).method_direct_trigger()
        self.env.invalidate_all()

    def test_several_merchants_make_a_batch(self):
        triggers = self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.env.ref(CRON).id)])
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.assertEqual(self.wechat.calls, [], "The browser waits for none of WeChat's answers")
        self.assertEqual(batch.line_ids.partner_id, self.merchant + self.other_merchant)
        self.assertRecordValues(batch, [{"user_id": self.user.id, "pending_count": 2, "total_count": 2, "progress": 0}])
        self.assertEqual(
            self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.env.ref(CRON).id)]), triggers + 1
        )

    def test_no_merchant(self):
        with self.assertRaises(UserError):
            self.env["res.partner"].with_user(self.user).action_wechat_bind_code()

    def test_drain(self):
        bound, disabled = self._create_merchant("已绑定"), self._create_merchant("已停用")
        refused = self._create_merchant("被拒")
        batch = self._create_batch(self.merchant + bound + disabled + refused + self.other_merchant)
        self._bind(bound)
        disabled.active = False
        real = {"ticket": "t", "url": "http://weixin.qq.com/q/x", "expire_seconds": 2592000}
        self.wechat.answer(QR_PATH, real, {"errcode": 99999, "errmsg": "nobody knows rid: 1"})
        self._drain()
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

    def test_wechat_asks_to_slow_down(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.env["ir.cron.trigger"].search([]).unlink()
        self.wechat.answer(QR_PATH, {"errcode": 45011, "errmsg": "api minute-quota reach limit rid: 1"})
        self._drain()
        self.assertEqual(self.wechat.count(QR_PATH), 1, "The second merchant would only be refused too")
        self.assertEqual(set(batch.line_ids.mapped("state")), {"pending"})
        self.assertIn("45011", batch.line_ids[0].reason)
        trigger = self.env["ir.cron.trigger"].search([("cron_id", "=", self.env.ref(CRON).id)])
        self.assertGreater(trigger.call_at, fields.Datetime.now())
        self._drain()
        self.assertEqual(self.wechat.count(QR_PATH), 1, "WeChat is left alone for the time")
        batch.line_ids.next_attempt_at = fields.Datetime.now()
        self._drain()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})
        self.assertFalse(batch.line_ids[0].reason)

    def test_one_account_that_pauses_keeps_no_other_waiting(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        other = self._create_account(company_id=company.id)
        self.user.company_ids += company
        elsewhere = self._create_merchant("外地商家", company_id=company.id)
        batch = self._create_batch(self.merchant + self.other_merchant + elsewhere)
        self.assertEqual(batch.line_ids.account_id, self.account + other)
        self.wechat.answer(QR_PATH, {"errcode": 45009, "errmsg": "reach max api daily quota limit rid: 1"})
        self._drain()
        self.assertEqual(batch.line_ids.mapped("state"), ["pending", "pending", "done"])
        self.assertEqual(self.wechat.count(QR_PATH), 2)

    def test_what_never_succeeds_ends(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        line = batch.line_ids[0]
        self.wechat.answer(QR_PATH, *[{"errcode": -1, "errmsg": "system error"}] * 4)
        with patch("odoo.addons.wechat_merchant_bind.models.wechat_bind_batch_line.MAX_ATTEMPTS", 2):
            self._drain()
            self.assertEqual(line.state, "pending")
            batch.line_ids.next_attempt_at = fields.Datetime.now()
            self._drain()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])

    def test_what_is_wrong_for_all_is_tried_once(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.wechat.answer(QR_PATH, {"errcode": 48001, "errmsg": "api unauthorized rid: 1"})
        self._drain()
        self.assertEqual(self.wechat.count(QR_PATH), 1)
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        with self.assertRaises(AccessError):
            batch.with_user(self.employee).action_retry_failed()
        batch.with_user(self.user).action_retry_failed()
        self._drain()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"done"})

    def test_a_user_who_lost_the_right(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        self.user.group_ids -= self.env.ref("wechat_merchant_bind.group_user")
        self._drain()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        self.assertEqual(self.wechat.calls, [])

    def test_a_line_is_generated_once(self):
        self._create_batch(self.merchant + self.other_merchant)
        self._drain()
        self._drain()
        self.assertEqual(self.wechat.count(QR_PATH), 2)

    def test_more_than_one_run(self):
        partners = self.env["res.partner"].concat(*(self._create_merchant(f"商家{i}") for i in range(5)))
        batch = self._create_batch(partners)
        with patch(f"{DRAIN}.WINDOW", 2), patch(f"{DRAIN}.REFILL", 2):
            self._drain()
        self.assertEqual(batch.pending_count, 0, "The scheduler calls again while work remains")
        self.assertEqual(batch.done_count, 5)

    def test_a_merchant_that_the_user_may_no_longer_see(self):
        hidden = self._create_merchant("外地商家")
        batch = self._create_batch(hidden + self.merchant)
        hidden.company_id = self.env["res.company"].create({"name": "另一家公司"})
        self._drain()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])
        self.assertTrue(batch.line_ids[0].reason)

    def test_a_user_who_left_the_company(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        self._create_account(company_id=company.id)
        self.user.company_ids += company
        partners = self.merchant + self.other_merchant
        batch = self._create_batch(partners.with_company(company))
        batch.company_id = company
        self.user.write({"company_ids": [(3, company.id)]})
        later = self._create_batch(partners, self.manager)
        self._drain()
        self.assertEqual(set(batch.line_ids.mapped("state")), {"failed"})
        self.assertEqual(set(later.line_ids.mapped("state")), {"done"})

    def test_an_automation_that_fails(self):
        batch = self._create_batch(self.merchant + self.other_merchant)
        codes = type(self.env["wechat.bind.code"])
        create = codes.create

        @api.model_create_multi
        def fail_once(self, vals_list):
            if any(vals["partner_id"] == batch.line_ids[0].partner_id.id for vals in vals_list):
                raise ValueError("an automation of a third party")
            return create(self, vals_list)

        logger = "odoo.addons.wechat_merchant_bind.models.wechat_bind_batch_line"
        with patch.object(codes, "create", fail_once), self.assertLogs(logger, "ERROR"):
            self._drain()
        self.assertEqual(batch.line_ids.mapped("state"), ["failed", "done"])
        self.assertIn("an automation of a third party", batch.line_ids[0].reason)
