import time
from datetime import timedelta

from psycopg2.errors import UniqueViolation

from odoo import fields
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import mute_logger

from ..common_push import WechatPushCase

HAN = r"[\u4e00-\u9fff]"


class TestBind(WechatPushCase):
    def test_the_scan_of_a_follower_binds(self):
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid)
        self.assertReply(answer, to=openid)
        self.assertEqual(answer.reply["Content"], "您好！杭州西湖茶庄，公众号绑定成功！")
        self.assertBound(self.merchant, openid)
        binding = self._get_live_binding()
        self.assertRecordValues(
            binding,
            [{"code_id": code.id, "source": "scan", "is_subscribed": True, "company_id": self.account.company_id.id}],
        )
        self.assertEqual(code.state, "used")
        self.assertTrue(code.used_at)
        self.assertOperations(self.merchant, ["generate", "bind"])

    def test_the_scan_of_a_new_follower_binds(self):
        code, openid = self._make_code(), self._make_openid()
        self.assertReply(self._push_subscribe(openid, code.scene_str), "杭州西湖茶庄", to=openid)
        self.assertBound(self.merchant, openid)

    def test_a_scene_may_contain_the_subscribe_prefix(self):
        code, openid = self._make_code(), self._make_openid()
        code.scene_str = "mb_qrscene_a_b"
        self.assertReply(self._push_subscribe(openid, code.scene_str), "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)

    def test_event_names_are_case_insensitive(self):
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_event("scan", openid, create_time=int(time.time()), EventKey=code.scene_str)
        self.assertReply(answer, "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)

    def test_the_note_names_the_user_and_is_by_odoobot(self):
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid)
        masked = self._get_live_binding().openid_masked
        self.assertChatter(self.merchant, masked, self.user.name, author=self.env.ref("base.partner_root"))
        self.assertNotIn(openid, "".join(self.merchant.message_ids.mapped("body")), "Chatter holds no full OpenID")
        operation = self._get_operations()[-1]
        self.assertEqual((operation.openid_masked, operation.partner_name), (masked, "杭州西湖茶庄"))

    def test_a_contact_is_bound_by_itself(self):
        contact = self._create_merchant("会计", is_company=False, parent_id=self.merchant.id)
        code, openid = self._make_code(contact), self._make_openid()
        self._push_scan(code, openid)
        self.assertBound(contact, openid)
        self.assertNotBound(self.merchant)

    def test_a_repeated_scan_is_not_recorded(self):
        code, openid = self._make_code(), self._make_openid()
        first = self._push_scan(code, openid, create_time=1_790_000_000)
        audit = len(self._get_operations()), len(self.merchant.message_ids)
        second = self._push_scan(code, openid, create_time=1_790_000_100)
        self.assertEqual(second.reply["Content"], first.reply["Content"])
        self.assertEqual((len(self._get_operations()), len(self.merchant.message_ids)), audit)
        self.assertBound(self.merchant, openid)
        self.assertEqual(len(self.merchant.wechat_binding_ids), 1)

    def test_a_repeated_scan_resubscribes(self):
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid, create_time=1_790_000_000)
        self._push_unsubscribe(openid, create_time=1_790_000_100)
        self.merchant.invalidate_recordset()
        self.assertEqual(self.merchant.wechat_state, "unfollowed")
        self.assertReply(self._push_subscribe(openid, code.scene_str, create_time=1_790_000_200), "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)

    def test_an_openid_is_unique_per_account(self):
        other = self._create_account()
        openid = self._make_openid()
        self._bind(self.other_merchant, openid, other)
        code = self._make_code()
        self.assertReply(self._push_scan(code, openid), "杭州西湖茶庄")
        self.assertBound(self.merchant, openid)
        self.assertBound(self.other_merchant, openid, other)


class TestRefusals(WechatPushCase):
    def assertRefused(self, answer, code, openid, chatter):
        """Check the reply in Chinese, the note in the chatter and the entry of the log about a refusal."""
        self.assertReply(answer, to=openid)
        self.assertRegex(answer.reply["Content"], HAN)
        self.assertNotIn(self.other_merchant.name, answer.reply["Content"], "No other merchant is named to a scanner")
        masked = self.env["wechat.operation"]._mask_openid(openid)
        self.assertChatter(code.partner_id, chatter, masked, author=self.env.ref("base.partner_root"))
        self.assertNotIn(openid, "".join(code.partner_id.message_ids.mapped("body")))
        operation = self._get_operations(code.partner_id)[-1]
        self.assertEqual((operation.operation, operation.openid_masked), ("refuse", masked))
        self.assertEqual(self._get_events()[-1].state, "done")

    def test_a_bound_merchant_is_refused(self):
        first, second = self._make_openid(), self._make_openid()
        code = self._make_code()
        self._push_scan(code, first)
        answer = self._push_scan(code, second)
        self.assertRefused(answer, code, second, "already bound to another WeChat")
        self.assertBound(self.merchant, first)

    def test_a_bound_openid_is_refused(self):
        openid = self._make_openid()
        self._bind(self.other_merchant, openid)
        code = self._make_code()
        answer = self._push_scan(code, openid)
        self.assertRefused(answer, code, openid, "already bound to 绍兴黄酒行")
        self.assertBound(self.other_merchant, openid)
        self.assertNotBound(self.merchant)
        self.assertEqual(code.state, "active", "The merchant's own phone may still use it")

    def test_the_openid_of_an_archived_merchant_is_refused(self):
        openid = self._make_openid()
        self._bind(self.other_merchant, openid)
        self.other_merchant.active = False
        code = self._make_code()
        self.assertRefused(self._push_scan(code, openid), code, openid, "already bound to 绍兴黄酒行")
        self.assertBound(self.other_merchant, openid)
        self.assertNotBound(self.merchant)

    def test_an_expired_code_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        code.expires_at = fields.Datetime.now() - timedelta(seconds=1)
        self.assertRefused(self._push_scan(code, openid), code, openid, "expired")
        self.assertNotBound(self.merchant)

    def test_the_time_of_the_scan_decides_about_the_expiry(self):
        code, openid = self._make_code(), self._make_openid()
        code.write({"expires_at": fields.Datetime.now() - timedelta(seconds=10), "state": "expired"})
        self.assertReply(self._push_scan(code, openid, create_time=int(time.time()) - 60), "绑定成功")
        self.assertBound(self.merchant, openid)

    def test_a_revoked_code_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        code._revoke("test")
        self.assertRefused(self._push_scan(code, openid), code, openid, "revoked")
        self.assertNotBound(self.merchant)

    def test_a_used_code_is_refused(self):
        code, first, second = self._make_code(), self._make_openid(), self._make_openid()
        self._push_scan(code, first)
        self.merchant.with_user(self.manager).action_wechat_unbind()
        self.assertRefused(self._push_scan(code, second), code, second, "already used")
        self.assertNotBound(self.merchant)

    def test_a_disabled_merchant_is_refused(self):
        code, openid = self._make_code(), self._make_openid()
        self.merchant.active = False
        code.state = "active"
        self.assertRefused(self._push_scan(code, openid), code, openid, "disabled")
        self.assertNotBound(self.merchant)

    def test_disabling_revokes_the_code(self):
        code = self._make_code()
        self.merchant.action_archive()
        self.assertEqual(code.state, "revoked")
        self.assertOperations(self.merchant, ["generate", "revoke", "disable"])
        self.assertChatter(self.merchant, "disabled")

    def test_a_scene_of_another_account_is_refused(self):
        other = self._create_account()
        code, openid = self._make_code(), self._make_openid()
        answer = self._push_scan(code, openid, account=other)
        self.assertReply(answer, account=other)
        self.assertRegex(answer.reply["Content"], HAN)
        self.assertNotBound(self.merchant)
        self.assertEqual(code.state, "active")

    def test_an_unknown_scene_gets_an_explanation(self):
        answer = self._push_event("SCAN", self._make_openid(), EventKey="mb_unknown")
        self.assertReply(answer)
        self.assertRegex(answer.reply["Content"], HAN)
        self.assertEqual(self._get_events().state, "done")


class TestForeignScenes(WechatPushCase):
    def test_foreign_scenes_are_ignored(self):
        openid = self._make_openid()
        for number, scene in enumerate(("0", "", "123", "shop_7", "MB_x", "qrscene_mb_x", "last_trade_no_4200001")):
            with self.subTest(scene=scene):
                self.assertSilent(self._push_event("SCAN", openid, 1_790_000_000 + number, EventKey=scene))
                self.assertEqual(self._get_events()[-1].state, "ignored")

    def test_new_followers_by_foreign_scenes_get_no_reply(self):
        self.account.follow_reply = "欢迎"
        for number, key in enumerate(("qrscene_0", "qrscene_123", "qrscene_shop_7")):
            with self.subTest(key=key):
                self.assertSilent(
                    self._push_event("subscribe", self._make_openid(), 1_790_000_000 + number, EventKey=key)
                )

    def test_new_followers_after_a_payment_get_the_follow_reply(self):
        openid = self._make_openid()
        self.assertSilent(self._push_event("subscribe", openid, EventKey="last_trade_no_4200001"))
        self.account.follow_reply = "欢迎"
        answer = self._push_event("subscribe", openid, 1_790_000_001, EventKey="last_trade_no_4200001")
        self.assertEqual(answer.reply["Content"], "欢迎")

    def test_plain_followers_get_the_follow_reply(self):
        self.assertSilent(self._push_subscribe(self._make_openid()))
        self.account.follow_reply = "欢迎"
        self.assertReply(self._push_subscribe(self._make_openid()), "欢迎")
        self.assertFalse(self.env["wechat.binding"].search_count([("account_id", "=", self.account.id)]))

    def test_a_foreign_scene_resubscribes_a_bound_openid(self):
        openid = self._make_openid()
        self._bind(openid=openid, is_subscribed=False)
        self.assertSilent(self._push_event("subscribe", openid, EventKey="qrscene_123"))
        self.assertBound(self.merchant, openid)


class TestSubscription(WechatPushCase):
    def test_unfollowing_and_following_again_are_recorded(self):
        openid = self._make_openid()
        binding = self._bind(openid=openid)
        self.assertSilent(self._push_unsubscribe(openid))
        self.assertFalse(binding.is_subscribed)
        self.assertEqual((self.merchant.wechat_state, self.merchant.is_wechat_bound), ("unfollowed", True))
        self.assertChatter(self.merchant, "取消关注", author=self.env.ref("base.partner_root"))
        self._push_subscribe(openid, create_time=int(time.time()) + 1)
        self.assertBound(self.merchant, openid)
        self.assertChatter(self.merchant, "重新关注")
        self.assertOperations(self.merchant, ["unfollow", "follow"])

    def test_older_events_are_ignored(self):
        openid = self._make_openid()
        binding = self._bind(openid=openid)
        self._push_subscribe(openid, create_time=1_790_000_100)
        self._push_unsubscribe(openid, create_time=1_790_000_099)
        self.assertTrue(binding.is_subscribed)
        self._push_unsubscribe(openid, create_time=1_790_000_200)
        self._push_subscribe(openid, create_time=1_790_000_150)
        self.assertFalse(binding.is_subscribed)
        self.assertOperations(self.merchant, ["unfollow"])

    def test_an_older_scan_does_not_resubscribe(self):
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid, create_time=1_790_000_000)
        self._push_unsubscribe(openid, create_time=1_790_000_200)
        self._push_scan(code, openid, create_time=1_790_000_100)
        self.assertEqual(self.merchant.wechat_state, "unfollowed")

    def test_unknown_openids_are_ignored(self):
        self.assertSilent(self._push_unsubscribe(self._make_openid()))
        self.assertEqual(self._get_events().state, "ignored")

    def test_unfollowing_another_account_changes_nothing(self):
        other, openid = self._create_account(), self._make_openid()
        self._bind(openid=openid)
        self._push_unsubscribe(openid, account=other)
        self.assertBound(self.merchant, openid)


