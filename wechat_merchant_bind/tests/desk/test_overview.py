from ast import literal_eval
from datetime import timedelta
from itertools import groupby

from lxml import etree

from odoo import fields
from odoo.exceptions import AccessError
from odoo.fields import Domain

from ..common import CALLBACK_IPS_PATH, WechatCase

STEPS = ["account", "address", "connection", "webhook", "code", "binding"]


class TestOverview(WechatCase):
    """The start page: the steps to the first binding, then the numbers."""

    def setUp(self):
        super().setUp()
        self.env["ir.config_parameter"].set_param("web.base.url", "http://127.0.0.1:8069")
        self.admin = self.env.ref("base.user_admin")

    def _get_overview(self, user=None):
        self.env.flush_all()
        self.env.invalidate_all()
        return self.env["wechat.account"].with_user(user or self.manager).get_overview()

    def _get_steps(self, user=None):
        return {step["key"]: step for step in self._get_overview(user)["steps"]}

    def _get_done(self):
        return [key for key, step in self._get_steps().items() if step["is_done"]]

    def _create_event(self):
        return self.env["wechat.event"].create(
            {"account_id": self.account.id, "dedupe_key": "overview", "payload": "{}", "event": "subscribe"}
        )

    def test_steps_are_done_one_after_the_other(self):
        self.account.active = False
        overview = self._get_overview()
        self.assertEqual([step["key"] for step in overview["steps"]], STEPS)
        self.assertEqual((self._get_done(), overview["is_live"], overview["tiles"]), ([], False, []))
        self.account.active = True
        self.account.app_secret = False
        self.assertEqual(self._get_done(), [])
        self.account.app_secret = "5ecret"
        self.assertEqual(self._get_done(), ["account"])
        self.env["ir.config_parameter"].set_param("web.base.url", "https://odoo.example.com")
        self.assertEqual(self._get_done(), ["account", "address"])
        self.account.with_user(self.manager).action_test_connection()
        self.assertEqual(self._get_done(), ["account", "address", "connection"])
        self._create_event()
        self.assertEqual(self._get_done(), STEPS[:4])
        self._make_code()
        self.assertEqual(self._get_done(), STEPS[:5])
        self._bind()
        self.assertEqual(self._get_done(), STEPS)
        self.assertTrue(self._get_overview()["is_live"])

    def test_the_start_page_makes_no_call(self):
        self._get_overview()
        self.assertFalse(self.wechat.calls)

    def test_only_managers_read_the_error_of_a_failed_check(self):
        self.wechat.answer(CALLBACK_IPS_PATH, {"errcode": 40164, "errmsg": "invalid ip 1.2.3.4, not in whitelist"})
        self.account.with_user(self.manager).action_test_connection()
        step = self._get_steps()["connection"]
        self.assertFalse(step["is_done"])
        self.assertIn("1.2.3.4", step["problem"])
        self.assertNotIn(self.account.app_secret, step["problem"])
        self.assertFalse(self._get_steps(self.user)["connection"]["problem"])
        self.account.with_user(self.manager).action_test_connection()
        self.assertTrue(self._get_steps()["connection"]["is_done"])

    def test_a_binding_by_a_scan_proves_the_connection(self):
        """Its merchants are bound although the settings look wrong, as in the demo or behind a proxy."""
        self._make_code()
        self._bind()
        self.assertEqual(self._get_done(), STEPS)

    def test_imported_bindings_prove_nothing_about_the_connection(self):
        self._bind(source="import")
        self.assertEqual(self._get_done(), ["account", "binding"])

    def test_buttons_depend_on_the_users_rights(self):
        steps = self._get_steps(self.user)
        for key in ("account", "address", "connection", "webhook"):
            self.assertTrue(steps[key]["ask"], key)
            self.assertNotIn("action", steps[key])
            self.assertNotIn("method", steps[key])
        for key in ("code", "binding"):
            self.assertFalse(steps[key]["ask"], key)
        steps = self._get_steps(self.manager)
        self.assertEqual([key for key in STEPS if steps[key]["ask"]], ["address"])
        self.assertEqual([key for key in STEPS if self._get_steps(self.admin)[key]["ask"]], [])
        for user in (self.employee, self.portal, self.public):
            with self.assertRaises(AccessError):
                self._get_overview(user)

    def test_tiles_count_the_lists_behind_them(self):
        unfollowed, expired, disabled = (self._create_merchant(name) for name in ("甲", "乙", "丙"))
        self._bind(self.merchant)
        self._bind(unfollowed, is_subscribed=False)
        self._bind(disabled)
        disabled.active = False
        self.env["res.company"].create({"name": "分公司"})
        self._make_code(self.other_merchant)
        self._make_code(expired).expires_at = fields.Datetime.now() - timedelta(days=1)
        tiles = {tile["key"]: tile for tile in self._get_overview(self.user)["tiles"]}
        values = {key: tile["value"] for key, tile in tiles.items()}
        total = self.env["res.partner"].search_count(self.env["res.partner"]._wechat_get_merchant_domain())
        self.assertEqual((values["merchants"], values["bound"], values["unfollowed"]), (total, 2, 1))
        self.assertEqual(values["rate"], f"{round(200 / total, 1)}%")
        self.assertEqual((values["open_codes"], values["expired_codes"]), (1, 1))
        for tile in tiles.values():
            if isinstance(tile["value"], int):
                with self.subTest(tile=tile["key"]):
                    self.assertEqual(self._count_list(tile), tile["value"])

    def _count_list(self, tile):
        """Return the number of records in the list behind a tile, with the filters of the tile.

        :param dict tile: of the overview.
        """
        action = self.env["ir.actions.act_window"]._for_xml_id(tile["action"])
        model = self.env[action["res_model"]].with_user(self.user)
        search = etree.fromstring(
            model.get_view(action["search_view_id"] and action["search_view_id"][0], "search")["arch"]
        )
        domain = Domain(literal_eval(action["domain"] or "[]"))
        # Filters without a separator between them are alternatives.
        neighbours = groupby(  # pylint: disable=bad-builtin-groupby  # of neighbours, unlike tools.groupby
            search, key=lambda element: element.tag == "filter"
        )
        for is_filter, elements in neighbours:
            pressed = [element for element in elements if element.get("name") in tile["filters"]] if is_filter else []
            if pressed:
                domain &= Domain.OR(literal_eval(element.get("domain")) for element in pressed)
        return model.with_context(active_test=False).search_count(domain)

    def test_the_number_of_queries_is_constant(self):
        self._keep_schedule()
        self._bind()
        self._make_code(self.other_merchant)
        counts = []
        for _round in range(2):
            # The first call fills the caches, which a new record may have emptied.
            self._get_overview(self.user)
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            self.env["wechat.account"].with_user(self.user).get_overview()
            counts.append(self.env.cr.sql_log_count - before)
            for number in range(20):
                self._bind(self._create_merchant(f"商家 {number}"))
        # A query for each merchant would be twenty more; an emptied cache costs a few.
        self.assertLess(abs(counts[1] - counts[0]), 10)
        self.assertLess(counts[0], 40)
