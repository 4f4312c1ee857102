"""No RPC call reveals a secret to a user without the right to read it, neither by its result nor by a guess."""

import logging

from odoo.exceptions import AccessError, UserError
from odoo.service.model import call_kw

from ..common import QR_PATH, SECRET, SEND_PATH, USER_PATH, WechatCase
from ..common_outbox import OutboxCase
from ..common_push import Push, WechatPushCase
from ..rights import EMPLOYEE, FIELDS, INSTANCES, PORTAL, SECRETS, USER
from ..test_rights import RightsTableCase

KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
WRONG = "wrong guess"
REFUSED = "refused"
# No secret, despite its name: a keyword of a template, such as thing1.
NO_SECRET = "wechat.template.line.key"


class OracleCase(RightsTableCase):
    def setUp(self):
        super().setUp()
        self.own["account"].previous_encoding_aes_key = KEY
        # The account of the table of rights has no secrets yet.
        self.own["wechat.account"].write({"app_secret": SECRET, "previous_encoding_aes_key": KEY})
        self.own["wechat.event"].write({"openid": self._make_openid(), "payload": '{"x": 1}', "event_key": "mb_x"})
        self.env.flush_all()

    def _ask(self, role, model, method, *args, **kwargs):
        """Call a method as RPC does, and return the result or the error as the user sees it."""
        with self._undone():
            try:
                result = call_kw(
                    self.env(user=self.roles[role])[model], method, args, {"context": {"lang": "en_US"}, **kwargs}
                )
                self.env.flush_all()
                return repr(result)
            except (AccessError, UserError, ValueError, KeyError) as error:
                return f"{REFUSED}: {error}"

    def assertTellsNothing(self, role, model, record, name, secret):
        """Check that no call returns a field's value or answers a right guess differently from a wrong one."""
        ids, guesses = record.ids, (secret, WRONG)
        field = self.env[model]._fields[name]
        calls = [
            ("read", [ids, [name]], {}),
            ("web_read", [ids, {name: {}}], {}),
            ("search_read", [[("id", "in", ids)], [name]], {}),
            ("web_search_read", [[("id", "in", ids)], {name: {}}], {}),
            ("export_data", [ids, [name]], {}),
            ("onchange", [ids, {}, [], {name: {}}], {}),
            ("onchange", [ids, {name: WRONG}, [name], {name: {}, "display_name": {}}], {}),
            ("default_get", [[name]], {}),
            ("name_search", ["", [("id", "in", ids)]], {}),
            ("fields_get", [], {}),
            ("copy_data", [ids], {}),
        ]
        if field.store:
            calls += [
                ("formatted_read_group", [[], [name], ["__count"]], {}),
                ("formatted_read_group", [[], [], [f"{name}:array_agg"]], {}),
                ("formatted_read_group", [[], [], [f"{name}:max"]], {}),
                ("web_read_group", [[], [name], ["__count"]], {}),
                ("read_group", [[], ["id"], [name]], {}),
                ("read_progress_bar", [[], name, {"field": name, "colors": {}}], {}),
            ]
        for method, args, kwargs in calls:
            told = self._ask(role, model, method, *args, **kwargs)
            self.assertNotIn(secret, told, f"{role} learns {model}.{name} by {method}{args}")
        if not field.store:
            return
        for method, before, behind in (
            ("search", [], []),
            ("search_count", [], []),
            ("web_search_read", [], [{"display_name": {}}]),
            ("name_search", [""], []),
            ("formatted_read_group", [], [[], ["__count"]]),
        ):
            for make in (
                lambda guess: [(name, "=", guess)],
                lambda guess: [(name, "=like", f"{guess[:3]}%")],
                lambda guess: [(name, ">=", guess)],
                lambda guess: ["!", (name, "in", [guess])],
                lambda guess: [("id", "any", [(name, "=", guess)])],
                lambda guess: [("id", "in", ids), ("create_uid.create_uid", "!=", 0), (name, "ilike", guess[1:4])],
            ):
                right, wrong = (self._ask(role, model, method, *before, make(guess), *behind) for guess in guesses)
                self.assertTrue(
                    right == wrong or (right.startswith(REFUSED) and wrong.startswith(REFUSED)),
                    f"{role} can guess {model}.{name} by {method}({make('…')})",
                )
        ordered = [self._ask(role, model, "search", [], order=f"{name} {way}") for way in ("asc", "desc")]
        self.assertTrue(
            len(self.env[model].search([])) < 2 or ordered[0] == ordered[1] or ordered[0].startswith(REFUSED),
            f"{role} sorts by {model}.{name}: {ordered}",
        )


