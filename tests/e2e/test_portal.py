"""A merchant's own page in the portal, on a phone: from the first code to the unbinding."""

import json

from playwright.sync_api import expect, sync_playwright
from support.browser import CHINA, COLD_MS, PHONE, chromium, read_code

LIVE_MS = 60_000
LOGIN = "tongli@example.com"


def create_portal_merchant(system, name: str) -> int:
    """Create a merchant with a portal login, with the login as password; return its id."""
    merchant = system.merchant(name)
    [group] = system.admin.find("ir.model.data", [("module", "=", "base"), ("name", "=", "group_portal")], ["res_id"])
    user = {"login": LOGIN, "password": LOGIN, "partner_id": merchant, "group_ids": [(6, 0, [group["res_id"]])]}
    system.admin.create("res.users", user)
    return merchant


def test_merchant_binds_and_unbinds_itself(system):
    """The page shows the code, turns to 已绑定 by itself at the scan, and unbinds after one question."""
    merchant = create_portal_merchant(system, "同里退思园糕团店")
    with sync_playwright() as playwright, chromium(playwright) as browser:
        page = browser.new_context(base_url=system.url, **playwright.devices[PHONE], **CHINA).new_page()
        page.set_default_timeout(COLD_MS)
        page.goto("/web/login?redirect=/my/wechat")
        page.fill("input[name=login]", LOGIN)
        page.fill("input[name=password]", LOGIN)
        page.click("form.oe_login_form button[type=submit]")
        page.click("section[data-state=unbound] button:has-text('生成绑定码')")
        image = page.locator("section[data-state=waiting] img.o_wechat_portal_code")
        expect(image).to_be_visible()
        is_within = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert is_within, "the page is wider than the phone"
        result = system.sandbox.scan("退思园-小任", read_code(image.screenshot()))
        assert "绑定成功" in result["reply"], json.dumps(result, ensure_ascii=False)
        expect(page.locator("section[data-state=bound]")).to_contain_text("已绑定", timeout=LIVE_MS)
        assert system.state(merchant) == "bound"
        page.click("section[data-state=bound] button:has-text('解除绑定')")
        page.click(".modal.show button[type=submit]")
        expect(page.locator("section[data-state=unbound]")).to_be_visible()
        assert (system.state(merchant), system.bindings(merchant)) == ("unbound", [])
    [unbind] = system.operations(merchant, "unbind")
    assert "商家在门户中自行解除绑定" in unbind["note"]
