import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { expect, test } from "@odoo/hoot";
import { queryAllTexts } from "@odoo/hoot-dom";
import { advanceTime, animationFrame } from "@odoo/hoot-mock";
import {
    asyncStep,
    contains,
    defineModels,
    fields,
    models,
    MockServer,
    mountView,
    onRpc,
    waitForSteps,
} from "@web/../tests/web_test_helpers";

const CARD = {
    title: "新订单通知",
    time: "11月22日 10:32",
    lines: [
        { label: "订单号", value: "SO1042" },
        { label: "金额", value: "<b>￥100.21</b>" },
    ],
    url: "https://example.com",
    errors: ["商家没有内容。"],
    cuts: ["备注已截断。"],
};

class Notice extends models.Model {
    _name = "notice";

    card = fields.Json();
    index = fields.Integer();
    count = fields.Integer();
    name = fields.Char();
    state = fields.Char();

    _records = [
        { id: 1, card: CARD, index: 0, count: 3, name: "杭州西湖茶庄", state: "outgoing" },
        { id: 2, card: { title: "无链接", lines: [], url: "", miniprogram: {} }, count: 1 },
        { id: 3, card: { title: "小程序", lines: [], url: "", miniprogram: { appid: "wx1" } } },
        { id: 4, card: false },
    ];
}

defineMailModels();
defineModels([Notice]);

const mountForm = (resId, arch) => mountView({ type: "form", resModel: "notice", resId, arch: `<form>${arch}</form>` });
const CARD_FIELD = `<field name="card" widget="wechat_card"/>`;
const PAGER = `
    <field name="count" invisible="1"/><field name="name" invisible="1"/>
    <field name="index" widget="wechat_preview_pager" options="{'count_field': 'count', 'name_field': 'name'}"/>`;

test("a card is shown as on the phone, with its problems", async () => {
    await mountForm(1, CARD_FIELD);
    expect(".o_wechat_card_title").toHaveText("新订单通知");
    expect(".o_wechat_card_time").toHaveText("11月22日 10:32");
    expect(queryAllTexts(".o_wechat_card_label")).toEqual(["订单号", "金额"]);
    // Names of merchants and documents are escaped.
    expect(queryAllTexts(".o_wechat_card_value")).toEqual(["SO1042", "<b>￥100.21</b>"]);
    expect(".o_wechat_card_link").toHaveCount(1);
    expect(queryAllTexts(".o_wechat_card_errors li")).toEqual(["商家没有内容。"]);
    expect(queryAllTexts(".o_wechat_card_cuts li")).toEqual(["备注已截断。"]);
});

test("the card of a sent message has no problems and may have no link", async () => {
    await mountForm(2, CARD_FIELD);
    expect(".o_wechat_card_title").toHaveText("无链接");
    expect(".o_wechat_card_link, .o_wechat_card_time, .alert").toHaveCount(0);
});

test("the card may open a mini program", async () => {
    await mountForm(3, CARD_FIELD);
    expect(".o_wechat_card_link").toHaveCount(1);
});

test("an empty value shows no card", async () => {
    await mountForm(4, CARD_FIELD);
    expect(".o_wechat_card_frame").toHaveCount(0);
});

test("the pager wraps around", async () => {
    await mountForm(1, PAGER);
    expect(".o_wechat_preview_pager").toHaveText(/杭州西湖茶庄\s*1\s*\/\s*3/);
    for (const [button, number] of [["right", 2], ["right", 3], ["right", 1], ["left", 3]]) {
        await contains(`.fa-chevron-${button}`).click();
        expect(".o_wechat_preview_pager").toHaveText(new RegExp(`${number}\\s*/\\s*3`));
    }
});

test("the pager of one record has no buttons", async () => {
    await mountForm(2, PAGER);
    expect(".o_wechat_preview_pager button").toHaveCount(0);
});

test("the form is reloaded until the message has arrived", async () => {
    await mountForm(1, `<field name="state"/><widget name="wechat_poll" invisible="state == 'delivered'"/>`);
    onRpc("web_read", () => asyncStep("read"));
    await advanceTime(2000);
    await waitForSteps(["read"]);
    MockServer.env["notice"].write([1], { state: "delivered" });
    await advanceTime(2000);
    await waitForSteps(["read"]);
    await animationFrame();
    expect(".o_field_widget[name=state] input").toHaveValue("delivered");
    await advanceTime(6000);
    await waitForSteps([]);
});
