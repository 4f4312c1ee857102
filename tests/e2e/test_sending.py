"""A code is e-mailed and printed in Chinese, and is readable in the mail and on paper."""

from collections.abc import Iterator

import pypdfium2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.browser import chromium, log_in, open_dialog, read_code
from support.mailbox import Mailbox, open_mailbox

# Waits for the picture, and tells whether it was loaded.
IS_LOADED = "async image => { await image.decode(); return image.naturalWidth > 100; }"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture
def mailbox(system) -> Iterator[Mailbox]:
    """The mails that Odoo sends."""
    with open_mailbox(system.admin) as mailbox:
        yield mailbox


def get_content(system, partner: int) -> str:
    """Return the text of a merchant's open code."""
    domain = [("partner_id", "=", partner), ("state", "=", "active")]
    return system.admin.find("wechat.bind.code", domain, ["qr_content"])[0]["qr_content"]


def press_print(page: Page, button: str) -> pypdfium2.PdfDocument:
    """Print from the open dialog; return the PDF that the browser saves."""
    with page.expect_download() as download:
        page.locator(f".modal button[name={button}]").click()
    return pypdfium2.PdfDocument(download.value.path())


def test_emailed_code_is_shown(system, browser, mailbox):
    """The composer shows the picture; the mail has picture and file, also where no remote content is loaded."""
    merchant = "苏州平江茶馆"
    partner = system.merchant(merchant)
    system.admin.call("res.partner", "write", [partner], {"email": "pingjiang@example.com"})
    page = log_in(browser, system.url, "admin", "admin")
    open_dialog(page, merchant)
    page.locator(".modal button[name=action_send]").click()
    composer = page.locator(".modal").filter(has=page.locator("button[name=action_send_mail]"))
    picture = composer.locator(".odoo-editor-editable img[alt=微信绑定码]")
    expect(picture).to_be_visible()
    assert picture.evaluate(IS_LOADED)
    content = get_content(system, partner)
    picture.scroll_into_view_if_needed()
    assert read_code(picture.screenshot()) == content
    # The file is made when the mail leaves: until then colleagues could read it.
    expect(composer.get_by_text(f"{merchant}-微信绑定码.png")).to_have_count(0)
    composer.locator("button[name=action_send_mail]").click()
    expect(composer).to_have_count(0)

    message = mailbox.wait("pingjiang@example.com")
    html = message.get_body(("html",)).get_content()
    pictures = [part for part in message.walk() if part.get_content_type() == "image/png"]
    inline, attached = sorted(pictures, key=lambda part: part.get_content_disposition(), reverse=True)
    assert f'src="cid:{inline["Content-ID"].strip("<>")}"' in html
    assert attached.get_filename().startswith(merchant)
    assert {read_code(part.get_content()) for part in pictures} == {content}
    assert merchant in system.sandbox.scan("平江茶馆-掌柜", read_code(inline.get_content()))["reply"]
    assert system.state(partner) == "bound"
    assert "p***@example.com" in system.operations(partner, "send")[0]["note"]


def test_printed_code_binds(system, browser):
    """打印海报 and 打印桌牌 save PDFs with a code that binds the merchant."""
    merchant = "苏州桃花坞年画社"
    partner = system.merchant(merchant)
    page = log_in(browser, system.url, "admin", "admin")
    open_dialog(page, merchant)
    codes = set()
    for button in ("action_print_poster", "action_print_card"):
        [sheet] = press_print(page, button)
        assert merchant in sheet.get_textpage().get_text_range()
        codes.add(read_code(sheet.render(scale=2).to_pil()))
    assert codes == {get_content(system, partner)}
    assert merchant in system.sandbox.scan("桃花坞-老板娘", codes.pop())["reply"]
    assert system.state(partner) == "bound"
