"""Confirming an order sends a card to the merchant's phone, and the chatter shows its delivery."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from support.browser import COLD_MS, chromium, is_marked, log_in, mark
from support.database import Database
from support.odoo import OdooServer, wait_for
from support.sandbox import Sandbox
from support.system import LOGS, System, connect, running_sandbox

# From the queue to WeChat, and by the receipt and the bus back to the page.
LIVE_MS = 60_000
VALUES = {
    "订单号": "{{ object.name }}",
    "金额": "{{ object.amount_total }}",
    "商家": "{{ object.partner_id.name }}",
    "下单时间": "{{ object.date_order }}",
    "订单状态": "已确认",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def shop() -> Iterator[System]:
    """A system that sells."""
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    database = Database.copied(f"wechat_test_run_{template.split('_')[2]}_shop_{os.getpid()}", template)
    try:
        # Without demo data and bridge modules, which takes a third of the time.
        database.execute("UPDATE ir_module_module SET demo = FALSE")
        database.run_odoo(LOGS / "shop-install.log", "-i", "sale_management", "--skip-auto-install")
        with running_sandbox(LOGS / "shop-sandbox.log") as sandbox:
            server = OdooServer(database.name, LOGS / "shop-odoo.log", cron_threads=2)
            try:
                server.wait()
                system = connect(database, [server], sandbox)
                create_rule(system)
                yield system
            finally:
                server.stop()
    finally:
        database.drop()


def create_rule(system: System) -> None:
    """Create a rule that notifies the merchant of a confirmed order."""
    admin = system.admin
    admin.call("wechat.account", "action_sync_templates", [system.account_id])
    [template] = admin.find("wechat.template", [("title", "=", "新订单通知")], ["line_ids"])
    [model] = admin.find("ir.model", [("model", "=", "sale.order")], ["id"])
    [state] = admin.find("ir.model.fields", [("model", "=", "sale.order"), ("name", "=", "state")], ["id"])
    admin.call("wechat.template", "write", [template["id"]], {"model_id": model["id"]})
    for line in admin.read("wechat.template.line", template["line_ids"], ["label"]):
        admin.call("wechat.template.line", "write", [line["id"]], {"value": VALUES[line["label"]]})
    action = {
        "name": "发送微信通知",
        "model_id": model["id"],
        "usage": "base_automation",
        "state": "wechat",
        "wechat_template_id": template["id"],
    }
    admin.create(
        "base.automation",
        {
            "name": "新订单微信通知",
            "model_id": model["id"],
            "trigger": "on_create_or_write",
            "trigger_field_ids": [(6, 0, [state["id"]])],
            "filter_pre_domain": "[('state', '!=', 'sale')]",
            "filter_domain": "[('state', '=', 'sale')]",
            "action_server_ids": [(0, 0, action)],
        },
    )


def create_quotation(system: System, partner_id: int) -> int:
    """Create a quotation of one product for a merchant."""
    product = system.admin.create("product.product", {"name": "明前龙井", "type": "consu", "list_price": 100.2})
    line = (0, 0, {"product_id": product, "product_uom_qty": 2, "tax_ids": [(5,)]})
    return system.admin.create("sale.order", {"partner_id": partner_id, "order_line": [line]})


def confirm(page: Page, order_id: int) -> Locator:
    """Confirm a quotation in its form; return what the chatter shows of the notice."""
    page.goto(f"/odoo/sales/{order_id}")
    mark(page)
    page.locator(".o_statusbar_buttons button[name=action_confirm]:visible").first.click()
    message = page.locator(".o-mail-Message").filter(has_text="新订单通知")
    expect(message).to_be_visible(timeout=COLD_MS)
    return message.locator(".o-mail-Message-notification")


def get_cards(sandbox: Sandbox, user: str) -> list[dict]:
    """Return the cards that a phone shows."""
    return [message for message in sandbox.get("messages", user=user)["messages"] if message["type"] == "template"]


def test_confirmed_order_is_notified(shop: System, browser: Browser) -> None:
    """From the click to the card, and from the receipt back to the chatter, without a reload."""
    merchant = shop.merchant("杭州西湖茶庄")
    shop.sandbox.scan("陈老板", shop.code(merchant)["qr_content"])
    order_id = create_quotation(shop, merchant)
    page = log_in(browser, shop.url, "admin", "admin")
    notification = confirm(page, order_id)
    expect(notification).to_have_text("已送达", timeout=LIVE_MS)
    expect(notification.locator("i.fa-weixin")).to_be_visible()
    assert is_marked(page)
    [card] = get_cards(shop.sandbox, "陈老板")
    [order] = shop.admin.read("sale.order", [order_id], ["name"])
    shown = str(card)
    for text in ("新订单通知", order["name"], "200.4", "杭州西湖茶庄"):
        assert text in shown
    page.context.close()


def test_failed_notice_is_explained_and_sent_again(shop: System, browser: Browser) -> None:
    """A merchant that is not bound: the popover says why; once it is bound, 重发 sends; 忽略 clears the menu."""
    merchants = [shop.merchant(name) for name in ("绍兴黄酒行", "苏州评弹馆")]
    page = log_in(browser, shop.url, "admin", "admin")
    orders = [create_quotation(shop, merchant) for merchant in merchants]
    notification = confirm(page, orders[0])
    expect(notification).to_have_text("发送失败")
    popover = page.locator(".o-mail-MessageNotificationPopover")
    notification.click()
    expect(popover).to_contain_text("绍兴黄酒行尚未绑定微信")
    # Meaning and remedy are separate lines.
    expect(popover.locator(".o_wechat_notification_reason")).to_have_css("white-space", "pre-line")
    shop.sandbox.scan("孔先生", shop.code(merchants[0])["qr_content"])
    popover.get_by_role("button", name="重发").click()
    expect(notification).to_have_text("已送达", timeout=LIVE_MS)
    assert is_marked(page)
    wait_for(lambda: len(get_cards(shop.sandbox, "孔先生")) == 1, "the card that was sent again")
    notification = confirm(page, orders[1])
    expect(notification).to_have_text("发送失败")
    page.locator(".o_menu_systray i[aria-label='消息']").click()
    failure = page.locator(".o-mail-NotificationItem").filter(has_text="微信消息失败")
    expect(failure).to_be_visible()
    page.keyboard.press("Escape")
    notification.click()
    popover.get_by_role("button", name="忽略").click()
    expect(notification).to_have_text("已取消")
    page.context.close()
