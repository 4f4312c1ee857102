"""The public page of a code, as a merchant sees it on a phone, in WeChat and at a desk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.browser import CHINA, chromium, read_code

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
SCREENS = {
    "wechat": {"viewport": {"width": 390, "height": 844}, "user_agent": f"{IPHONE} MicroMessenger/8.0.49"},
    "phone": {"viewport": {"width": 390, "height": 844}, "user_agent": f"{IPHONE} Safari/604.1"},
    "desktop": {"viewport": {"width": 1366, "height": 768}},
}
WORDS = {
    ("wechat", "zh_CN"): "长按识别二维码",
    ("wechat", "en_US"): "Press and hold",
    ("phone", "zh_CN"): "保存图片",
    ("phone", "en_US"): "Save the Picture",
    ("desktop", "zh_CN"): "请用手机微信扫描二维码",
    ("desktop", "en_US"): "Scan the code with WeChat",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


def keep_picture(page: Page, name: str) -> None:
    """Save a picture of the page for inspection (WECHAT_TEST_PICTURES=<folder>)."""
    if folder := os.environ.get("WECHAT_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"share-{name}.png", full_page=True)


@pytest.mark.parametrize("lang", ["zh_CN", "en_US"])
def test_share_page_fits_every_screen(system, browser, lang):
    """The code can be scanned and the words suit the device; nothing is wider than the screen."""
    system.activate_language(lang)
    partner = system.admin.create("res.partner", {"name": "杭州西湖龙井茶叶专营店", "is_company": True, "lang": lang})
    code = system.code(partner)
    for device, options in SCREENS.items():
        page = browser.new_context(**CHINA, **options).new_page()
        page.goto(code["share_url"])
        picture = page.locator("img.code")
        expect(picture).to_be_in_viewport(ratio=1)
        expect(page.locator("main")).to_contain_text(WORDS[device, lang])
        expect(page.locator(".issuer .company")).not_to_be_empty()
        assert read_code(picture.screenshot()) == code["qr_content"]
        is_within = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert is_within, f"the page is wider than the screen: {device}"
        keep_picture(page, f"{device}-{lang}")
        page.context.close()