class TestReply(WechatPushCase):
    def _get_reply(self, partner):
        return self._push_scan(self._make_code(partner), self._make_openid()).reply["Content"]

    def test_the_placeholder_is_replaced_as_text(self):
        for name, reply, expected in (
            ("甲{merchant}%s", "{merchant}!", "甲{merchant}%s!"),
            ("乙", "{merchant} {merchant}", "乙 乙"),
            ("丙", "{0} {merchant.env} %(x)s { }", "{0} {merchant.env} %(x)s { }"),
            ("<b>丁</b>&", "{merchant}]]>", "<b>丁</b>&]]>"),
        ):
            with self.subTest(reply=reply):
                self.account.bind_reply = reply
                self.assertEqual(self._get_reply(self._create_merchant(name)), expected)

    def test_the_reply_is_in_the_merchants_language_or_chinese(self):
        self.account.with_context(lang="en_US").bind_reply = "Hello {merchant}"
        self.account.with_context(lang="zh_CN").bind_reply = "您好 {merchant}"
        self.assertEqual(self._get_reply(self._create_merchant("A", lang="en_US")), "Hello A")
        self.assertEqual(self._get_reply(self._create_merchant("B", lang="zh_CN")), "您好 B")
        self.assertEqual(self._get_reply(self._create_merchant("C", lang=False)), "您好 C")

    def test_the_language_of_the_request_is_ignored(self):
        self.account.with_context(lang="en_US").bind_reply = "Hello {merchant}"
        self.account.with_context(lang="zh_CN").bind_reply = "您好 {merchant}"
        self.opener.headers["Accept-Language"] = "en-US"
        self.opener.cookies["frontend_lang"] = "en_US"
        self.assertEqual(self._get_reply(self._create_merchant("D")), "您好 D")

    def test_the_default_reply_is_in_chinese(self):
        account = self.env["wechat.account"].create({"name": "x", "app_id": "wxdefault", "sequence": 1})
        self.account = account
        account.original_id = "gh_default"
        self.assertEqual(
            self._get_reply(self.merchant),
            "您好！杭州西湖茶庄，公众号绑定成功！今后将通过此公众号为您推送重要通知。",
        )


