"""The browser of the tests, and a reader of QR codes in pictures."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import zxingcpp
from PIL import Image
from playwright.sync_api import Browser, Error, Locator, Page, Playwright, expect

CHROMIUM = "/usr/bin/chromium"
# Chromium's own requests would wait for a network that may be missing.
FLAGS = ["--disable-quic", "--disable-component-update", "--disable-sync", "--disable-background-networking"]
# Odoo compiles the assets of a fresh database when the first page asks for them.
COLD_MS = 120_000
PHONE = "iPhone 13"
BUTTON = "button[name=action_wechat_bind_code]"
# Odoo takes a user's time zone from the browser of the first login.
CHINA = {"locale": "zh-CN", "timezone_id": "Asia/Shanghai"}


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Start Debian's Chromium without a window."""
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    # Playwright's own 5 seconds are too short on a busy machine.
    expect.set_options(timeout=COLD_MS)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    try:
        yield browser
    finally:
        browser.close()


def log_in(browser: Browser, url: str, login: str, password: str) -> Page:
    """Log in by the form; return the page with the web client ready and access to the clipboard."""
    context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900}, **CHINA)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(COLD_MS)
    page = context.new_page()
    page.goto("/web/login")
    page.fill("input[name=login]", login)
    page.fill("input[name=password]", password)
    page.click("form.oe_login_form button[type=submit]")
    expect(page.locator(".o_main_navbar")).to_be_visible(timeout=COLD_MS)
    return page


def search_merchants(page: Page, name: str) -> None:
    """Open the merchants' list and search it for a name."""
    page.goto("/odoo/action-wechat_merchant_bind.wechat_merchant_action")
    expect(page.locator("tr.o_data_row").first).to_be_visible(timeout=COLD_MS)
    search = page.locator(".o_searchview_input")
    search.fill(name)
    # Into the field itself: after the first login the bot opens a chat, which takes the focus.
    search.press("Enter")


def open_dialog(page: Page, merchant: str) -> Locator:
    """Find a merchant in the list and press 生成绑定码; return the dialog's status."""
    search_merchants(page, merchant)
    page.locator("tr.o_data_row").filter(has_text=merchant).locator(BUTTON).click()
    status = page.locator(".modal .o_wechat_bind_dialog [name=state]")
    expect(status).to_have_text("等待扫码", timeout=COLD_MS)
    mark(page)
    return status


def phone_page(playwright: Playwright, browser: Browser, url: str) -> Page:
    """Open an address in WeChat's own browser on a Chinese phone."""
    device = playwright.devices[PHONE]
    wechat = {**device, "user_agent": f"{device['user_agent']} MicroMessenger/8.0.49"}
    page = browser.new_context(**wechat, **CHINA).new_page()
    page.goto(url)
    return page


def read_code(picture: bytes | Image.Image) -> str:
    """Return the text of the one QR code in a picture.

    :raise ValueError: none or several can be read
    """
    image = picture if isinstance(picture, Image.Image) else Image.open(io.BytesIO(picture))
    codes = zxingcpp.read_barcodes(image.convert("RGB"))
    if len(codes) != 1:
        raise ValueError(f"{len(codes)} codes in the picture")
    return codes[0].text


def mark(page: Page) -> None:
    """Mark the page. A reload removes the mark."""
    page.evaluate("window.notReloaded = true")


def is_marked(page: Page) -> bool:
    """Tell whether the page was not reloaded since mark()."""
    try:
        return bool(page.evaluate("window.notReloaded"))
    except Error:
        return False
