import logging

from psycopg2.errors import CheckViolation, UniqueViolation

from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form
from odoo.tools import mute_logger

from ..common import API_HOST, QR_PATH, SECRET, WechatCase

SECRETS = ("app_secret", "webhook_token", "encoding_aes_key", "previous_encoding_aes_key", "webhook_key", "webhook_url")
KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


class TestConstraints(WechatCase):
    @mute_logger("odoo.sql_db")
    def test_app_id_is_unique_among_active_accounts(self):
        with self.assertRaises(UniqueViolation), self.env.cr.savepoint():
            self._create_account(app_id=self.account.app_id)
        self.account.active = False
        self.env.flush_all()
        self._create_account(app_id=self.account.app_id)
        with self.assertRaises(UniqueViolation), self.env.cr.savepoint():
            self.account.active = True

    def test_defaults_of_a_new_account(self):
        account = self.env["wechat.account"].create({"name": "x", "app_id": "wxdefault"})
        self.assertRecordValues(
            account,
            [
                {
                    "account_kind": "service",
                    "encryption_mode": "safe",
                    "api_base_url": f"https://{API_HOST}",
                    "send_rate": 20,
                    "code_validity_days": 30,
                    "clock_tolerance": 15,
                    "transfer_customer_service": True,
                    "leaver_policy": "keep",
                    "company_id": self.env.company.id,
                }
            ],
        )
        self.assertRegex(account.webhook_token, r"^[A-Za-z0-9]{32}$")
        self.assertRegex(account.encoding_aes_key, r"^[A-Za-z0-9]{43}$")
        self.assertGreaterEqual(len(account.webhook_key), 22, "128 random bits at least")
        self.assertTrue(account.webhook_url.endswith(f"/wechat/merchant/{account.webhook_key}"))

    def test_no_two_accounts_share_a_secret(self):
        accounts = self.env["wechat.account"].create([{"name": "x", "app_id": f"wxdefault{i}"} for i in range(2)])
        for name in ("webhook_token", "encoding_aes_key", "webhook_key"):
            self.assertEqual(len(set(accounts.mapped(name))), 2, name)

    def test_an_unsaved_account_shows_no_secrets(self):
        account = self.env["wechat.account"]
        defaults = account.default_get(list(account._fields))
        self.assertFalse(set(SECRETS) & set(defaults), "What a form shows early is entered into WeChat's console")
        with Form(account) as form:
            form.name, form.app_id = "x", "wxform"
            for name in ("webhook_url", "webhook_token", "encoding_aes_key"):
                self.assertFalse(form[name], name)
        for name in ("webhook_url", "webhook_token", "encoding_aes_key"):
            self.assertTrue(form.record[name], name)

    def test_given_secrets_are_kept(self):
        given = {"webhook_key": "k" * 32, "webhook_token": "abc", "encoding_aes_key": KEY}
        account = self.env["wechat.account"].create({"name": "x", "app_id": "wxgiven", **given})
        self.assertEqual({name: account[name] for name in given}, given)

    def test_test_accounts_know_only_plain_mode(self):
        account = self.env["wechat.account"].create({"name": "x", "app_id": "wxt", "account_kind": "test"})
        self.assertEqual(account.encryption_mode, "plain")
        for mode in ("safe", "compatible"):
            with self.assertRaises(ValidationError):
                account.encryption_mode = mode

    def test_mode_follows_the_kind_in_the_form(self):
        with Form(self.env["wechat.account"]) as form:
            form.name, form.app_id = "x", "wxform"
            form.account_kind = "test"
            self.assertEqual(form.encryption_mode, "plain")
            form.account_kind = "service"
        with Form(form.record) as form:
            form.account_kind = "test"
        self.assertEqual(form.record.encryption_mode, "plain")
        with Form(form.record) as form:
            form.account_kind = "service"
        self.assertEqual(form.record.encryption_mode, "safe", "A verified account is never left in plain mode unasked")

    def test_a_malformed_token_is_refused(self):
        for token in ("", "ab", "a" * 33, "has space", "Chinese中文", "dash-ed"):
            with self.subTest(token=token), self.assertRaises(ValidationError):
                self.account.webhook_token = token
        self.account.webhook_token = "abc"

    def test_malformed_encoding_aes_keys_are_refused(self):
        for name in ("encoding_aes_key", "previous_encoding_aes_key"):
            for key in ("short", KEY[:-1], KEY + "A", KEY[:-1] + "=", KEY[:-1] + "é"):
                with self.subTest(name=name, key=key), self.assertRaises(ValidationError):
                    self.account.write({name: key})
        with self.assertRaises(ValidationError):
            self.account.encoding_aes_key = False
        self._create_test_account(encoding_aes_key=False)

    @mute_logger("odoo.sql_db")
    def test_numbers_out_of_range_are_refused(self):
        for values in (
            {"send_rate": 0},
            {"code_validity_days": 0},
            {"code_validity_days": 31},
            {"clock_tolerance": 0},
            {"clock_tolerance": 61},
            {"leaver_days": -1},
            {"event_retention_days": 2},
        ):
            with self.subTest(values=values), self.assertRaises(CheckViolation), self.env.cr.savepoint():
                self.account.write(values)

    def test_unsafe_api_addresses_are_refused(self):
        refused = (
            "http://api.weixin.qq.com",
            "http://127.0.0.1:8099",
            "https://user:pass@api.weixin.qq.com",
            "https://api.weixin.qq.com/?x=1",
            "ftp://api.weixin.qq.com",
            "api.weixin.qq.com",
        )
        for url in refused:
            with self.subTest(url=url), self.assertRaises(ValidationError):
                self.account.api_base_url = url
        self.account.api_base_url = "https://sh.api.weixin.qq.com"
        self.env["ir.config_parameter"].set_param("wechat_merchant_bind.allow_insecure_api", "True")
        self.account.api_base_url = "http://127.0.0.1:8099"
        self.account.api_base_url = "http://sandbox:8099"
        with self.assertRaises(ValidationError):
            self.account.api_base_url = "http://192.0.2.1:8099"


