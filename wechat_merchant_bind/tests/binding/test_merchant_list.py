from ast import literal_eval
from datetime import timedelta

from lxml import etree

from odoo import fields
from odoo.tests import Form

from ..common import WechatCase

ACTION = "wechat_merchant_bind.wechat_merchant_action"
COLUMNS = [
    "id",
    "complete_name",
    "wechat_login",
    "wechat_contact_name",
    "phone",
    "wechat_account_status",
    "create_date",
    "wechat_last_login_at",
    "wechat_state",
    "wechat_refusal",
]


class MerchantListCase(WechatCase):
    def setUp(self):
        super().setUp()
        self.partners = self.env["res.partner"].with_user(self.user).with_context(active_test=False)

    def _create_portal_user(self, partner, login):
        return self._create_user(login, "base.group_portal", partner_id=partner.id)

    def _log_in(self, user, at):
        log = self.env["res.users.log"].with_user(user).sudo().create({})
        self.env.flush_all()
        self.env.cr.execute("UPDATE res_users_log SET create_date = %s WHERE id = %s", [at, log.id])
        self.env.invalidate_all()


class TestColumns(MerchantListCase):
    def test_the_login_of_the_merchant_comes_first(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        self._create_portal_user(contact, "accountant")
        own = self._create_portal_user(self.merchant, "owner")
        merchant, person, other = self.partners.browse([self.merchant.id, contact.id, self.other_merchant.id])
        self.assertEqual(merchant.wechat_login, "owner, accountant")
        self.assertEqual(person.wechat_login, "accountant")
        self.assertFalse(other.wechat_login)
        own.active = False
        self.assertEqual(merchant.wechat_login, "accountant", "Archived logins are hidden")

    def test_a_blocked_recipient_is_marked(self):
        """A bound and following merchant that refuses messages has a badge beside its state."""
        binding = self._bind()
        merchant = self.partners.browse(self.merchant.id)
        self.assertFalse(merchant.wechat_refusal)
        for mark, refusal in (
            (lambda: binding._mark_unreachable("blocked"), "blocked"),
            (binding._mark_reachable, False),
            (lambda: binding._mark_unreachable("blocked"), "blocked"),
            (lambda: binding._mark_unreachable("unfollowed"), False),
        ):
            mark()
            self.env.invalidate_all()
            self.assertEqual(merchant.wechat_refusal, refusal)
        self.assertFalse(self.partners.browse(self.other_merchant.id).wechat_refusal)

    def test_a_disabled_merchant_shows_its_archived_logins(self):
        user = self._create_portal_user(self.merchant, "owner")
        self._log_in(user, "2026-03-01 08:00:00")
        self.partners.browse(self.merchant.id).action_wechat_disable()
        self.env.invalidate_all()
        self.assertRecordValues(
            self.partners.browse(self.merchant.id),
            [
                {
                    "wechat_login": "owner",
                    "wechat_account_status": "disabled",
                    "wechat_last_login_at": fields.Datetime.to_datetime("2026-03-01 08:00:00"),
                }
            ],
        )

    def test_the_last_login_includes_contacts(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        for login, partner, moments in (
            ("owner", self.merchant, ("2026-01-01 08:00:00", "2026-02-01 08:00:00")),
            ("accountant", contact, ("2026-01-15 08:00:00",)),
        ):
            user = self._create_portal_user(partner, login)
            for moment in moments:
                self._log_in(user, moment)
        self.assertEqual(
            self.partners.browse(self.merchant.id).wechat_last_login_at,
            fields.Datetime.to_datetime("2026-02-01 08:00:00"),
        )
        self.assertEqual(
            self.partners.browse(contact.id).wechat_last_login_at, fields.Datetime.to_datetime("2026-01-15 08:00:00")
        )

    def test_the_contact_person_is_the_first_active_contact(self):
        self._create_merchant("收货地址", is_company=False, parent_id=self.merchant.id, type="delivery")
        self._create_merchant("前店主", is_company=False, parent_id=self.merchant.id, active=False)
        self._create_merchant("店主", is_company=False, parent_id=self.merchant.id)
        self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        person = self._create_merchant("个体户", is_company=False)
        names = self.partners.browse([self.merchant.id, self.other_merchant.id, person.id]).mapped(
            "wechat_contact_name"
        )
        self.assertEqual(names, ["店主", False, "个体户"])

    def test_eighty_rows_cost_as_many_queries_as_ten(self):
        merchants = self.env["res.partner"]
        for number in range(90):
            merchant = self._create_merchant(f"商家 {number:02}")
            contact = self._create_merchant("店主", is_company=False, parent_id=merchant.id)
            self.env["res.users"].with_context(no_reset_password=True).create(
                {
                    "login": f"login {number}",
                    "partner_id": (contact if number % 2 else merchant).id,
                    "group_ids": [fields.Command.set(self.env.ref("base.group_portal").ids)],
                }
            )
            merchants |= merchant
        specification = {name: {} for name in COLUMNS}
        first, ten, eighty = merchants[:1], merchants[:10], merchants[10:]
        self.env.flush_all()
        first.with_env(self.partners.env).web_read(specification)

        def count(records):
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            records.with_env(self.partners.env).web_read(specification)
            return self.env.cr.sql_log_count - before

        queries = count(ten)
        self.env.invalidate_all()
        with self.assertQueryCount(queries):
            eighty.with_env(self.partners.env).web_read(specification)
        self.assertLess(queries, 12)

    def test_every_user_can_read_the_visible_fields(self):
        self._bind(code_id=self._make_code().id)
        self._create_portal_user(self.merchant, "owner")
        for user, hidden in (
            (self.employee, {"wechat_login", "wechat_openid", "wechat_binding_ids", "wechat_code_user_id"}),
            (self.user, {"wechat_openid"}),
            (self.manager, set()),
            (self.env.ref("base.user_admin"), set()),
        ):
            with self.subTest(user=user.login):
                self.env.invalidate_all()
                merchant = self.merchant.with_user(user)
                names = {name for name in merchant.fields_get() if "wechat" in name}
                self.assertFalse(names & hidden)
                self.assertEqual(len(merchant.read(sorted(names))), 1)


class TestSearch(MerchantListCase):
    """The filters and groups of the search views."""

    def setUp(self):
        super().setUp()
        self.today = fields.Datetime.now()
        self.expired = self._create_merchant("过期")
        self._make_code(self.expired).write({"state": "expired", "expires_at": self.today - timedelta(days=1)})
        # The scheduled action has not yet updated the state.
        self.unlabelled = self._create_merchant("刚过期")
        self._make_code(self.unlabelled).expires_at = self.today - timedelta(seconds=5)
        self.renewed = self._create_merchant("重新生成")
        self._make_code(self.renewed).write({"state": "expired", "expires_at": self.today - timedelta(days=1)})
        self._make_code(self.renewed)
        self.recent, self.earlier, self.bound = (self._create_merchant(name) for name in ("上周", "上月", "早"))
        for merchant, days in ((self.recent, 2), (self.earlier, 20), (self.bound, 100)):
            self._make_code(merchant).write({"state": "expired", "expires_at": self.today - timedelta(days=1)})
            self._bind(merchant, bound_at=self.today - timedelta(days=days))
        self.bound.wechat_binding_ids.is_subscribed = False
        self.disabled = self._create_merchant("禁用", active=False)
        self.everybody = (
            self.expired + self.unlabelled + self.renewed + self.recent + self.earlier + self.bound + self.disabled
        )
        self.env.flush_all()

    def _get_filters(self, view):
        arch = self.env["res.partner"].with_user(self.user).get_view(self.env.ref(view).id, "search")["arch"]
        return {node.get("name"): node for node in etree.fromstring(arch).iter("filter")}

    def test_each_filter_finds_its_merchants(self):
        expected = {
            "wechat_unbound": self.expired + self.unlabelled + self.renewed,
            "wechat_bound": self.recent + self.earlier,
            "wechat_unfollowed": self.bound,
            "wechat_code_open": self.renewed,
            "wechat_code_expired": self.expired + self.unlabelled,
            "wechat_bound_7_days": self.recent,
            "wechat_bound_30_days": self.recent + self.earlier,
            "inactive": self.disabled,
        }
        for view in ("base.view_res_partner_filter", "wechat_merchant_bind.wechat_merchant_view_search"):
            filters = self._get_filters(view)
            for name, merchants in expected.items():
                with self.subTest(view=view, filter=name):
                    domain = literal_eval(filters[name].get("domain"))
                    found = self.partners.search([*domain, ("id", "in", self.everybody.ids)])
                    self.assertEqual(set(found.mapped("name")), set(merchants.mapped("name")))

    def test_each_group_counts_its_merchants(self):
        filters = self._get_filters("wechat_merchant_bind.wechat_merchant_view_search")
        for name, counts in (
            ("group_wechat_state", {"unbound": 4, "bound": 2, "unfollowed": 1}),
            ("group_wechat_account_status", {"normal": 6, "disabled": 1}),
        ):
            with self.subTest(group=name):
                group = literal_eval(filters[name].get("context"))["group_by"]
                domain = [("id", "in", self.everybody.ids)]
                groups = self.partners.formatted_read_group(domain, [group], ["__count"])
                self.assertEqual({row[group]: row["__count"] for row in groups}, counts)
                for row in groups:
                    found = self.partners.search_count([*domain, *row["__extra_domain"]])
                    self.assertEqual(found, row["__count"], "The group's domain finds the counted records")
        months = self.partners.formatted_read_group(
            [("id", "in", self.everybody.ids)], ["wechat_bound_at:month"], ["__count"]
        )
        self.assertEqual(sum(row["__count"] for row in months if row["wechat_bound_at:month"]), 3)

    def test_an_employee_keeps_the_contact_search(self):
        arch = (
            self.env["res.partner"]
            .with_user(self.employee)
            .get_view(self.env.ref("base.view_res_partner_filter").id, "search")["arch"]
        )
        self.assertIn("wechat_unbound", arch)
        self.assertNotIn("wechat_bind_code_ids", arch)

    def test_contacts_users_and_companies_are_no_merchants(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        # All users see the company's partner, but not the company.
        own = self.env["res.company"].create({"name": "分公司"})
        domain = literal_eval(self.env.ref(ACTION).domain)
        found = self.partners.search(domain)
        self.assertIn(self.disabled, found)
        self.assertIn(self.merchant, found)
        for other in (
            contact,
            self.user.partner_id,
            own.partner_id,
            self.env.company.partner_id,
            self.public.partner_id,
        ):
            self.assertNotIn(other, found, other.name)
        everybody = self.partners.search([])
        self.assertEqual(everybody.filtered("is_wechat_merchant"), found)
        self.assertEqual(self.partners.search([("is_wechat_merchant", "=", False)]), everybody - found)


class TestRowButtons(MerchantListCase):
    def test_the_view_dialog_is_read_only(self):
        action = self.merchant.with_user(self.user).action_wechat_view()
        self.assertEqual((action["res_id"], action["target"]), (self.merchant.id, "new"))
        arch = self.env["res.partner"].with_user(self.user).get_view(action["views"][0][0], "form")["arch"]
        self.assertIn('edit="0"', arch)
        self.assertNotIn('wechat_openid"', arch)

    def test_the_edit_button_opens_the_contact_form(self):
        action = self.merchant.with_user(self.user).action_wechat_edit()
        with Form(self.merchant.with_user(self.user), view=action["views"][0][0]) as form:
            form.city = "杭州"
        self.assertEqual(self.merchant.city, "杭州")
