from odoo.exceptions import AccessError, UserError

from .common_push import WechatPushCase


class CompaniesCase(WechatPushCase):
    """Provide an account and a merchant of another company. The users and self.account are of the main company."""

    def setUp(self):
        super().setUp()
        self.company = self.env["res.company"].create({"name": "另一家公司"})
        self.foreign_account = self._create_account(company_id=self.company.id)
        self.foreign_merchant = self._create_merchant("外地商家", company_id=self.company.id)

    def _make_foreign_code(self, partner=None):
        """Generate a code of the other company's account."""
        partner = (partner or self.foreign_merchant).with_company(self.company)
        code = partner._wechat_get_bind_code().sudo()
        self.env.flush_all()
        self.assertEqual(code.account_id, self.foreign_account)
        return code


class TestSharedAccount(CompaniesCase):
    def setUp(self):
        super().setUp()
        (self.account + self.foreign_account).active = False
        self.shared = self._create_account(company_id=False)

    def test_shared_account_binds_merchants_of_any_company(self):
        own = self._create_merchant("本地商家", company_id=self.env.company.id)
        for merchant in (own, self.foreign_merchant, self.merchant):
            with self.subTest(merchant=merchant.name):
                code, openid = merchant._wechat_get_bind_code().sudo(), self._make_openid()
                self.assertEqual(code.account_id, self.shared)
                self.assertReply(
                    self._push_scan(code, openid, account=self.shared), merchant.name, to=openid, account=self.shared
                )
                self.assertBound(merchant, openid, self.shared)
                self.assertFalse(self._get_live_binding(merchant).company_id)


class TestChoice(CompaniesCase):
    def test_archived_account_is_not_chosen(self):
        accounts = self.env["wechat.account"].with_context(active_test=False)
        self.account.active = False
        with self.assertRaisesRegex(UserError, "No WeChat Official Account"):
            accounts._get_for_partner(self.merchant)
        shared = self._create_account(company_id=False)
        self.assertEqual(accounts._get_for_partner(self.merchant), shared)

    def test_account_of_another_company_is_not_chosen(self):
        self.foreign_account.active = False
        accounts = self.env["wechat.account"]
        with self.assertRaisesRegex(UserError, "No WeChat Official Account.*另一家公司"):
            accounts._get_for_partner(self.foreign_merchant)
        shared = self._create_account(company_id=False, sequence=99)
        self.assertEqual(accounts._get_for_partner(self.foreign_merchant), shared)


class TestMovedMerchant(CompaniesCase):
    def test_scan_of_a_moved_merchant_is_refused_with_a_reason(self):
        code, openid = self._make_code(), self._make_openid()
        self.merchant.company_id = self.company
        answer = self._push_scan(code, openid)
        self.assertReply(answer, "失效", to=openid)
        self.assertNotBound(self.merchant)
        self.assertChatter(self.merchant, "moved to another company", author=self.env.ref("base.partner_root"))
        self.assertOperations(self.merchant, ["generate", "refuse"])
        self.assertRecordValues(self._get_events(), [{"state": "done", "error": False}])

    def test_scan_binds_a_merchant_that_has_moved_back(self):
        code, openid = self._make_code(), self._make_openid()
        self.merchant.company_id = self.company
        self.merchant.company_id = self.account.company_id
        self._push_scan(code, openid)
        self.assertBound(self.merchant, openid)


class TestDialogs(CompaniesCase):
    """A dialog shows no code or merchant that its user may not read."""

    names = ("qr_image", "share_url")

    def setUp(self):
        super().setUp()
        self.code = self._make_foreign_code()
        self.shows = self.env["wechat.bind.code.show"].with_user(self.user)

    def _get_told(self, ask, *arguments, names=names):
        """Return the fields that are readable. Each is read on its own, since a refused one hides the others."""
        told = set()
        for name in names:
            self.env.invalidate_all()
            try:
                told |= {name} if ask(name, *arguments) else set()
            except AccessError:
                continue
        return told

    def _create_and_read(self, name, code, partner):
        show = self.shows.create({"partner_id": partner.id, "code_id": code.id})
        self.env.flush_all()
        self.env.invalidate_all()
        return show.read([name])[0][name]

    def _onchange(self, name, code, partner):
        values = {"partner_id": partner.id, "code_id": code.id}
        return self.shows.onchange(values, ["code_id"], {field: {} for field in (*values, name)})["value"].get(name)

    def test_code_of_another_company_is_hidden(self):
        own = self._make_code()
        for ask in (self._create_and_read, self._onchange):
            with self.subTest(ask=ask.__name__):
                self.assertEqual(self._get_told(ask, own, self.merchant), set(self.names))
                for partner in (self.merchant, self.foreign_merchant):
                    self.assertEqual(self._get_told(ask, self.code, partner), set())

    def test_code_that_moved_to_another_company_is_hidden(self):
        dialog = self.shows.create({"partner_id": self.merchant.id, "code_id": self._make_code().id})
        self.env.flush_all()
        dialog.sudo().code_id = self.code
        self.env.flush_all()
        self.assertEqual(self._get_told(lambda name: dialog.read([name])[0][name]), set())

    def test_batch_line_hides_a_code_of_another_company(self):
        batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.merchant)
        line = batch.line_ids
        for code, told in ((self._make_code(), {"share_url"}), (self.code, set())):
            line.sudo().write({"state": "done", "code_id": code.id})
            self.env.flush_all()
            self.assertEqual(self._get_told(lambda name: line.read([name])[0][name], names=["share_url"]), told)

    def test_unbinding_a_merchant_of_another_company_is_refused(self):
        openid = self._make_openid()
        self._bind(self.foreign_merchant, openid, self.foreign_account)
        dialog = self.env["wechat.unbind"].with_user(self.manager).create({"partner_id": self.foreign_merchant.id})
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertFalse(dialog.openid_masked)
        with self.assertRaises(AccessError):
            dialog.action_unbind()
        self.assertBound(self.foreign_merchant, openid, self.foreign_account)


class TestRules(CompaniesCase):
    def test_binding_of_another_companys_account_is_kept(self):
        openid = self._make_openid()
        self._bind(self.merchant, openid, self.foreign_account)
        self.merchant.with_user(self.manager).action_wechat_unbind("x")
        self.assertBound(self.merchant, openid, self.foreign_account)
        self.manager.company_ids += self.company
        companies = self.manager.company_ids.ids
        self.merchant.with_user(self.manager).with_context(allowed_company_ids=companies).action_wechat_unbind("x")
        self.assertNotBound(self.merchant)

    def test_batch_of_another_company_is_refused(self):
        batch = self.env["wechat.bind.batch"].with_company(self.company)._create_for(self.merchant)
        batch.line_ids.write({"state": "failed", "reason": "x"})
        for user in (self.user, self.manager):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    batch.with_user(user).read(["total_count"])
                with self.assertRaises(AccessError):
                    batch.line_ids.with_user(user).read(["share_url"])
                with self.assertRaises(AccessError):
                    batch.with_user(user).action_retry_failed()
        self.assertEqual(batch.line_ids.state, "failed")
