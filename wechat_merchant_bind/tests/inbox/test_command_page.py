import re
import time
from html import unescape

from odoo.tools import mute_logger

from ...models.binding import wechat_page_mixin
from ...models.binding.wechat_bind_request import CODE_ATTEMPTS, REQUEST_ATTEMPTS
from ...models.inbox import dispatcher
from ..common_push import WechatPushCase

RIGHT, WRONG = "2368", "0000"
LINK = re.compile(r"https?://\S+(/wechat/(?:digits|unbind)/[A-Za-z0-9_-]+)")


class PageCase(WechatPushCase):
    def setUp(self):
        super().setUp()
        self.merchant.phone = "+86 138 5710 2368"
        self.openid = self._make_openid()

    def _find_link(self, answer):
        """Return the path of the page that a reply links to."""
        return LINK.search(answer.reply["Content"])[1]

    def _open(self, path):
        page = self.url_open(path)
        self.env.invalidate_all()
        return page

    def _press(self, path, **fields):
        token = re.search(r'name="csrf_token" value="([^"]+)"', self._open(path).text)[1]
        answer = self.url_open(path, data={"csrf_token": token, **fields})
        self.env.invalidate_all()
        return answer

    def assertPage(self, page, state, *texts, status=200):
        """Check the page's state and texts, and that it has a button only where it takes a command."""
        self.assertEqual(page.status_code, status)
        self.assertIn(f'data-state="{state}"', page.text)
        for text in texts:
            self.assertIn(text, unescape(page.text))
        self.assertEqual("<button" in page.text, state in ("digits", "unbind"))


class TestDigitsPage(PageCase):
    def setUp(self):
        super().setUp()
        self.account.bind_confirmation = "phone"
        self.code = self._make_code()
        self.path = self._scan()

    def _scan(self, openid=None, code=None, **kwargs):
        answer = self._push_scan(code or self.code, openid or self.openid, **kwargs)
        self.assertReply(answer, "4")
        return self._find_link(answer)

    def _get_request(self, openid=None):
        return self.env["wechat.bind.request"].search([("openid", "=", openid or self.openid)], limit=1)

    def test_the_reply_that_asks_for_digits_links_to_the_page(self):
        page = self._open(self.path)
        self.assertPage(page, "digits")
        self.assertNotIn("杭州", page.text, "The scanner may be the wrong person")
        self.assertNotBound(self.merchant)

    def test_the_right_digits_bind(self):
        self.assertPage(self._press(self.path, digits=RIGHT), "told", "绑定成功")
        self.assertBound(self.merchant, self.openid)
        self.assertEqual(self._get_request().state, "accepted")
        self.assertChatter(self.merchant, "entered the last 4 digits")
        self.assertPage(self._open(self.path), "told", "绑定成功")

    def test_wide_digits_bind(self):
        self._press(self.path, digits=" ２３６８ ")
        self.assertBound(self.merchant, self.openid)

    def test_wrong_digits_count_as_typed_ones_do(self):
        self.assertPage(self._press(self.path, digits=WRONG), "digits", "不正确")
        self.assertEqual(self._get_request().attempts, 1)
        self._push_text(self.openid, WRONG)
        for _i in range(REQUEST_ATTEMPTS - 2):
            page = self._press(self.path, digits=WRONG)
        self.assertEqual(self._get_request().state, "rejected")
        self.assertPage(page, "told", "次数过多")
        self.assertPage(self._open(self.path), "told")
        self.assertNotBound(self.merchant)

    def test_wrong_digits_of_several_people_revoke_the_code(self):
        while self.code.state == "active":
            path = self._scan(self._make_openid())
            for _i in range(REQUEST_ATTEMPTS):
                if 'data-state="digits"' in self._open(path).text:
                    self._press(path, digits=WRONG)
        attempts = self.env["wechat.bind.request"].search([("code_id", "=", self.code.id)]).mapped("attempts")
        self.assertEqual(sum(attempts), CODE_ATTEMPTS)

    def test_what_is_not_four_digits_is_not_counted(self):
        for digits in ("", "23", "23687", "abcd", "解绑", "\x00"):
            with self.subTest(digits=digits):
                self.assertPage(self._press(self.path, digits=digits), "digits")
        self.assertEqual(self._get_request().attempts, 0)
        self.assertNotBound(self.merchant)

    def test_the_link_of_an_earlier_code_takes_no_digits(self):
        self.other_merchant.phone = self.merchant.phone
        other = self._make_code(self.other_merchant)
        self._scan(code=other, create_time=int(time.time()) + 5)
        self.assertPage(self._open(self.path), "told")

    def test_a_code_that_was_revoked_meanwhile_is_told(self):
        token = re.search(r'name="csrf_token" value="([^"]+)"', self._open(self.path).text)[1]
        self.code._revoke("x")
        self.assertPage(self.url_open(self.path, data={"csrf_token": token, "digits": RIGHT}), "told", "已失效")
        self.assertNotBound(self.merchant)

    @mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.wechat_event")
    def test_a_failure_gives_the_provisional_reply(self):
        bindings = type(self.env["wechat.binding"])
        self.patch(bindings, "_create_from_scan", lambda *_args: 1 / 0)
        self.assertPage(self._press(self.path, digits=RIGHT), "digits", "几分钟内处理")
        self.assertEqual(self._get_events()[-1].state, "failed")

    def test_the_secret_is_hidden_from_readers(self):
        token = self.path.rpartition("/")[2]
        self.assertNotIn(token, "".join(self.merchant.message_ids.mapped("body")))
        self.assertNotIn(token, "".join(self._get_operations().mapped("note")))
        self.assertNotIn(token, self._get_events()[-1].reply_masked)
        address = f"https://example.com{self.path}"
        self.merchant.message_post(body=address)
        self.assertNotIn(token, self.merchant.message_ids.sorted("id")[-1:].body)

    @mute_logger("odoo.http")
    def test_posts_of_other_sites_are_refused(self):
        for data in ({"digits": RIGHT}, {"digits": RIGHT, "csrf_token": "x"}):
            self.assertEqual(self.url_open(self.path, data=data).status_code, 400)
        self.assertNotBound(self.merchant)

    def test_forged_and_expired_links_are_unknown(self):
        token = self.path.rpartition("/")[2]
        self.patch(wechat_page_mixin, "PAGE_HOURS", -1)
        expired = self._get_request()._get_page_url().rpartition("/")[2]
        forged = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
        for wrong in ("x", token[:-2], forged, f"B{token[1:]}", "%00", "%ED", expired):
            with self.subTest(wrong=wrong):
                self.assertPage(self._open(f"/wechat/digits/{wrong}"), "unknown", status=404)
        self.assertPage(self._open(self.path.replace("digits", "unbind")), "unknown", status=404)

    def test_headers_forbid_storing_and_embedding(self):
        headers = self._open(self.path).headers
        self.assertIn("no-store", headers["Cache-Control"])
        self.assertIn("form-action 'self'", headers["Content-Security-Policy"])
        self.assertEqual(headers["Referrer-Policy"], "no-referrer")


