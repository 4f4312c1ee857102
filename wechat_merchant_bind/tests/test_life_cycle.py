from odoo.tools import mute_logger

from .common_push import WechatPushCase


class TestLifeCycle(WechatPushCase):
    """Merging, copying, deleting and erasing a merchant with all kinds of records leaves no dangling reference."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls._create_user(
            "wechat_admin", "base.group_system,base.group_partner_manager,wechat_merchant_bind.group_manager"
        )
        cls.merchant.write({"email": "tea@example.com", "phone": "+86 571 8888 8888"})

    def setUp(self):
        super().setUp()
        self.former, self.openid = self._make_openid(), self._make_openid()
        self.account.bind_confirmation = "approval"
        self._push_scan(self._make_code(), self.former)
        request = self.env["wechat.bind.request"].search([("openid", "=", self.former)])
        request.with_user(self.manager).action_accept()
        self.assertBound(self.merchant, self.former)
        self.account.bind_confirmation = "none"
        self.merchant.with_user(self.manager).action_wechat_unbind("换了负责人")
        # A newer code revokes the first one. A line of an open batch refers to the newer.
        self._make_code()
        self.merchant.with_user(self.user)._wechat_regenerate_bind_code()
        self.batch = self.env["wechat.bind.batch"].with_user(self.user)._create_for(self.merchant + self.other_merchant)
        self._push_scan(
            self.merchant.wechat_bind_code_ids.sudo().filtered(lambda code: code.state == "active"), self.openid
        )
        self.env["wechat.bind.code.show"].with_user(self.user).create({"partner_id": self.merchant.id})
        self.env["wechat.unbind"].with_user(self.manager).create({"partner_id": self.merchant.id})
        self.env["wechat.binding.import"].create(
            {"line_ids": [(0, 0, {"partner_id": self.merchant.id, "result": "imported", "row": 1})]}
        )
        self.env.flush_all()
        self.assertBound(self.merchant, self.openid)

    def _get_references(self):
        """Return the fields of the addon's stored models that point to a partner."""
        return [
            (model, name)
            for model in self.env.values()
            if model._name.startswith("wechat.") and model._auto
            for name, field in model._fields.items()
            if field.store and field.type == "many2one" and field.comodel_name == "res.partner"
        ]

    def assertNoOrphans(self):
        """Check that all references point to existing records, and that partner fields agree with the bindings."""
        self.env.flush_all()
        references = self._get_references()
        self.assertTrue(references)
        for model, name in references:
            self.env.cr.execute(
                f'SELECT id FROM "{model._table}" AS row WHERE "{name}" IS NOT NULL'
                f' AND NOT EXISTS (SELECT FROM res_partner WHERE id = row."{name}")'
            )
            self.assertEqual(self.env.cr.fetchall(), [], f"{model._name}.{name} points nowhere")
        for table in ("mail_message", "mail_activity", "mail_followers", "ir_attachment"):
            column = "model" if table == "mail_message" else "res_model"
            for model in self.env.values():
                if model._name.startswith("wechat.") and model._auto:
                    self.env.cr.execute(
                        f'SELECT id FROM "{table}" AS row WHERE "{column}" = %s AND res_id IS NOT NULL AND res_id != 0'
                        f' AND NOT EXISTS (SELECT FROM "{model._table}" WHERE id = row.res_id)',
                        [model._name],
                    )
                    self.assertEqual(self.env.cr.fetchall(), [], f"{table} of {model._name} points nowhere")
        self.env.cr.execute(
            """
            SELECT partner.id
              FROM res_partner AS partner
              LEFT JOIN wechat_binding AS binding ON binding.partner_id = partner.id AND binding.state = 'bound'
             WHERE (partner.is_wechat_bound IS TRUE) != (binding.id IS NOT NULL)
                OR partner.wechat_openid IS DISTINCT FROM binding.openid
            """
        )
        self.assertEqual(self.env.cr.fetchall(), [], "A merchant's state differs from its live binding")
        self.env.cr.execute("SELECT id FROM wechat_binding WHERE state = 'bound' AND partner_id IS NULL")
        self.assertEqual(self.env.cr.fetchall(), [], "A live binding without a merchant")
        self.env.cr.execute("SELECT id FROM wechat_bind_code WHERE state = 'active' AND partner_id IS NULL")
        self.assertEqual(self.env.cr.fetchall(), [], "An open code without a merchant")

    def _run_crons(self):
        """Run all scheduled actions."""
        for cron in self.env["ir.cron"].search([("model_id.model", "=like", "wechat.%")]):
            cron.method_direct_trigger()
        self.env.invalidate_all()

    def _assert_system_goes_on(self):
        self.assertNoOrphans()
        with self.assertNoLogs("odoo", "ERROR"):
            self._run_crons()
        self.assertNoOrphans()

    @mute_logger("odoo.addons.base.wizard.base_partner_merge", "odoo.models.unlink")
    def test_merge_moves_the_binding(self):
        target = self._create_merchant("合并后的商家")
        open_code = self._make_code(target)
        with self.assertNoLogs("odoo", "ERROR"):
            self.env["base.partner.merge.automatic.wizard"].with_user(self.admin)._merge(
                (self.merchant + target).ids, target
            )
        self.env.invalidate_all()
        self.assertFalse(self.merchant.exists())
        self.assertBound(target, self.openid)
        self.assertEqual(open_code.state, "revoked")
        self.assertEqual(len(target.wechat_binding_ids), 2, "The history moves along")
        self.assertIn(target, self.batch.sudo().line_ids.partner_id)
        self._assert_system_goes_on()

    def test_copy_is_not_bound(self):
        with self.assertNoLogs("odoo", "ERROR"):
            copy = self.merchant.with_user(self.admin).copy()
        self.env.invalidate_all()
        self.assertNotBound(copy)
        self.assertFalse(copy.sudo().wechat_binding_ids or copy.sudo().wechat_bind_code_ids)
        self.assertFalse(self._get_operations(copy))
        self.assertBound(self.merchant, self.openid)
        self._assert_system_goes_on()

    @mute_logger("odoo.models.unlink")
    def test_deletion_closes_the_binding(self):
        name = self.merchant.name
        bindings = self.merchant.wechat_binding_ids
        with self.assertNoLogs("odoo", "ERROR"):
            self.merchant.with_user(self.admin).unlink()
        self.env.invalidate_all()
        self.assertEqual(set(bindings.mapped("state")), {"unbound"}, "Closed, and kept as history")
        log = self.env["wechat.operation"].search([("partner_name", "=", name)], order="id")
        self.assertEqual(log[-1].operation, "unbind")
        self.assertFalse(log.partner_id)
        self._assert_system_goes_on()
        # The OpenID can be bound again.
        self._push_scan(self._make_code(self.other_merchant), self.openid)
        self.assertBound(self.other_merchant, self.openid)

    @mute_logger("odoo.models.unlink")
    def test_erasure_deletes_bindings_events_and_requests(self):
        wizard = (
            self.env["privacy.lookup.wizard"]
            .with_user(self.admin)
            .create({"name": self.merchant.name, "email": "tea@example.com"})
        )
        wizard.action_lookup()
        with self.assertNoLogs("odoo", "ERROR"):
            wizard.line_ids.action_unlink_all()
        self.env.invalidate_all()
        self.assertFalse(self.merchant.exists())
        self.assertFalse(self.env["wechat.binding"].search([("openid", "in", [self.openid, self.former])]))
        self.assertFalse(self.env["wechat.event"].search([("openid", "in", [self.openid, self.former])]))
        self.assertFalse(self.env["wechat.bind.request"].search([("openid", "in", [self.openid, self.former])]))
        self._assert_system_goes_on()