class TestSecrets(WechatCase):
    def test_only_managers_read_and_write_secrets(self):
        for user in (self.user, self.employee, self.portal, self.public):
            for name in SECRETS:
                with self.subTest(user=user.login, name=name):
                    account = self.account.with_user(user)
                    with self.assertRaises(AccessError):
                        account.read([name])
                    with self.assertRaises(AccessError):
                        account.write({name: KEY})
                    with self.assertRaises(AccessError):
                        account.search([(name, "=like", "5%")])
        for name in SECRETS:
            self.assertTrue(
                name == "previous_encoding_aes_key" or self.account.with_user(self.manager).read([name])[0][name], name
            )
        self.account.with_user(self.manager).app_secret = "another"
        self.assertEqual(self.account.app_secret, "another")

    def test_users_read_the_other_fields(self):
        self.assertEqual(self.account.with_user(self.user).read(["name"])[0]["name"], self.account.name)
        self.assertFalse(set(SECRETS) & set(self.account.with_user(self.user).fields_get()))

    def test_secrets_are_never_exported(self):
        self.manager.group_ids += self.env.ref("base.group_allow_export")
        self._make_code()
        code = self.merchant.with_user(self.manager).wechat_bind_code_ids
        account = self.account.with_user(self.manager)
        for name in SECRETS:
            with self.subTest(name=name):
                with self.assertRaises(UserError):
                    account.export_data(["name", name])
                with self.assertRaises(UserError):
                    code.export_data(["partner_id/name", f"account_id/{name}"])
                self.assertFalse(account.fields_get([name], ["exportable"])[name].get("exportable", True))
        self.assertEqual(account.export_data(["name"])["datas"], [[self.account.name]])

    def test_secrets_are_never_copied(self):
        self.account.previous_encoding_aes_key = KEY
        copy, second = self.account.copy(), self.account.copy()
        for name in SECRETS:
            self.assertNotEqual(copy[name] or None, self.account[name], name)
        self.assertFalse(copy.app_secret or copy.previous_encoding_aes_key or copy.original_id)
        self.assertNotEqual(copy.app_id, self.account.app_id)
        self.assertFalse(copy.active or second.active)

    def test_a_replaced_key_becomes_the_previous_key(self):
        former = self.account.encoding_aes_key
        self.account.encoding_aes_key = former
        self.assertFalse(self.account.previous_encoding_aes_key, "Nothing was rotated")
        self.account.encoding_aes_key = KEY
        self.assertEqual(self.account.previous_encoding_aes_key, former)
        self.account.action_generate_secrets()
        self.assertEqual(self.account.previous_encoding_aes_key, KEY)
        self.account.previous_encoding_aes_key = False
        self.account.write({"encoding_aes_key": former, "previous_encoding_aes_key": False})
        self.assertFalse(self.account.previous_encoding_aes_key, "The manager's own word counts")

    def test_generated_secrets_replace_the_present_ones(self):
        before = self.account.webhook_token, self.account.encoding_aes_key, self.account.webhook_key
        self.account.with_user(self.manager).action_generate_secrets()
        self.assertNotEqual(self.account.webhook_token, before[0])
        self.assertNotEqual(self.account.encoding_aes_key, before[1])
        self.assertEqual(self.account.webhook_key, before[2], "The address in WeChat's console stays valid")
        with self.assertRaises(AccessError):
            self.account.with_user(self.user).action_generate_secrets()

    def test_secrets_are_never_logged(self):
        with self.assertLogs("odoo.addons.wechat_merchant_bind", "DEBUG") as logs:
            logging.getLogger("odoo.addons.wechat_merchant_bind").debug("assertLogs wants one line at least")
            self._make_code()
            self.wechat.answer(QR_PATH, 502)
            with self.assertRaises(UserError):
                self._make_code(self.other_merchant)
            self.account.with_user(self.manager).action_test_connection()
        for secret in (SECRET, self.wechat.token, self.account.webhook_token, self.account.encoding_aes_key):
            self.assertNotIn(secret, "\n".join(logs.output))

    def test_disabling_revokes_the_codes(self):
        code = self._make_code()
        self.account.with_user(self.manager).active = False
        self.assertEqual(code.state, "revoked")

    def test_any_falsy_value_of_active_disables(self):
        for value in (False, 0, None, ""):
            for record in (self.merchant, self.account):
                with self.subTest(value=value, model=record._name):
                    record.active = True
                    code = self._make_code()
                    record.write({"active": value})
                    self.assertEqual((code.state, record.active), ("revoked", False))
                    record.active = True


