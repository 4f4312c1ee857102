from odoo.exceptions import UserError
from odoo.tools import mute_logger

from ..common_push import WechatPushCase


class TestPrivacy(WechatPushCase):
    """Odoo's privacy look-up finds and erases all records with a person's OpenID."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls._create_user("wechat_admin", "base.group_system,base.group_partner_manager")
        cls.merchant.email = "tea@example.com"

    def setUp(self):
        super().setUp()
        self.openid, self.former = self._make_openid(), self._make_openid()
        self._push_scan(self._make_code(), self.former)
        self.merchant.with_user(self.manager).action_wechat_unbind("换了负责人")
        self.account.bind_confirmation = "approval"
        self._push_scan(self._make_code(), self.openid)
        self.env["wechat.bind.request"].search([("openid", "=", self.openid)]).with_user(self.user).action_accept()
        self.account.bind_confirmation = "none"
        self._push_text(self.openid)
        self.stranger = self._make_openid()
        self._push_scan(self._make_code(self.other_merchant), self.stranger)
        self.env["wechat.binding.import"].create(
            {"line_ids": [(0, 0, {"merchant": self.merchant.name, "result": "refused", "row": 1})]}
        )

    def _look_up(self, name, email=False):
        wizard = self.env["privacy.lookup.wizard"].with_user(self.admin).create({"name": name, "email": email})
        wizard.action_lookup()
        return wizard.line_ids

    def _get_traces(self, openid):
        """Return the models of the whole database with records that contain an OpenID."""
        self.env.flush_all()
        found = []
        for model in self.env.values():
            if model._abstract or not model._auto or model._name.startswith("privacy.lookup"):
                # Odoo deletes the look-ups themselves within a day.
                continue
            columns = [
                f'"{name}"::text'
                for name, field in model._fields.items()
                if field.store and field.type in ("char", "text", "html", "json")
            ]
            if columns:
                self.env.cr.execute(
                    f'SELECT 1 FROM "{model._table}" WHERE concat_ws(chr(10), {", ".join(columns)}) LIKE %s LIMIT 1',
                    [f"%{openid}%"],
                )
                if self.env.cr.fetchone():
                    found.append(model._name)
        return sorted(found)

    def _get_models(self, lines):
        return {line.res_model for line in lines if line.res_model.startswith("wechat.")}

    @mute_logger("odoo.models.unlink")
    def test_a_look_up_by_name_or_email_finds_all_records(self):
        for name, email in ((self.merchant.name, "somebody@example.com"), ("Somebody", "tea@example.com")):
            with self.subTest(name), self.env.cr.savepoint() as savepoint:
                lines = self._look_up(name, email)
                self.assertEqual(
                    self._get_models(lines),
                    {"wechat.binding", "wechat.event", "wechat.bind.request"}
                    | ({"wechat.binding.import.line"} if name == self.merchant.name else set()),
                )
                ids = [line.res_id for line in lines if line.res_model == "wechat.binding"]
                self.assertEqual(sorted(ids), sorted(self.merchant.wechat_binding_ids.ids))
                self.assertEqual(len({(line.res_model, line.res_id) for line in lines}), len(lines), "Each row once")
                savepoint.rollback()
                self.env.invalidate_all()

    @mute_logger("odoo.models.unlink")
    def test_erasing_the_records_leaves_no_trace(self):
        self.assertTrue(self._get_traces(self.openid) and self._get_traces(self.former))
        lines = self._look_up(self.merchant.name, "tea@example.com")
        lines.filtered(lambda line: line.res_model.startswith("wechat.")).action_unlink_all()
        self.env.invalidate_all()
        self.assertEqual(self._get_traces(self.openid) + self._get_traces(self.former), [])
        self.assertNotBound(self.merchant)
        log = self._get_operations().mapped("operation")
        self.assertEqual(sorted(log[-3:]), ["erase", "erase", "unbind"])
        last = self._get_operations()[-1]
        self.assertEqual(last.user_id, self.admin)
        self.assertTrue(last.openid_masked, "The masked OpenID stays as evidence")
        self.assertBound(self.other_merchant, self.stranger)

    @mute_logger("odoo.models.unlink")
    def test_erasing_the_merchant_too_leaves_no_trace(self):
        """In an order that deletes the merchant before other records."""
        lines = self._look_up(self.merchant.name, "tea@example.com")
        lines.sorted("res_model").action_unlink_all()
        self.env.invalidate_all()
        self.assertFalse(self.merchant.exists())
        self.assertEqual(self._get_traces(self.openid) + self._get_traces(self.former), [])
        self.assertFalse(self._look_up(self.merchant.name, "tea@example.com") if self.merchant.exists() else False)

    @mute_logger("odoo.models.unlink")
    def test_a_look_up_by_openid_finds_its_records_only(self):
        lines = self._look_up(f" {self.openid} ")
        self.assertEqual(self._get_models(lines), {"wechat.binding", "wechat.event", "wechat.bind.request"})
        self.assertTrue(lines)
        self.assertEqual(len(lines), len(lines.filtered(lambda line: line.res_model.startswith("wechat."))))
        lines.action_unlink_all()
        self.env.invalidate_all()
        self.assertEqual(self._get_traces(self.openid), [])
        self.assertTrue(self._get_traces(self.former), "The merchant's former OpenID belongs to another person")
        self.assertNotBound(self.merchant)
        log = self.env["privacy.log"].search([], limit=1)
        self.assertTrue(log)
        self.assertNotIn(self.openid, log.anonymized_name)

    @mute_logger("odoo.models.unlink")
    def test_records_of_a_deleted_merchant_are_found(self):
        name = self.merchant.name
        self.merchant.unlink()
        self.assertEqual(
            self._get_models(self._look_up(name, "tea@example.com")), {"wechat.binding", "wechat.binding.import.line"}
        )

    def test_a_look_up_by_name_requires_an_email(self):
        with self.assertRaisesRegex(UserError, "e-mail address"):
            self._look_up("杭州西湖茶庄")

    def test_the_operations_log_is_excluded(self):
        lines = self._look_up(self.merchant.name, "tea@example.com")
        self.assertNotIn("wechat.operation", lines.mapped("res_model"))