class TestUnbind(WechatPushCase):
    def test_a_manager_unbinds_with_a_reason(self):
        openid = self._make_openid()
        binding = self._bind(openid=openid)
        self.assertTrue(self.merchant.with_user(self.manager).action_wechat_unbind("离职"))
        self.assertNotBound(self.merchant)
        self.assertRecordValues(binding, [{"state": "unbound", "reason": "离职", "openid": openid}])
        self.assertTrue(binding.unbound_at)
        self.assertChatter(self.merchant, "Unbound", "离职", author=self.manager.partner_id)
        self.assertEqual(self._get_operations()[-1].user_id, self.manager)

    def test_the_dialog_unbinds(self):
        self._bind()
        action = self.merchant.with_user(self.manager).action_wechat_unbind_dialog()
        dialog = self.env[action["res_model"]].with_user(self.manager).with_context(**action["context"])
        record = dialog.create({"reason": "换手机"})
        self.assertIn("…", record.openid_masked)
        record.action_unbind()
        self.assertNotBound(self.merchant)
        self.assertChatter(self.merchant, "换手机")

    def test_only_managers_unbind(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        for user in (self.user, self.employee, self.portal, self.public):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.merchant.with_user(user).action_wechat_unbind("x")
        self.assertBound(self.merchant, openid)

    def test_merchants_of_other_companies_are_refused(self):
        company = self.env["res.company"].create({"name": "另一家公司"})
        merchant = self._create_merchant("外地商家", company_id=company.id)
        account = self._create_account(company_id=company.id)
        openid = self._make_openid()
        self._bind(merchant, openid, account)
        with self.assertRaises(AccessError):
            merchant.with_user(self.manager).action_wechat_unbind("x")
        self.assertBound(merchant, openid, account)

    def test_an_unbound_merchant_can_be_bound_again(self):
        self._bind()
        self.merchant.with_user(self.manager).action_wechat_unbind()
        code, openid = self._make_code(), self._make_openid()
        self._push_scan(code, openid)
        self.assertBound(self.merchant, openid)
        self.assertEqual(self.merchant.wechat_binding_ids.mapped("state"), ["bound", "unbound"])


class TestStoredState(WechatPushCase):
    """The stored fields that automations rely on can't be forged."""

    forged = ({"wechat_openid": "oForged"}, {"is_wechat_bound": True}, {"wechat_state": "bound"})

    def test_values_are_refused(self):
        for user in (self.user, self.manager, self.env.ref("base.user_admin"), self.env.user):
            partners = self.env["res.partner"].with_user(user)
            for values in self.forged:
                with self.subTest(user=user.login, values=values):
                    with self.assertRaises(AccessError):
                        partners.create({"name": "伪造", **values})
                    with self.assertRaises(AccessError):
                        self.merchant.with_user(user).write(values)
        self.assertNotBound(self.merchant)

    def test_defaults_of_the_context_are_ignored(self):
        for values in self.forged:
            with self.subTest(values=values):
                defaults = {f"default_{name}": value for name, value in values.items()}
                partners = self.env["res.partner"].with_user(self.manager).with_context(**defaults)
                self.assertNotBound(partners.create({"name": "伪造"}).sudo())

    def test_stored_defaults_are_ignored(self):
        self.env["ir.default"].set("res.partner", "is_wechat_bound", True)
        self.env["ir.default"].set("res.partner", "wechat_state", "bound")
        partner = self.env["res.partner"].with_user(self.user).create({"name": "伪造"})
        self.assertNotBound(partner.sudo())

    def test_imported_values_are_refused(self):
        for name in ("wechat_openid", "is_wechat_bound", "wechat_state"):
            with self.subTest(name=name):
                value = {"wechat_openid": "oForged", "is_wechat_bound": "True", "wechat_state": "bound"}[name]
                result = self.env["res.partner"].with_user(self.manager).load(["name", name], [["伪造", value]])
                self.assertFalse(result["ids"])
                self.assertTrue(result["messages"])
        self.assertFalse(self.env["res.partner"].search([("name", "=", "伪造")]))

    def test_a_copy_is_not_bound(self):
        self._bind()
        self.assertNotBound(self.merchant.copy())

    def test_bindings_can_not_be_created_through_the_merchant(self):
        openid = self._make_openid()
        values = {"account_id": self.account.id, "openid": openid}
        for user in (self.user, self.manager):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    self.merchant.with_user(user).write({"wechat_binding_ids": [(0, 0, values)]})
                with self.assertRaises(AccessError):
                    self.env["wechat.binding"].with_user(user).create({"partner_id": self.merchant.id, **values})
        self.assertNotBound(self.merchant)

    def test_only_managers_read_full_openids(self):
        self._bind(openid="oTest-1234567890-abcdefgh")
        with self.assertRaises(AccessError):
            self.merchant.with_user(self.user).read(["wechat_openid"])
        with self.assertRaises(AccessError):
            self.merchant.with_user(self.user).wechat_binding_ids.read(["openid"])
        self.assertEqual(self.merchant.with_user(self.user).wechat_openid_masked, "oTes…efgh")
        self.assertEqual(self.merchant.with_user(self.manager).wechat_openid, "oTest-1234567890-abcdefgh")
        self.assertTrue(self.merchant.with_user(self.employee).read(["is_wechat_bound", "wechat_state"]))
        self.assertNotIn("wechat_openid_masked", self.env["res.partner"].with_user(self.employee).fields_get())

    @mute_logger("odoo.sql_db")
    def test_merchants_and_openids_have_one_live_binding(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        with self.assertRaises(UniqueViolation), self.env.cr.savepoint():
            self._bind(self.merchant)
        with self.assertRaises(UniqueViolation), self.env.cr.savepoint():
            self._bind(self.other_merchant, openid)
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            self._bind(self.other_merchant, openid=" ").write({"openid": False})

    def test_bound_merchants_are_found(self):
        self._bind()
        merchants = self.merchant + self.other_merchant
        self.assertEqual(merchants.filtered_domain([("is_wechat_bound", "=", True)]), self.merchant)
        domain = [("id", "in", merchants.ids)]
        partners = self.env["res.partner"]
        self.assertEqual(partners.search([*domain, ("is_wechat_bound", "=", False)]), self.other_merchant)
        self.assertEqual(partners.search([*domain, ("wechat_state", "=", "bound")]), self.merchant)


class TestDeletion(WechatPushCase):
    def test_history_outlives_the_merchant(self):
        openid = self._make_openid()
        self._push_scan(self._make_code(), openid)
        binding, operations = self._get_live_binding(), self._get_operations()
        self.merchant.unlink()
        self.assertRecordValues(binding, [{"partner_id": False, "state": "unbound"}])
        self.assertTrue(binding.reason)
        self.assertEqual(set(operations.mapped("partner_name")), {"杭州西湖茶庄"})
        log = self.env["wechat.operation"].search([("partner_name", "=", "杭州西湖茶庄")], order="id")
        self.assertEqual(log.mapped("operation"), ["generate", "bind", "unbind"])
        self.assertEqual(log.partner_id.ids, [])

    def test_the_openid_of_a_deleted_merchant_can_be_bound(self):
        openid = self._make_openid()
        self._bind(openid=openid)
        self.merchant.unlink()
        code = self._make_code(self.other_merchant)
        self._push_scan(code, openid)
        self.assertBound(self.other_merchant, openid)

    def test_the_log_can_not_be_deleted(self):
        self._make_code()
        with self.assertRaises(UserError):
            self._get_operations().unlink()

    @mute_logger("odoo.sql_db")
    def test_an_account_with_bindings_can_not_be_deleted(self):
        self._bind()
        with self.assertRaisesRegex(UserError, "Archive it"):
            self.account.unlink()
        self.assertTrue(self.account.exists())