class TestOracles(OracleCase):
    def test_users_learn_no_secrets(self):
        for key, allowed in SECRETS.items():
            if key == NO_SECRET:
                continue
            model, name = key.rsplit(".", 1)
            record = self.own[model]
            secret = record.sudo()[name]
            # Other roles have no access to the model, as test_rights.py checks.
            if USER not in allowed:
                with self.subTest(field=key):
                    self.assertTellsNothing(USER, model, record, name, str(secret or "no such secret"))

    def test_openids_are_hidden_from_all_but_managers(self):
        for key, allowed in FIELDS.items():
            if not key.endswith("openid"):
                continue
            model, name = key.rsplit(".", 1)
            record = self.own["bound_merchant"]
            for role in {USER, EMPLOYEE, PORTAL} - allowed:
                with self.subTest(field=key, role=role):
                    self.assertTellsNothing(role, INSTANCES.get(model, model), record, name, record.sudo()[name])

    def test_the_records_under_test_have_secrets(self):
        """An empty field would prove nothing. These are the only empty ones."""
        empty = {key for key in SECRETS if not self.own[key.rsplit(".", 1)[0]].sudo()[key.rsplit(".", 1)[1]]}
        self.assertEqual(
            empty,
            {
                "wechat.access.token.token",
                "wechat.account.last_follower_openid",
                "wechat.bind.code.show.openid_masked",
                "wechat.binding.import.line.openid_masked",
                "wechat.event.signature",
            },
        )

    def test_relations_of_other_models_reveal_no_secrets(self):
        """For all relations of all models to a secret: by domain, sub-specification and export."""
        hidden = {}
        for key, allowed in SECRETS.items():
            model, name = key.rsplit(".", 1)
            if USER not in allowed and self.env[model]._fields[name].store:
                hidden.setdefault(model, []).append(name)
        # Users inherit the fields of their partners.
        hidden |= {"res.partner": ["wechat_openid"], "res.users": ["wechat_openid"]}
        tried = 0
        for model, cls in self.env.registry.items():
            if cls._abstract or not self.env[model].with_user(self.user).has_access("read"):
                continue
            for relation, field in cls._fields.items():
                for name in hidden.get(field.comodel_name, []) if field.relational else []:
                    tried += 1
                    with self.subTest(model=model, path=f"{relation}.{name}"):
                        self._assertPathRefused(model, relation, name)
        self.assertGreater(tried, 30)

    def test_sudoed_searches_of_odoo_reveal_no_secrets(self):
        """Employees may search by followers and authors, which are related to an account's secret by three steps."""
        merchant = self.own["bound_merchant"]
        secret = merchant.sudo().wechat_binding_ids.account_id.app_secret
        merchant.message_subscribe(merchant.ids)
        attachment = self.env["ir.attachment"].create({"name": "x", "res_model": "res.partner", "res_id": merchant.id})
        self.portal.partner_id = merchant
        self.env.cr.execute("UPDATE ir_attachment SET create_uid = %s WHERE id = %s", [self.portal.id, attachment.id])
        self.env.invalidate_all()
        for model, start, record in (
            ("res.partner", "message_partner_ids", merchant),
            ("ir.attachment", "create_uid", attachment),
        ):
            allowed = [("id", "=", record.id), (f"{start}.name", "=", merchant.name)]
            self.assertEqual(self._ask(EMPLOYEE, model, "search", allowed), f"[{record.id}]")
            for path, value in (
                ("wechat_openid", merchant.wechat_openid),
                ("wechat_binding_ids.account_id.app_secret", secret),
            ):
                for domain in (
                    [(f"{start}.{path}", "=", value)],
                    [(start, "any", [(path, "=", value)])],
                    ["!", (start, "not any", [(path, "=", value)])],
                ):
                    told = self._ask(EMPLOYEE, model, "search", [("id", "=", record.id), *domain])
                    self.assertTrue(told.startswith(REFUSED), f"{model} {domain}: {told}")

    def _assertPathRefused(self, model, relation, name):
        if self.env[model]._fields[relation]._description_searchable:
            for domain in (
                [(f"{relation}.{name}", "=like", "a%")],
                [(relation, "any", [(name, "=like", "a%")])],
                [(relation, "any!", [(name, "=like", "a%")])],
            ):
                told = self._ask(USER, model, "search_count", domain)
                self.assertTrue(told.startswith(REFUSED), f"{model}: {domain}: {told}")
        found = self.env[model].with_user(self.user).search([]).filtered(lambda record: record.sudo()[relation])[:2]
        calls = [
            ("web_read", [found.ids, {relation: {"fields": {name: {}}}}]),
            ("export_data", [found.ids, [f"{relation}/{name}"]]),
            ("formatted_read_group", [[], [f"{relation}.{name}"], ["__count"]]),
        ]
        for method, args in calls if found else ():
            told = self._ask(USER, model, method, *args)
            self.assertTrue(told.startswith(REFUSED), f"{model}: {method}{args}: {told}")

    def test_managers_read_secrets_by_the_same_calls(self):
        """The calls of the other tests reveal secrets to managers, so the tests ask the right questions."""
        account = self.own["wechat.account"]
        for method, args in (
            ("read", [account.ids, ["app_secret"]]),
            ("web_read", [account.ids, {"app_secret": {}}]),
            ("formatted_read_group", [[], ["app_secret"], ["__count"]]),
        ):
            self.assertIn(SECRET, self._ask("manager", "wechat.account", method, *args), method)
        right, wrong = (
            self._ask("manager", "wechat.account", "search_count", [("app_secret", "=", guess)])
            for guess in (SECRET, WRONG)
        )
        self.assertNotEqual(right, wrong)


