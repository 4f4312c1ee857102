from odoo.exceptions import AccessError, UserError

from .common import WechatCase
from .rights import MODELS


class TestCompanyRules(WechatCase):
    def test_every_stored_model_has_a_company_rule(self):
        for name in MODELS:
            model = self.env[name]
            if model._transient:
                continue
            with self.subTest(model=name):
                self.assertTrue(model._fields["company_id"].store)
                rules = self.env["ir.rule"].search([("model_id.model", "=", name)])
                self.assertTrue(any("company_ids" in rule.domain_force and not rule.groups for rule in rules))


class TestCompanies(WechatCase):
    """A user sees records of the own companies and of shared accounts."""

    def setUp(self):
        super().setUp()
        self.company = self.env["res.company"].create({"name": "另一家公司"})
        self.foreign_account = self._create_account(company_id=self.company.id)
        self.shared_account = self._create_account(company_id=False)

    def _create_records(self, account):
        merchant = self._create_merchant("商家", company_id=account.company_id.id)
        binding = self._bind(merchant, account=account)
        code = self.env["wechat.bind.code"].create(
            {
                "partner_id": merchant.id,
                "account_id": account.id,
                "scene_str": f"mb_{account.id}",
                "ticket": "t",
                "qr_content": "http://weixin.qq.com/q/x",
                "expires_at": "2040-01-01 00:00:00",
            }
        )
        self.env["wechat.operation"]._log("bind", binding, {binding.id: "x"})
        operation = self.env["wechat.operation"].search([], limit=1)
        event = self.env["wechat.event"].create({"account_id": account.id, "dedupe_key": f"key {account.id}"})
        return account, binding, code, operation, event

    def test_records_of_another_company_are_hidden(self):
        foreign = self._create_records(self.foreign_account)
        shared = self._create_records(self.shared_account)
        own = self._create_records(self.account)
        for number, record in enumerate(foreign):
            model = self.env[record._name].with_user(self.manager)
            with self.subTest(model=record._name):
                self.assertEqual(record.company_id, self.company)
                visible = model.search([("id", "in", [record.id, shared[number].id, own[number].id])])
                self.assertEqual(visible, (shared[number] + own[number]).sorted().with_user(self.manager))
                with self.assertRaises(AccessError):
                    record.with_user(self.manager).read(["display_name"])
        self.manager.company_ids += self.company
        for record in foreign:
            found = (
                self.env[record._name]
                .with_user(self.manager)
                .with_context(allowed_company_ids=self.manager.company_ids.ids)
            )
            self.assertTrue(found.search([("id", "=", record.id)]), record._name)

    def test_batches_of_another_company_are_hidden(self):
        batch = self.env["wechat.bind.batch"]._create_for(self.merchant)
        foreign = self.env["wechat.bind.batch"].with_company(self.company)._create_for(self.other_merchant)
        self.assertEqual((foreign.company_id, foreign.line_ids.company_id), (self.company, self.company))
        for records in (batch + foreign, batch.line_ids + foreign.line_ids):
            visible = records.with_user(self.user).search([("id", "in", records.ids)])
            self.assertEqual(visible.ids, records[0].ids)

    def test_binding_across_companies_is_refused(self):
        merchant = self._create_merchant("外地商家", company_id=self.company.id)
        with self.assertRaisesRegex(UserError, "(?i)compan"):
            self._bind(merchant, account=self.account)
