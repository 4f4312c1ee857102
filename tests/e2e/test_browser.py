"""Two admins in Chromium follow a merchant's scan without reloading."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from support.browser import BUTTON, chromium, is_marked, log_in, open_dialog, read_code

LIVE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


def test_open_dialogs_turn_to_bound(system, colleague, browser):
    """Both admins, on different Odoo processes, see 已绑定 the moment the scan arrives."""
    merchant = "杭州龙井村茶农合作社"
    system.merchant(merchant)
    admin_page = log_in(browser, system.url, "admin", "admin")
    colleague_page = log_in(browser, system.servers[1].url, "colleague", "colleague")
    pages = {admin_page: open_dialog(admin_page, merchant), colleague_page: open_dialog(colleague_page, merchant)}
    codes = {read_code(page.locator(".modal [name=qr_image] img").screenshot()) for page in pages}
    assert len(codes) == 1, "two admins who press the button see the same code"
    result = system.sandbox.scan("龙井村-戚大叔", codes.pop())
    assert result["reply"] == f"您好！{merchant}，公众号绑定成功！今后将通过此公众号为您推送重要通知。"
    for page, status in pages.items():
        expect(status).to_have_text("已绑定", timeout=LIVE_MS)
        assert is_marked(page), "the page was loaded again"
        page.locator(".modal button.btn-close").click()
        row = page.locator("tr.o_data_row").filter(has_text=merchant)
        expect(row.locator("td[name=wechat_state]")).to_have_text("已绑定", timeout=LIVE_MS)
        expect(row.locator(BUTTON)).to_have_count(0)


def test_regenerated_code_replaces_the_former(system, browser):
    """重新生成 asks once and shows another code; the former one no longer binds."""
    merchant = "常州恐龙园纪念品店"
    partner = system.merchant(merchant)
    page = log_in(browser, system.url, "admin", "admin")
    open_dialog(page, merchant)
    picture = page.locator(".modal [name=qr_image] img")
    former = read_code(picture.screenshot())
    source = picture.get_attribute("src")
    page.locator(".modal button[name=action_regenerate]").click()
    page.locator(".modal").filter(has_text="重新生成").last.locator("footer button.btn-primary").last.click()
    expect(page.locator(".modal [name=qr_image] img")).not_to_have_attribute("src", source, timeout=LIVE_MS)
    present = read_code(page.locator(".modal [name=qr_image] img").screenshot())
    assert present != former
    assert "请" in system.sandbox.scan("捡到旧码的人", former)["reply"]
    assert system.state(partner) == "unbound"
    assert merchant in system.sandbox.scan("恐龙园-店长", present)["reply"]
    assert system.state(partner) == "bound"