class TestInUse(WechatCase):
    def test_the_app_id_of_an_account_in_use_stays(self):
        app_id = self.account.app_id
        binding = self._bind()
        account = self.account.with_user(self.manager)
        with self.assertRaisesRegex(UserError, "Merchants are bound by this account"):
            account.app_id = "wxanother"
        self.assertEqual(account.app_id, app_id)
        account.write({"app_id": app_id, "name": "y"})
        self.assertEqual(account.name, "y")
        binding._unbind("x")
        account.app_id = "wxanother"
        self.assertEqual(account.app_id, "wxanother")

    def test_an_account_with_codes_is_not_deleted(self):
        for state in ("active", "revoked"):
            code = self._make_code()
            code.state = state
            with self.subTest(state=state), self.assertRaisesRegex(UserError, "Archive it"):
                self.account.with_user(self.manager).unlink()
            self.assertTrue(code.exists())

    def test_an_account_with_former_bindings_is_not_deleted(self):
        self._bind()._unbind("x")
        with self.assertRaisesRegex(UserError, "Archive it"):
            self.account.with_user(self.manager).unlink()

    @mute_logger("odoo.models.unlink")
    def test_an_unused_account_is_deleted(self):
        self.account.with_user(self.manager).unlink()
        self.assertFalse(self.account.exists())
