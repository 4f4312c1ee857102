"""A merchant's name with a script is escaped on all pages of admins and merchants."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support import pushes
from support.browser import COLD_MS, chromium, log_in, open_dialog
from support.system import System

LIVE_MS = 60_000
# Each script would leave a trace on the page.
SCRIPTS = (
    "<script>window.wasRun=1</script>",
    "<img src=x onerror=window.wasRun=1>",
    "<svg/onload=window.wasRun=1>",
    "\"'><input autofocus onfocus=window.wasRun=1>",
    "{{constructor.constructor('window.wasRun=1')()}}",
)
NAME = "恶意 " + "".join(SCRIPTS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(system: System, browser: Browser) -> Iterator[Page]:
    """The admin's browser."""
    page = log_in(browser, system.url, "admin", "admin")
    yield page
    page.context.close()


def assert_nothing_ran(page: Page) -> None:
    """Check that no script has run or become an element of the page."""
    page.wait_for_timeout(0)
    assert page.evaluate("window.wasRun") is None
    handlers = "[onload*=wasRun], [onerror*=wasRun], [onfocus*=wasRun]"
    assert page.locator(f"img[src='x'], {handlers}").count() == 0


def test_name_is_escaped_in_dialog_list_and_toast(system, page):
    """The dialog that waits, its turn to 已绑定, and the toast that tells of it."""
    system.merchant(NAME)
    page.goto("/odoo/action-wechat_merchant_bind.wechat_merchant_action")
    open_dialog(page, "恶意")
    expect(page.locator(".modal")).to_contain_text(SCRIPTS[0])
    assert_nothing_ran(page)
    [partner] = system.admin.find("res.partner", [("name", "=", NAME)], ["id"])
    scene = system.code(partner["id"])["scene_str"]
    answer = pushes.scan(system.channel, pushes.new_openid(), scene).send(system.channel)
    assert NAME in answer.text
    expect(page.locator(".modal .o_wechat_bind_dialog [name=state]")).to_have_text("已绑定", timeout=LIVE_MS)
    expect(page.locator(".o_notification").filter(has_text=SCRIPTS[1])).to_be_visible(timeout=LIVE_MS)
    assert_nothing_ran(page)


def test_name_is_escaped_in_form_and_chatter(system, page):
    """The merchant's form with its tab, and a chatter in which the name and a hostile reason stand."""
    [partner] = system.admin.find("res.partner", [("name", "=", NAME)], ["id"])
    system.admin.call("res.partner", "action_wechat_unbind", [partner["id"]], NAME)
    page.goto(f"/odoo/res.partner/{partner['id']}")
    expect(page.locator(".o-mail-Message").filter(has_text=SCRIPTS[2]).first).to_be_visible(timeout=COLD_MS)
    assert_nothing_ran(page)


def test_name_is_escaped_in_composer_and_card(system, page):
    """The preview of a notice in the composer, and the notice in the chatter."""
    [partner] = system.admin.find("res.partner", [("name", "=", NAME)], ["id"])
    scene = system.code(partner["id"])["scene_str"]
    pushes.scan(system.channel, pushes.new_openid(), scene, int(time.time()) + 1).send(system.channel)
    [model] = system.admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
    template = system.admin.create(
        "wechat.template",
        {
            "name": "恶意通知",
            "title": SCRIPTS[0],
            "account_id": system.account_id,
            "template_uid": "hostile-template",
            "model_id": model["id"],
            "line_ids": [(0, 0, {"key": "anything", "label": SCRIPTS[1], "value": "{{ object.name }}"})],
        },
    )
    composer = system.admin.create(
        "wechat.composer",
        {"template_id": template, "res_model": "res.partner", "res_ids": f"[{partner['id']}]"},
    )
    page.goto(f"/odoo/wechat.composer/{composer}")
    expect(page.locator(".o_wechat_card_title")).to_have_text(SCRIPTS[0], timeout=COLD_MS)
    expect(page.locator(".o_wechat_card_label")).to_have_text(SCRIPTS[1])
    # Phones show 20 characters of a keyword without a type.
    expect(page.locator(".o_wechat_card_value")).to_contain_text(NAME[:18])
    assert_nothing_ran(page)
    system.admin.call("wechat.composer", "action_send", [composer])
    page.goto(f"/odoo/res.partner/{partner['id']}")
    expect(page.locator(".o-mail-Message").filter(has_text=SCRIPTS[0]).first).to_be_visible(timeout=COLD_MS)
    assert_nothing_ran(page)


def test_name_is_escaped_on_the_share_page(system, browser):
    """The share page shows half of a name; here that half is a script."""
    for script in SCRIPTS:
        code = system.code(system.merchant(script + "　" * len(script)))
        page = browser.new_context(locale="zh-CN").new_page()
        page.goto(code["share_url"].replace(code["share_url"].split("/wechat/")[0], system.url))
        expect(page.locator("img.code")).to_be_visible()
        expect(page.locator("h1")).to_contain_text(script[: len(script) // 2])
        assert_nothing_ran(page)
        page.context.close()
