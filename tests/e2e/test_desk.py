"""The merchants' list and form in Chromium follow scans and keep unsaved input."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from support.browser import COLD_MS, chromium, is_marked, log_in, mark

LIVE_MS = 60_000
ACTION = "/odoo/action-wechat_merchant_bind.wechat_merchant_action"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(system, browser) -> Page:
    """The web client of an admin who works on the second process; the pushes arrive at either."""
    return log_in(browser, system.servers[1].url, "admin", "admin")


def open_list(page: Page, merchant: str) -> Locator:
    """Open the list of merchants; return the row of one."""
    page.goto(ACTION)
    row = page.locator("tr.o_data_row").filter(has_text=merchant)
    expect(row).to_be_visible(timeout=COLD_MS)
    return row


def bind(system, partner: int, user: str) -> None:
    """Let a phone scan a merchant's code without an open dialog."""
    assert system.sandbox.scan(user, system.code(partner)["qr_content"])["ok"]


def test_list_follows_scans(system, page):
    """The badge and the buttons of the row change by themselves, and back when the merchant is unbound."""
    merchant = "海宁皮革城"
    partner = system.merchant(merchant)
    row = open_list(page, merchant)
    expect(row.locator("td[name=wechat_state]")).to_have_text("未绑定")
    mark(page)
    bind(system, partner, "皮革城-老顾")
    expect(row.locator("td[name=wechat_state]")).to_have_text("已绑定", timeout=LIVE_MS)
    expect(row.locator("button[name=action_wechat_bind_code]")).to_have_count(0)
    system.sandbox.post("unfollow", user="皮革城-老顾")
    expect(row.locator("td[name=wechat_state]")).to_have_text("已取关", timeout=LIVE_MS)
    system.admin.call("res.partner", "action_wechat_unbind", [partner], "换号")
    expect(row.locator("td[name=wechat_state]")).to_have_text("未绑定", timeout=LIVE_MS)
    assert is_marked(page), "the page was loaded again"


def test_form_follows_scans_and_keeps_edits(system, page):
    """A form that is only looked at follows; one with unsaved edits keeps them, and shows the binding once saved."""
    merchant = "安吉白茶合作社"
    partner = system.merchant(merchant)
    open_list(page, merchant).locator("td[name=complete_name]").click()
    badge = page.locator(".o_form_view .o_field_widget[name=wechat_state]").first
    expect(badge).to_have_text("未绑定", timeout=COLD_MS)
    street = page.locator(".o_form_view [name=street] input").first
    street.fill("递铺街道 8 号")
    bind(system, partner, "安吉白茶-茅老板")
    # The toast tells that the news has arrived.
    expect(page.locator(".o_notification").filter(has_text=merchant)).to_be_visible(timeout=LIVE_MS)
    expect(badge).to_have_text("未绑定")
    expect(street).to_have_value("递铺街道 8 号")
    page.locator(".o_form_button_save").click()
    expect(badge).to_have_text("已绑定", timeout=LIVE_MS)
    system.admin.call("res.partner", "action_wechat_unbind", [partner], "换号")
    expect(badge).to_have_text("未绑定", timeout=LIVE_MS)
    expect(street).to_have_value("递铺街道 8 号")


def test_buttons_of_a_row_are_visible(system, page):
    """On a small laptop 生成绑定码 is visible without scrolling sideways."""
    merchant = "德清莫干山民宿"
    system.merchant(merchant)
    page.set_viewport_size({"width": 1280, "height": 900})
    row = open_list(page, merchant)
    expect(row.locator("button[name=action_wechat_bind_code]")).to_be_in_viewport(ratio=1)


def test_code_is_generated_by_keyboard(system, page):
    """The code of a merchant is made, and its dialog closed, by keys alone."""
    merchant = "临安山核桃铺"
    system.merchant(merchant)
    # Enter opens the row, as in any list of Odoo's.
    open_list(page, merchant).locator("button[name=action_wechat_bind_code]").focus()
    page.keyboard.press("Space")
    picture = page.locator(".modal [name=qr_image] img")
    expect(picture).to_be_visible(timeout=COLD_MS)
    assert picture.get_attribute("alt")
    page.keyboard.press("Escape")
    expect(page.locator(".modal")).to_have_count(0)
