"""Confirmation of scans against wrong scanners, with phones, an admin in Chromium and a merchant's mailbox."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from playwright.sync_api import Browser, expect, sync_playwright
from support.browser import chromium, log_in, phone_page, search_merchants
from support.odoo import OdooError, wait_for

LIVE_MS = 60_000
MAIL = ["email_to", "body_html"]
RIVALS = 8


@pytest.fixture
def confirmation(system) -> Iterator:
    """Ask for a confirmation of scans, as long as the test runs."""

    def ask(method: str) -> None:
        [account] = system.admin.find("wechat.account", [("app_id", "=", system.channel.app_id)], ["id"])
        system.admin.call("wechat.account", "write", [account["id"]], {"bind_confirmation": method})

    yield ask
    ask("none")


@pytest.fixture(scope="module")
def playwright() -> Iterator:
    """Playwright."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright) -> Iterator[Browser]:
    """Chromium."""
    with chromium(playwright) as browser:
        yield browser


def requests_of(system, partner: int) -> list[str]:
    """Return the states of a merchant's requests, oldest first."""
    domain = [("partner_id", "=", partner)]
    found = system.admin.find("wechat.bind.request", domain, ["state"], order="id")
    return [request["state"] for request in found]


def say(system, user: str, text: str) -> str | None:
    """Let a phone write to the account; return the answer."""
    return system.sandbox.post("say", user=user, text=text)["reply"]


def test_digits_in_the_chat_confirm_a_scan(system, confirmation):
    """A wrong scanner's guesses fail; the merchant types the digits, is bound, and unbinds itself by a command."""
    confirmation("phone")
    partner = system.merchant("武夷山大红袍茶行")
    system.admin.call("res.partner", "write", [partner], {"phone": "+86 138 5710 2368"})
    content = system.code(partner)["qr_content"]
    assert "后 4 位" in system.sandbox.scan("捡到码的人", content)["reply"]
    assert "2 次" in say(system, "捡到码的人", "1234")
    assert "1 次" in say(system, "捡到码的人", "2345")
    assert "已关闭" in say(system, "捡到码的人", "3456")
    assert "未通过" in system.sandbox.scan("捡到码的人", content)["reply"]
    assert system.state(partner) == "unbound"
    assert "后 4 位" in system.sandbox.scan("大红袍-邱老板", content)["reply"]
    assert "武夷山大红袍茶行，公众号绑定成功" in say(system, "大红袍-邱老板", " ２３６８ ")
    assert system.state(partner) == "bound"
    assert requests_of(system, partner) == ["rejected", "accepted"]
    assert "已解除绑定" in say(system, "大红袍-邱老板", "解绑")
    assert system.state(partner) == "unbound"


def test_one_of_many_is_confirmed(system, confirmation):
    """All requests of one merchant are accepted at once at two Odoo processes: exactly one scanner is bound."""
    confirmation("approval")
    partner = system.merchant("都江堰二王庙茶社")
    content = system.code(partner)["qr_content"]
    for number in range(RIVALS):
        system.sandbox.scan(f"二王庙-{number}", content)
    found = system.admin.find("wechat.bind.request", [("partner_id", "=", partner)], ["id"])
    clients = [system.admin.at(server.url) for server in system.servers]
    barrier = threading.Barrier(RIVALS)

    def accept(index: int) -> bool:
        barrier.wait()
        try:
            clients[index % 2].call("wechat.bind.request", "action_accept", [found[index]["id"]])
        except OdooError as error:
            assert error.name.endswith("UserError"), error
            return False
        return True

    with ThreadPoolExecutor(RIVALS) as pool:
        accepted = list(pool.map(accept, range(RIVALS)))
    assert sum(accepted) == 1
    assert len(system.bindings(partner)) == 1
    assert sorted(requests_of(system, partner)) == ["accepted", *["rejected"] * (RIVALS - 1)]
    assert len(system.operations(partner, "bind")) == 1


def test_approval_and_undo_in_the_browser(system, confirmation, browser: Browser):
    """The admin is told by toasts, approves in the open dialog, and undoes the binding from the toast."""
    confirmation("approval")
    merchant = "泉州木偶戏坊"
    partner = system.merchant(merchant)
    page = log_in(browser, system.url, "admin", "admin")
    search_merchants(page, merchant)
    row = page.locator("tr.o_data_row").filter(has_text=merchant)
    row.locator("button[name=action_wechat_bind_code]").click()
    dialog = page.locator(".modal:has(.o_wechat_bind_dialog)")
    expect(dialog.locator("[name=state]").first).to_have_text("等待扫码", timeout=LIVE_MS)
    assert "我们确认后" in system.sandbox.scan("木偶戏-黄师傅", system.code(partner)["qr_content"])["reply"]
    toast = page.locator(".o_notification").filter(has_text=merchant)
    expect(toast).to_contain_text("待确认", timeout=LIVE_MS)
    accept = dialog.locator("button[name=action_accept]")
    expect(accept).to_have_text("通过", timeout=LIVE_MS)
    assert system.state(partner) == "unbound"
    accept.click()
    page.locator(".modal").last.locator("footer .btn-primary").click()
    expect(dialog.locator("[name=state]").first).to_have_text("已绑定", timeout=LIVE_MS)
    assert system.state(partner) == "bound"
    # There is also the toast of another merchant that was bound just before.
    bound = page.locator(".o_notification").filter(has_text=merchant).filter(has_text="已绑定微信")
    bound.get_by_role("button", name="撤销绑定").click(timeout=LIVE_MS)
    page.locator(".modal").last.locator("footer .btn-danger").click()
    expect(page.locator(".o_notification").filter(has_text="已不再绑定微信")).to_be_visible(timeout=LIVE_MS)
    assert system.state(partner) == "unbound"


def test_merchant_undoes_by_the_mail(system, browser: Browser, playwright):
    """The push queues the mail; opening its link does nothing, pressing the button undoes the binding."""
    partner = system.merchant("婺源油菜花民宿")
    system.admin.call("res.partner", "write", [partner], {"email": "wuyuan@example.com"})
    system.sandbox.scan("拿错手机的人", system.code(partner)["qr_content"])
    assert system.state(partner) == "bound"
    [mail] = wait_for(
        lambda: system.admin.find("mail.mail", [("email_to", "=", "wuyuan@example.com")], MAIL), "the mail is made"
    )
    link = mail["body_html"].split("/wechat/undo/")[1].split('"')[0]
    url = f"{system.url}/wechat/undo/{link}"
    assert requests.get(url, timeout=30).ok
    assert system.state(partner) == "bound"
    page = phone_page(playwright, browser, url)
    page.get_by_role("button", name="撤销绑定").click()
    expect(page.get_by_text("绑定已撤销")).to_be_visible()
    assert system.state(partner) == "unbound"