class TestTraces(WechatPushCase, OutboxCase):
    """Log lines of all levels, messages, e-mails and errors contain no secrets."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.secrets = {
            "app secret": SECRET,
            "token": cls.account.webhook_token,
            "key": cls.account.encoding_aes_key,
            "webhook key": cls.account.webhook_key,
        }

    def _live_through_everything(self, openid):
        """Generate a code, scan it, send a notice that WeChat refuses with secrets in the error, check, unbind."""
        code = self._make_code(self.other_merchant)
        self._push_scan(code, openid)
        forged = Push(self.account, self._event_fields("VIEW", openid, EventKey="x"), token="strangersToken")
        self._send(forged)
        echo = {"errcode": 40003, "errmsg": f"invalid openid {openid} {self.wechat.token} rid: 1-2"}
        self.wechat.answer(SEND_PATH, echo)
        messages = self._queue(self.other_merchant)
        self._process_queue()
        self.wechat.answer(QR_PATH, {"errcode": 40001, "errmsg": f"bad {self.wechat.token}"}, 502)
        with self.assertRaises(UserError) as refused:
            self._make_code(self._create_merchant("被拒"))
        self.wechat.answer(USER_PATH, {"errcode": 40003, "errmsg": f"bad {openid}"})
        self.account.with_user(self.manager).action_test_connection()
        self.other_merchant.with_user(self.manager).action_wechat_unbind("测试")
        self.env.flush_all()
        return messages, str(refused.exception)

    def _get_texts(self, messages, error):
        """Return the stored texts that not only managers can read, by place."""
        mails = self.env["mail.message"].search([("create_date", ">=", self.env.cr.now())])
        activities = self.env["mail.activity"].search([])
        checks = self.env["wechat.account.check.line"].search([])
        return {
            "chatter": "".join(mails.mapped("body")) + "".join(str(value) for value in mails.mapped("subject")),
            "mails": "".join(str(mail.body_html) for mail in self.env["mail.mail"].search([])),
            "tracking": repr(self.env["mail.tracking.value"].search([]).read()),
            "activities": "".join(str(activity.note) + str(activity.summary) for activity in activities),
            "operations": "".join(str(note) for note in self.env["wechat.operation"].search([]).mapped("note")),
            "outbox": "".join(f"{row.errmsg}{row.failure_reason}{row.body}" for row in messages),
            "checks": "".join(str(line.read()) for line in checks),
            "error": error,
        }

    def test_logs_and_records_contain_no_secrets(self):
        openid = self._make_openid()
        # Odoo's log of SQL queries contains all values and is off by default.
        logging.getLogger("odoo.sql_db").setLevel(logging.INFO)
        self.addCleanup(logging.getLogger("odoo.sql_db").setLevel, logging.NOTSET)
        with self.assertLogs(level=logging.DEBUG) as captured:
            texts = self._get_texts(*self._live_through_everything(openid))
        self.assertGreater(len(captured.output), 10)
        for place in ("chatter", "operations", "outbox", "checks", "error"):
            self.assertTrue(texts[place], f"Nothing was left in {place}, so this proves nothing")
        texts["log"] = "\n".join(captured.output)
        for place, text in texts.items():
            for name, secret in {**self.secrets, "access token": self.wechat.token, "OpenID": openid}.items():
                with self.subTest(place=place, secret=name):
                    self.assertNotIn(secret, text)


class TestCopies(WechatCase):
    def test_copies_contain_no_secrets(self):
        for user in (self.user, self.manager):
            values = repr(self.account.with_user(user).copy_data())
            for secret in (SECRET, self.account.webhook_token, self.account.encoding_aes_key, self.account.webhook_key):
                self.assertNotIn(secret, values)
