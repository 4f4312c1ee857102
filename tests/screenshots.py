"""Remakes every picture of the README against a running demo.

`./setup/demo --fresh --detach && ./setup/run python tests/screenshots.py` does it; .run/demo.json says where the demo
is. One merchant is bound on the way, by a real scan in the sandbox. Chromium and the test tools come with ./setup/test.
"""

import io
import json
from pathlib import Path

import pypdfium2
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from support.browser import CHINA, COLD_MS, chromium, log_in, read_code
from support.odoo import WebClient
from support.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".run" / "demo.json"
IMAGES = ROOT / "docs" / "images"
DESKTOP = {"width": 1280, "height": 800}
# Tall enough to show what is below the fold of a desktop, and wide enough to show a merchant's chatter beside its form.
TALL, WIDE = {"width": 1280, "height": 1102}, {"width": 1600, "height": 1200}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
# Odoo's and the sandbox's pages listen for news all the time, so their network is never idle.
LOADED = """async () => {
    await Promise.allSettled([...document.images].map((image) => image.decode()));
    await document.fonts.ready;
}"""
# In which a growing graph has changed to be seen.
GRAPH_MS = 200
COLOURS = 255
MAX_BYTES = 200_000
# setup/demo_data.py has this merchant bound, so this phone is refused.
BOUND_ELSEWHERE = "西湖茶庄-陈老板"
# The merchants of the bulk generation in the picture.
CITIES = ("常州", "镇江", "嘉兴", "湖州", "台州", "衢州", "丽水", "舟山", "金华", "泰州", "盐城", "徐州")
SHOPS = ("茶庄", "书店", "糕团店", "米行", "酱园", "布庄", "花木场", "渔具行")
# So slow that a picture of the progress is not late; it is taken when so many are done.
GENERATION, LATENCY_MS, DONE = "/cgi-bin/qrcode/create", 1500, 40
# And this portal user has a code.
PORTAL_LOGIN, PORTAL_PASSWORD = "xihu-tea@example.com", "merchant"
POSTER_WIDTH = 600
# The demo's templates and automation rule.
NOTICE, STATEMENT, RULE = "新订单通知", "对账单提醒", "新订单微信通知"


def save(name: str, picture: bytes) -> None:
    """Write a picture with a palette, a third of the size that a browser makes it.

    :raise ValueError: it is larger than a README should carry
    """
    target = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
    if len(target.getvalue()) > MAX_BYTES:
        raise ValueError(f"{name} has {len(target.getvalue())} bytes")
    (IMAGES / f"{name}.png").write_bytes(target.getvalue())