class TestUnbindPage(PageCase):
    def setUp(self):
        super().setUp()
        self.binding = self._bind(openid=self.openid)

    def _click(self, key="解绑", openid=None, create_time=None):
        return self._push_event("CLICK", openid or self.openid, create_time or int(time.time()), EventKey=key)

    def test_a_menu_button_links_to_the_page(self):
        path = self._find_link(self._click())
        self.assertPage(self._open(path), "unbind", "杭州西**庄", self.binding.openid_masked)
        self.assertBound(self.merchant, self.openid)

    def test_the_page_unbinds(self):
        path = self._find_link(self._click())
        self.assertPage(self._press(path), "told", "已解除绑定")
        self.assertNotBound(self.merchant)
        self.assertOperations(self.merchant, ["unbind"])
        self.assertNotIn("解绑", self.binding.reason, "Nothing was typed")
        self.assertPage(self._open(path), "told", "已解除绑定")

    def test_the_link_does_not_unbind_a_later_binding(self):
        path = self._find_link(self._click())
        token = re.search(r'name="csrf_token" value="([^"]+)"', self._open(path).text)[1]
        self.binding._unbind("x")
        self._bind(openid=self.openid)
        self.url_open(path, data={"csrf_token": token})
        self.assertBound(self.merchant, self.openid)

    def test_an_unbound_person_gets_an_explanation(self):
        self.assertReply(self._click(openid=self._make_openid()), "未绑定任何商家")
        self.binding._unbind("x")
        self.assertReply(self._click(create_time=int(time.time()) + 1), "未绑定任何商家")

    def test_other_buttons_are_ignored(self):
        self.assertSilent(self._click("帮助"))
        self.assertEqual(self._get_events()[-1].state, "ignored")

    def test_a_slow_page_is_answered_provisionally_and_told(self):
        path = self._find_link(self._click())
        self.patch(dispatcher, "process_event", lambda *_args: (_ for _ in ()).throw(dispatcher.PoolError("full")))
        with mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.dispatcher"):
            self.assertPage(self._press(path), "unbind", "几分钟内处理")
        self.assertEqual(self._get_events()[-1].state, "received")
