"""Developer mode: Odoo validates registries and properties of components in it only."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.browser import CHINA, COLD_MS, chromium, log_in

PORTAL_LOGIN = "debugger@example.com"
# "assets" serves each file of a bundle by itself and in strict order; "tests" adds the tours to every page.
DEBUG_MODES = ("1", "assets,tests")


@contextmanager
def no_errors(page: Page) -> Iterator[None]:
    """Fail if the page logs an error or throws one meanwhile."""
    errors: list[str] = []

    def on_console(message) -> None:
        if message.type == "error":
            errors.append(message.text)

    def on_error(error) -> None:
        errors.append(str(error))

    page.on("console", on_console)
    page.on("pageerror", on_error)
    try:
        yield
    finally:
        page.remove_listener("console", on_console)
        page.remove_listener("pageerror", on_error)
        assert not errors, "\n".join(errors)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def portal_user(system) -> None:
    """A merchant with a page in the portal."""
    [group] = system.admin.find("ir.model.data", [("module", "=", "base"), ("name", "=", "group_portal")], ["res_id"])
    values = {"login": PORTAL_LOGIN, "password": PORTAL_LOGIN, "group_ids": [(6, 0, [group["res_id"]])]}
    system.admin.create("res.users", {**values, "partner_id": system.merchant("开发者模式测试店")})


@pytest.fixture(scope="module", params=["zh_CN", "en_US"])
def lang(system, portal_user, request) -> str:
    """The language of all users."""
    system.activate_language(request.param)
    users = system.admin.find("res.users", [("login", "in", ("admin", PORTAL_LOGIN))], ["lang"])
    system.admin.call("res.users", "write", [user["id"] for user in users], {"lang": request.param})
    yield request.param
    system.admin.call("res.users", "write", [user["id"] for user in users], {"lang": "zh_CN"})


@pytest.fixture(scope="module")
def admin_page(system, browser, lang) -> Page:
    """The web client of the administrator. Odoo asks for a user's language at the login."""
    return log_in(browser, system.url, "admin", "admin")


@pytest.fixture(scope="module")
def portal_page(system, browser, lang) -> Page:
    """The page of a portal user."""
    page = browser.new_context(base_url=system.url, **CHINA).new_page()
    page.set_default_timeout(COLD_MS)
    page.goto("/web/login?redirect=/my/wechat")
    page.fill("input[name=login]", PORTAL_LOGIN)
    page.fill("input[name=password]", PORTAL_LOGIN)
    page.click("form.oe_login_form button[type=submit]")
    expect(page.locator(".o_wechat_portal")).to_be_visible(timeout=COLD_MS)
    return page


@pytest.mark.parametrize("debug", DEBUG_MODES)
def test_backend_loads_in_developer_mode(system, admin_page, lang, debug):
    """The start page, a merchant's form and the dialog of its code appear, and no error is logged."""
    merchant = system.merchant("开发者模式测试商家")
    with no_errors(admin_page):
        admin_page.goto(f"/odoo/wechat?debug={debug}")
        expect(admin_page.locator(".o_wechat_overview ol, .o_wechat_tiles")).to_be_visible(timeout=COLD_MS)
        assert admin_page.evaluate("odoo.debug") == debug
        assert admin_page.evaluate("odoo.loader.modules.get('@web/core/user').user.lang") == lang.replace("_", "-")
        admin_page.goto(f"/odoo/action-wechat_merchant_bind.wechat_merchant_action/{merchant}?debug={debug}")
        admin_page.click(".o_form_view button[name=action_wechat_bind_code]")
        expect(admin_page.locator(".modal .o_wechat_bind_dialog [name=qr_image] img")).to_be_visible(timeout=COLD_MS)


def test_portal_loads_in_developer_mode(portal_page):
    """The merchant's own page appears with its script at work, and no error is logged."""
    with no_errors(portal_page):
        # The page asks for its state as soon as Odoo has started its script.
        with portal_page.expect_response(re.compile(r"/my/wechat/state$")):
            portal_page.goto("/my/wechat?debug=assets,tests")
        expect(portal_page.locator(".o_wechat_portal section")).to_be_visible()
        assert portal_page.evaluate("odoo.debug") == "assets,tests"


def test_unit_tests_load_in_developer_mode(system, browser):
    """The page of Odoo's unit tests loads those of the addon, and no error is logged."""
    page = log_in(browser, system.url, "admin", "admin")
    with no_errors(page):
        page.goto("/web/tests?debug=1&manual=true&filter=@wechat_merchant_bind")
        expect(page.locator("body")).to_contain_text("@wechat_merchant_bind", timeout=COLD_MS)