class Photographer:
    """Plays the story of one merchant in the desktop's and the phone's browser, and takes pictures of it."""

    def __init__(self, browser: Browser, demo: dict):
        self.browser = browser
        self.demo = demo
        self.sandbox = Sandbox(demo["sandbox_url"])
        self.client = WebClient(demo["url"], demo["database"], demo["login"], demo["password"])
        self.page = log_in(browser, demo["url"], demo["login"], demo["password"])

    @property
    def dialog(self) -> Locator:
        return self.page.locator(".modal-content")

    def open_action(self, name: str, ready: str) -> None:
        """Open one of the addon's windows by its external id, and wait for what must be seen in it."""
        self.page.set_viewport_size(DESKTOP)
        self.page.goto(f"/odoo/action-wechat_merchant_bind.{name}")
        expect(self.page.locator(ready).first).to_be_visible()

    def shoot(self, name: str, page: Page | None = None) -> None:
        """Take a picture of what the page shows, without a pointer over anything."""
        page = page or self.page
        page.mouse.move(0, 0)
        page.evaluate(LOADED)
        save(name, page.screenshot(animations="disabled", caret="hide"))

    def overview(self) -> None:
        self.open_action("wechat_overview_action", ".o_wechat_overview canvas")
        self.page.set_viewport_size(TALL)
        self.wait_for_graphs()
        self.shoot("overview")

    def wait_for_graphs(self) -> None:
        """Return when the bars have grown to their height: nothing moves any more."""
        before = None
        while before != (now := self.page.screenshot()):
            before = now
            self.page.wait_for_timeout(GRAPH_MS)

    def merchants(self) -> None:
        self.open_action("wechat_merchant_action", "tr.o_data_row")
        self.shoot("merchants")

    def batch(self) -> None:
        """A bulk generation that goes on."""
        values = [{"name": f"{city}{shop}", "is_company": True} for city in CITIES for shop in SHOPS]
        merchants = self.client.call("res.partner", "create", values)
        self.sandbox.post("faults", path=GENERATION, latency_ms=LATENCY_MS, times=None)
        action = self.client.call("res.partner", "action_wechat_bind_code", merchants)
        self.page.set_viewport_size(DESKTOP)
        self.page.goto(f"/odoo/action-wechat_merchant_bind.wechat_bind_batch_action/{action['res_id']}")
        expect(self.page.locator("[name=line_ids] tr.o_data_row").first).to_be_visible()
        self.page.wait_for_function(
            f"parseInt(document.querySelector('.o_wechat_progress .o_progress').ariaValueNow) >= {DONE}"
        )
        self.shoot("batch")
        self.sandbox.post("faults/release", path=GENERATION)

    def sending(self) -> None:
        """The mail of a code, and its poster."""
        self.open_action("wechat_merchant_action", "tr.o_data_row")
        self.page.locator("button[name=action_wechat_bind_code]:visible").last.click()
        expect(self.dialog.locator("[name=qr_image] img")).to_be_visible()
        with self.page.expect_download() as download:
            self.dialog.locator("button[name=action_print_poster]").click()
        [page] = pypdfium2.PdfDocument(download.value.path())
        poster = io.BytesIO()
        page.render(scale=POSTER_WIDTH / page.get_width()).to_pil().save(poster, "PNG")
        save("poster", poster.getvalue())
        self.dialog.locator("button[name=action_send]").click()
        expect(self.page.locator(".odoo-editor-editable img")).to_be_visible()
        self.page.set_viewport_size(TALL)
        self.shoot("email")
        self.page.set_viewport_size(DESKTOP)

    def requests(self) -> None:
        """A scan that waits for an approval."""
        client = self.client
        accounts = [account["id"] for account in client.find("wechat.account", [], ["name"])]
        client.call("wechat.account", "write", accounts, {"bind_confirmation": "approval"})
        codes = client.find("wechat.bind.code", [("state", "=", "active")], ["qr_content"], limit=2)
        for number, code in enumerate(codes, 1):
            self.sandbox.scan(f"路过的人 {number}", code["qr_content"])
        client.call("wechat.account", "write", accounts, {"bind_confirmation": "none"})
        self.open_action("wechat_bind_request_action", "tr.o_data_row")
        self.wait_for_silence()
        self.shoot("requests")

    def portal(self) -> None:
        """The page of a merchant's portal user, on a phone."""
        page = self.browser.new_context(base_url=self.demo["url"], **PHONE, **CHINA).new_page()
        page.goto("/web/login?redirect=/my/wechat")
        page.fill("input[name=login]", PORTAL_LOGIN)
        page.fill("input[name=password]", PORTAL_PASSWORD)
        page.click("form.oe_login_form button[type=submit]")
        expect(page.get_by_text("已绑定").first).to_be_visible()
        self.shoot("portal", page)

    def wait_for_silence(self) -> None:
        """Return when no toast is shown any more."""
        expect(self.page.locator(".o_notification")).to_have_count(0)

    def binding(self) -> None:
        """The dialog and the share page, before and after the scan."""
        button = self.page.locator("button[name=action_wechat_bind_code]:visible")
        unbound = self.page.locator("tr.o_data_row", has=button).first
        merchant = unbound.locator("td[name=complete_name]").inner_text().strip()
        row = self.page.locator("tr.o_data_row", has_text=merchant)
        row.locator("button[name=action_wechat_bind_code]").click()
        image = self.dialog.locator("[name=qr_image] img")
        expect(image).to_be_visible()
        self.shoot("dialog-waiting")
        content = read_code(image.screenshot())

        self.dialog.locator(".o_clipboard_button").click()
        phone = self.browser.new_context(**PHONE, **CHINA).new_page()
        phone.goto(self.page.evaluate("navigator.clipboard.readText()"))
        expect(phone.locator("img.code")).to_be_visible()
        self.shoot("share-waiting", phone)

        self.sandbox.scan(BOUND_ELSEWHERE, content)
        scanner = f"{merchant} 店主"
        self.sandbox.scan(scanner, content)
        expect(phone.locator(".mark.done")).to_be_visible()
        self.shoot("share-bound", phone)
        expect(self.dialog.locator("[name=bound_on]")).to_be_visible()
        self.wait_for_silence()
        self.shoot("dialog-bound")

        self.page.locator(".modal .btn-close").click()
        row.locator("td[name=complete_name]").click()
        expect(self.page.locator(".o-mail-Message").nth(2)).to_be_visible()
        self.page.set_viewport_size(WIDE)
        self.page.locator(".o_notebook a[name=wechat]").click()
        expect(self.page.locator("[name=wechat_binding_ids] tr.o_data_row")).to_be_visible()
        self.shoot("merchant")
        self.chat(scanner)

    def chat(self, user: str) -> None:
        """The scanner's phone in the sandbox."""
        page = self.browser.new_context(viewport=DESKTOP, **CHINA).new_page()
        page.goto(self.sandbox.url)
        page.get_by_role("button", name=user).click()
        expect(page.get_by_role("log")).to_contain_text("绑定成功")
        self.shoot("sandbox", page)

    def account(self) -> None:
        """The form of the account with its health, and the result of its check."""
        self.open_action("wechat_account_action", "tr.o_data_row")
        self.page.locator("tr.o_data_row td[name=name]").first.click()
        expect(self.page.locator("[name=webhook_url] .o_clipboard_button")).to_be_visible()
        self.shoot("account")
        self.page.locator("button[name=action_test_connection]").click()
        expect(self.dialog.locator("tr.o_data_row").nth(4)).to_be_visible()
        self.shoot("check")
        self.page.locator(".modal .btn-close").click()

    def template(self) -> None:
        """A template's form, with the card that it makes of an order."""
        self.open_action("wechat_template_action", "tr.o_data_row")
        self.page.locator("tr.o_data_row", has_text=NOTICE).first.click()
        self.page.set_viewport_size(TALL)
        expect(self.page.locator(".o_wechat_card")).to_be_visible()
        choice = self.page.locator(".o_field_widget[name=preview_ref] input").last
        choice.click()
        self.page.locator(".o-autocomplete--dropdown-item", has_text="S0").first.click()
        expect(self.page.locator(".o_wechat_card_value").first).to_contain_text("S0")
        self.wait_for_silence()
        self.shoot("template")

    def composer(self) -> None:
        """A notice to several merchants: its recipients, and the reasons for the others."""
        self.open_action("wechat_merchant_action", "tr.o_data_row")
        self.page.locator("thead .o_list_record_selector input").click()
        self.page.locator(".o_cp_action_menus .dropdown-toggle:has(.fa-cog)").click()
        self.page.locator(".o-dropdown-item", has_text="发送微信通知").first.click()
        template = self.dialog.locator(".o_field_widget[name=template_id] input")
        expect(template).to_be_visible()
        if not template.input_value():
            template.click()
            self.page.locator(".o-autocomplete--dropdown-item", has_text=STATEMENT).first.click()
        expect(self.dialog.locator(".o_wechat_card")).to_be_visible()
        self.shoot("composer")
        self.page.locator(".modal .btn-close").click()

    def notices(self) -> None:
        """What the chatter of an order says, delivered and failed."""
        self.page.set_viewport_size(WIDE)
        orders = self.client.find("sale.order", [("state", "=", "sale")], ["id"], order="id desc")
        failed = self.client.find(
            "wechat.message", [("res_model", "=", "sale.order"), ("state", "=", "failed")], ["res_id"], limit=1
        )
        self.page.goto(f"/odoo/sales/{failed[0]['res_id'] if failed else orders[0]['id']}")
        notification = self.page.locator(".o-mail-Message-notification").first
        notification.click()
        expect(self.page.locator(".o-mail-MessageNotificationPopover")).to_be_visible()
        self.shoot("notice")

    def rule(self) -> None:
        """The automation rule that notifies of a confirmed order."""
        [rule] = self.client.find("base.automation", [("name", "=", RULE)], ["action_server_ids"])
        self.page.set_viewport_size(DESKTOP)
        self.page.goto(f"/odoo/action-base_automation.base_automation_act/{rule['id']}")
        expect(self.page.locator(".o_form_view .o_kanban_record, .o_automation_actions").first).to_be_visible()
        self.shoot("rule")

    def statistics(self) -> None:
        self.open_action("wechat_message_report_action", ".o_graph_renderer canvas")
        self.wait_for_graphs()
        self.shoot("statistics")

    def operations(self) -> None:
        self.open_action("wechat_operation_action", "tr.o_data_row")
        self.shoot("operations")


def main() -> None:
    """Take all pictures."""
    demo = json.loads(DEMO.read_text(encoding="utf-8"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=COLD_MS)
    with sync_playwright() as playwright, chromium(playwright) as browser:
        photographer = Photographer(browser, demo)
        photographer.overview()
        photographer.merchants()
        photographer.binding()
        photographer.sending()
        photographer.requests()
        photographer.portal()
        photographer.account()
        photographer.operations()
        photographer.template()
        photographer.composer()
        photographer.notices()
        photographer.rule()
        photographer.statistics()
        # Last, for it fills the other lists.
        photographer.batch()


if __name__ == "__main__":
    main()
