"""Plays the whole story against a running demo, with only what a browser or WeChat could send.

`./setup/demo --walkthrough` runs it; .run/demo.json says where the demo is. Each step is printed with its outcome.
Exits with status 0 if all went well, else with 1.
"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright
from support.browser import COLD_MS, chromium, is_marked, log_in, mark, phone_page, read_code
from support.odoo import wait_for
from support.sandbox import Sandbox

DEMO = Path(__file__).resolve().parent.parent / ".run" / "demo.json"
REPLY = "您好！{merchant}，公众号绑定成功！今后将通过此公众号为您推送重要通知。"
BUTTON = "button[name=action_wechat_bind_code]"
# The live update may come by a long poll or by the share page's own question every 3 seconds.
LIVE_MS = 15_000
# A notice passes the outbox, WeChat and the inbox before it is 已送达.
NOTICE_MS = 60_000


class StepError(Exception):
    """A step had another outcome than the story asks for."""


def check(condition: bool, problem: str) -> None:
    """Raise StepError unless the condition holds."""
    if not condition:
        raise StepError(problem)


class Walkthrough:
    """The admin 周敏 at her desk, the merchant with his phone."""

    def __init__(self, playwright: Playwright, browser: Browser, demo: dict):
        self.playwright = playwright
        self.browser = browser
        self.demo = demo
        self.sandbox = Sandbox(demo["sandbox_url"])
        self.page: Page
        self.share: Page
        self.merchant = ""
        self.content = ""
        self.title = ""
        self.order = ""

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Return the story: what is done, and the method that does it and returns what was seen."""
        return [
            ("登录 Odoo", self.log_in),
            ("打开 微信 › 商家", self.open_merchants),
            ("在一个未绑定的商家上点击「生成绑定码」", self.generate),
            ("识别对话框里的二维码", self.read_dialog),
            ("下载图片并识别", self.download),
            ("复制链接，在手机上打开分享页并识别", self.open_share_page),
            ("商家用微信扫码（沙箱推送），读取公众号的回复", self.scan),
            ("对话框自动变为「已绑定」，没有刷新", self.watch_dialog),
            ("分享页自动变为「已绑定」", self.watch_share_page),
            ("商家列表显示「已绑定」", self.watch_list),
            ("商家的沟通记录写明谁生成、谁绑定", self.read_chatter),
            ("为该商家新建报价单并确认订单", self.confirm_sale),
            ("商家的手机收到「新订单通知」", self.read_card),
            ("订单的沟通记录自动变为「已送达」，没有刷新", self.watch_notification),
            ("向该商家询价并确认采购", self.confirm_purchase),
            ("商家的手机收到「审核结果通知」", self.read_card),
            ("采购订单的沟通记录自动变为「已送达」，没有刷新", self.watch_notification),
        ]

    @property
    def dialog(self) -> Locator:
        return self.page.locator(".modal .o_wechat_bind_dialog")

    @property
    def row(self) -> Locator:
        return self.page.locator("tr.o_data_row").filter(has_text=self.merchant)

    def log_in(self) -> str:
        self.page = log_in(self.browser, self.demo["url"], self.demo["login"], self.demo["password"])
        return self.demo["url"]

    def open_merchants(self) -> str:
        self.page.goto("/odoo")
        apps = self.page.locator("[data-menu-xmlid='wechat_merchant_bind.wechat_menu_root']")
        if not apps.first.is_visible():
            self.page.locator(".o_navbar_apps_menu button").click()
        apps.first.click()
        self.page.locator("[data-menu-xmlid='wechat_merchant_bind.wechat_merchant_menu']").first.click()
        expect(self.page.locator("tr.o_data_row").first).to_be_visible()
        heading = self.page.locator(".o_last_breadcrumb_item, .o_breadcrumb .active").first.inner_text()
        check(heading.strip() == "商家", f"标题是 {heading!r}")
        return f"{self.page.locator('tr.o_data_row').count()} 个商家"

    def generate(self) -> str:
        row = self.page.locator("tr.o_data_row", has=self.page.locator(BUTTON)).first
        button = row.locator(BUTTON)
        if not button.is_visible():
            self.create_merchant()
        self.merchant = row.locator("td[name=complete_name]").inner_text().strip()
        label = button.inner_text().strip()
        mark(self.page)
        button.click()
        expect(self.dialog).to_be_visible()
        check(label == "生成绑定码", f"按钮写着 {label!r}")
        state = self.dialog.locator("[name=state]").inner_text().strip()
        check(state == "等待扫码", f"状态是 {state!r}")
        return f"{self.merchant}：{state}"

    def create_merchant(self) -> None:
        """Add a merchant, when an earlier walkthrough has bound the last one."""
        self.page.locator(".o_list_button_add").first.click()
        self.page.locator("[name=name] input, [name=name] textarea").first.fill(
            f"嘉兴南湖粽子铺 {datetime.now():%m%d%H%M%S}"
        )
        self.page.locator(".o_form_button_save").click()
        self.page.locator(".o_breadcrumb a, .breadcrumb-item a").first.click()

    def read_dialog(self) -> str:
        self.content = read_code(self.dialog.locator("[name=qr_image] img").screenshot())
        return self.content

    def download(self) -> str:
        with self.page.expect_download() as download:
            self.page.locator(".modal button[name=action_download]").click()
        name = download.value.suggested_filename
        check(self.merchant in name and name.endswith(".png"), f"文件名是 {name!r}")
        check(read_code(Path(download.value.path()).read_bytes()) == self.content, "图片里是另一个码")
        return name

    def open_share_page(self) -> str:
        self.page.locator(".modal .o_clipboard_button").click()
        link = self.page.evaluate("navigator.clipboard.readText()")
        check(urlsplit(link).path.startswith("/wechat/bind/"), f"剪贴板里是 {link!r}")
        self.share = phone_page(self.playwright, self.browser, link)
        self.share.get_by_text("长按识别二维码").wait_for()
        check(self.merchant not in self.share.content(), "商家名称没有打码")
        check(read_code(self.share.locator("img.code").screenshot()) == self.content, "分享页上是另一个码")
        return self.share.locator("h1").inner_text()

    def scan(self) -> str:
        result = self.sandbox.scan(f"{self.merchant} 店主", self.content)
        wanted = REPLY.replace("{merchant}", self.merchant)
        check(result["ok"], f"推送失败：{result['error']}")
        check(result["reply"] == wanted, f"回复是 {result['reply']!r}")
        return f"{result['reply']}（{result['elapsed']:.2f} 秒）"

    def watch_dialog(self) -> str:
        expect(self.dialog.locator("[name=state]")).to_have_text("已绑定", timeout=LIVE_MS)
        check(is_marked(self.page), "页面被刷新了")
        return self.dialog.locator("[name=bound_on]").inner_text()

    def watch_share_page(self) -> str:
        self.share.get_by_text("已绑定").wait_for(timeout=LIVE_MS)
        check(self.share.locator("img.code").count() == 0, "二维码还在")
        return "已绑定"

    def watch_list(self) -> str:
        self.page.locator(".modal button.btn-close").click()
        expect(self.row.locator("td[name=wechat_state]")).to_have_text("已绑定")
        return self.merchant

    def read_chatter(self) -> str:
        self.row.locator("td[name=complete_name]").click()
        messages = self.page.locator(".o-mail-Message")
        generated = messages.filter(has_text="已生成微信绑定码").first
        bound = messages.filter(has_text="已绑定微信").first
        for message in (generated, bound):
            expect(message).to_be_visible()
        author = generated.locator(".o-mail-Message-author").inner_text()
        text = bound.locator(".o-mail-Message-body").inner_text()
        check(author in text, f"{author!r} 生成，但记录写着 {text!r}")
        return f"{author} 生成；{text}"

    def confirm_sale(self) -> str:
        self.title = "新订单通知"
        return self.confirm("sales", "action_confirm")

    def confirm_purchase(self) -> str:
        self.title = "审核结果通知"
        return self.confirm("purchase", "button_confirm")

    def confirm(self, menu: str, button: str) -> str:
        """Create an order of one product for the merchant, and confirm it."""
        page = self.page
        page.goto(f"/odoo/{menu}/new")
        page.locator("[name=partner_id] input").fill(self.merchant)
        page.locator(".o-autocomplete--dropdown-item").filter(has_text=self.merchant).first.click()
        page.locator("[name=order_line] .o_field_x2many_list_row_add a").first.click()
        page.locator(".o_selected_row [name^=product_] :is(input, textarea)").first.fill("龙井")
        page.locator(".o-autocomplete--dropdown-item").filter(has_text="明前龙井").first.click()
        page.locator(".o_form_button_save").click()
        expect(page.locator(".o_form_saved, .o_form_readonly, .o_form_editable").first).to_be_visible()
        mark(page)
        page.locator(f".o_statusbar_buttons button[name={button}]:visible").first.click()
        expect(self.notice).to_be_visible()
        self.order = page.locator(".o_field_widget[name=name]").first.inner_text().strip()
        return self.order

    @property
    def notice(self) -> Locator:
        return self.page.locator(".o-mail-Message").filter(has_text=self.title).first

    def read_card(self) -> str:
        cards = []

        def find() -> bool:
            messages = self.sandbox.get("messages", user=f"{self.merchant} 店主")["messages"]
            templates = [message["template"] for message in messages if message["type"] == "template"]
            cards[:] = [template for template in templates if template["title"] == self.title]
            return bool(cards)

        wait_for(find, "卡片")
        lines = "，".join(f"{line['label']} {line['value']}" for line in cards[-1]["lines"])
        check(self.order in lines, f"卡片写着 {lines}")
        return f"{cards[-1]['title']}：{lines}"

    def watch_notification(self) -> str:
        expect(self.notice.locator(".o-mail-Message-notification")).to_have_text("已送达", timeout=NOTICE_MS)
        check(is_marked(self.page), "页面被刷新了")
        return "已送达"


def main() -> int:
    """Play the story; return the exit status."""
    demo = json.loads(DEMO.read_text(encoding="utf-8"))
    with sync_playwright() as playwright, chromium(playwright) as browser:
        expect.set_options(timeout=COLD_MS)
        story = Walkthrough(playwright, browser, demo)
        for number, (title, step) in enumerate(story.steps(), 1):
            sys.stdout.write(f"{number:2}. {title} … ")
            sys.stdout.flush()
            try:
                sys.stdout.write(f"成功：{step()}\n")
            except Exception as error:  # noqa: BLE001  # any error is this step's outcome
                sys.stdout.write(f"失败：{error}\n")
                return 1
    sys.stdout.write("全部成功\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
