from datetime import datetime, timedelta

from odoo import fields

from ..common_push import WechatPushCase


class TestReports(WechatPushCase):
    """Statistics of codes and scans."""

    def _count(self, model, groupby, domain=(), user=None):
        self.env.flush_all()
        domain = [("account_id", "=", self.account.id), *domain]
        return dict(self.env[model].with_user(user or self.user)._read_group(domain, [groupby], ["__count"]))

    def test_the_funnel_counts_codes_by_step(self):
        bound, refused, waiting = self.merchant, self.other_merchant, self._create_merchant("丙")
        openid = self._make_openid()
        self._push_scan(self._make_code(bound), openid)
        self._push_scan(self._make_code(refused), openid)
        self._make_code(waiting)
        self.assertEqual(self._count("wechat.bind.funnel", "step"), {"1_generated": 3, "2_scanned": 2, "3_bound": 1})
        # The end of a binding does not change the steps of its code.
        bound.with_user(self.manager).action_wechat_unbind()
        self.assertEqual(self._count("wechat.bind.funnel", "step")["3_bound"], 1)

    def test_the_funnel_counts_a_code_on_its_own_day(self):
        code = self._make_code()
        self._push_scan(code, self._make_openid())
        self.env.cr.execute(
            "UPDATE wechat_bind_code SET create_date = create_date - INTERVAL '40 days' WHERE id = %s", [code.id]
        )
        recent = [("date", ">=", datetime.now() - timedelta(days=30))]
        self.assertEqual(self._count("wechat.bind.funnel", "step", recent), {})

    def test_operations_are_counted_by_the_issuer_of_the_code(self):
        openid = self._make_openid()
        code = self._make_code(user=self.manager)
        self._push_scan(code, openid)
        self._push_scan(self._make_code(self.other_merchant), openid)
        self._push_unsubscribe(openid)
        self._push_subscribe(openid)
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.assertEqual(
            self._count("wechat.bind.report", "kind"),
            {"generate": 2, "scan": 1, "bind": 1, "refuse": 1, "unfollow": 1, "follow": 1, "unbind": 1},
        )
        # OdooBot handles the scan. The binding counts for the user that generated the code.
        self.assertEqual(
            self._count("wechat.bind.report", "user_id", [("kind", "in", ("bind", "scan"))]), {self.manager: 2}
        )
        self.assertEqual(self._count("wechat.bind.report", "user_id", [("kind", "=", "refuse")]), {self.user: 1})
        [sums] = self.env["wechat.bind.report"]._read_group(
            [("account_id", "=", self.account.id)], [], ["generated_count:sum", "bound_count:sum", "refused_count:sum"]
        )
        self.assertEqual(sums, (2, 1, 1))

    def test_an_operation_names_its_code(self):
        code = self._make_code()
        self._push_scan(code, self._make_openid())
        self.assertEqual(self._get_operations().mapped("code_id"), code)
        self.assertEqual(len(self._get_operations().filtered("code_id")), 2)

    def test_reports_without_data_are_empty(self):
        for model in ("wechat.bind.funnel", "wechat.bind.report"):
            self.assertFalse(self.env[model].search([("account_id", "=", self.account.id)]))
        self.assertFalse(self.env["wechat.bound.rate"].search([]))
        self.assertEqual(self.env["wechat.bound.rate"]._read_group([], [], ["bound_rate:avg"]), [(False,)])


class TestBoundRate(WechatPushCase):
    """The bound rate of ten days in January, in a company of its own."""

    def setUp(self):
        super().setUp()
        self.company = self.env["res.company"].create({"name": "另一家公司"})
        self.branch = self.env["res.company"].create({"name": "分公司"})
        self.account.company_id = False
        self.user.company_ids += self.company + self.branch

    def _register(self, day, company=None, bound=None, unbound=None):
        """Create a merchant that was registered, bound and unbound on days of January 2026, at noon in China."""
        merchant = self._create_merchant("商家", company_id=(company or self.company).id)
        if bound:
            binding = self._bind(merchant, bound_at=f"2026-01-{bound:02} 04:00:00")
            if unbound:
                binding.write({"state": "unbound", "unbound_at": f"2026-01-{unbound:02} 04:00:00"})
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE res_partner SET create_date = %s WHERE id = %s", [f"2026-01-{day:02} 04:00:00", merchant.id]
        )
        return merchant

    def _get_rates(self, *companies):
        """Return (merchants, bound, rate) by day of January."""
        rates = (
            self.env["wechat.bound.rate"]
            .with_user(self.user)
            .with_context(allowed_company_ids=[company.id for company in companies], tz="Asia/Shanghai")
        )
        rows = rates._read_group(
            [("company_id", "in", [company.id for company in companies]), ("date", "<", "2026-02-01")],
            ["date:day"],
            ["merchant_count:avg", "bound_count:avg", "bound_rate:avg"],
        )
        return {
            day.day: (float(merchants), float(bound), round(float(rate), 1)) for day, merchants, bound, rate in rows
        }

    def test_the_bound_rate_day_by_day(self):
        self._register(1, bound=5)
        self._register(1, bound=6, unbound=8)
        self._register(7)
        self._register(3)
        rates = self._get_rates(self.company)
        self.assertEqual(min(rates), 5, "The first day is that of the first binding")
        self.assertEqual(
            [rates[day] for day in (5, 6, 7, 8)],
            [(3, 1, 33.3), (3, 2, 66.7), (4, 2, 50), (4, 1, 25)],
        )
        self.assertEqual(rates[31], rates[8])

    def test_companies_weigh_by_their_merchants(self):
        self._register(1, bound=5)
        for _number in range(3):
            self._register(1, company=self.branch)
        self.assertEqual(self._get_rates(self.company)[5], (1, 1, 100))
        self.assertEqual(self._get_rates(self.company, self.branch)[5], (4, 1, 25))

    def test_the_last_day_shows_the_present(self):
        self._register(1, bound=5)
        disabled = self._register(1, bound=6)
        disabled.active = False
        self.env["res.partner"].create({"name": "会计", "parent_id": self.merchant.id})
        rates = self.env["wechat.bound.rate"]
        row = rates.search([("company_id", "=", self.company.id)], limit=1)
        self.assertEqual((row.date, row.merchant_count, row.bound_count), (fields.Date.context_today(rates), 1, 1))

    def test_a_day_is_one_of_the_users_time_zone(self):
        merchant = self._register(1, bound=5)
        merchant.wechat_binding_ids.bound_at = "2026-01-05 17:00:00"
        self.assertEqual(min(self._get_rates(self.company)), 6)
