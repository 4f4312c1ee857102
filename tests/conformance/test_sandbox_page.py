"""The phone page in a real browser: scan, read the reply, write, unfollow, at a desk and on a narrow screen."""

import re
import time

import pytest
from playwright.sync_api import expect, sync_playwright
from wechatpy import create_reply

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 860), (390, 844)], ids=["desk", "phone"])
def page(request, browser, sandbox, server):
    """The page at two widths; an error in its script fails the test."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(sandbox.url)
    page.narrow = width < 760
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert errors == []


def test_the_story_of_a_merchant(page, sandbox, server, make_code):
    def answer(push):
        xml = create_reply("您好！绑定成功 <b>", push["message"]).render()
        return 200, server.crypto().encrypt_message(xml, "nonce1", int(time.time())).encode()

    page.get_by_role("button", name="添加微信用户").click()
    page.get_by_label("微信名").fill("王老板")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="关注公众号")).to_be_visible()

    make_code("mb_page")
    server.answer = answer
    page.get_by_role("button", name="扫一扫").click()
    page.get_by_role("button", name="mb_page").click()
    chat = page.get_by_role("log")
    expect(chat).to_contain_text("您好！绑定成功 <b>")
    expect(page.get_by_role("status")).to_contain_text("HTTP 200，有回复")

    server.answer = lambda push: (200, b"success")
    page.get_by_label("消息").fill("什么时候发货？")
    page.keyboard.press("Enter")
    expect(chat.locator(".mine")).to_contain_text("什么时候发货？")
    expect(page.get_by_role("status")).to_contain_text("文字消息：HTTP 200")
    assert server.pushes[-1]["message"].content == "什么时候发货？"

    page.get_by_role("button", name="取消关注").click()
    expect(page.get_by_role("button", name="关注公众号")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("取消关注：HTTP 200")
    assert server.pushes[-1]["message"].event == "unsubscribe"
    if page.narrow:
        page.get_by_role("button", name="返回用户列表").click()
    expect(page.get_by_role("button", name=re.compile("王老板.*未关注"))).to_be_visible()


def test_template_message_is_a_card(page, sandbox, client):
    openid = sandbox.post("followers", user="王老板", subscribed=True)["openid"]
    template = sandbox.post("templates", title="新订单通知", content="订单号：{{character_string1.DATA}}")[
        "template_id"
    ]
    value = {"character_string1": {"value": "SO1042"}}
    client.message.send_template(openid, template, value, url="https://example.com/so/1042")
    page.get_by_role("button", name="王老板").click()
    card = page.get_by_role("article")
    expect(card).to_contain_text("新订单通知")
    expect(card.get_by_role("term")).to_have_text("订单号")
    expect(card.get_by_role("definition")).to_have_text("SO1042")
    expect(card.get_by_role("link", name="查看详情")).to_have_attribute("href", "https://example.com/so/1042")


def test_a_foreign_code_is_explained(page, sandbox):
    sandbox.post("followers", user="王老板")
    page.get_by_role("button", name="王老板").click()
    page.get_by_role("button", name="扫一扫").click()
    page.get_by_label("二维码的内容或链接").fill("https://example.com/")
    page.get_by_role("button", name="扫描").click()
    expect(page.get_by_role("alert").first).to_contain_text("不是本平台的二维码")
