import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { expect, test } from "@odoo/hoot";
import { queryAllTexts } from "@odoo/hoot-dom";
import { advanceTime, animationFrame } from "@odoo/hoot-mock";
import {
    asyncStep,
    contains,
    defineModels,
    fields,
    getService,
    mockService,
    models,
    MockServer,
    mountWithCleanup,
    onRpc,
    serverState,
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { WebClient } from "@web/webclient/webclient";
import { TOAST } from "@wechat_merchant_bind/binding/bind_notification/bind_notification_service";

const MERCHANT = serverState.partnerId;
const TOASTS = ".o_notification";

class Binding extends models.Model {
    _name = "wechat.binding";

    partner_id = fields.Many2one({ relation: "res.partner" });
    openid_masked = fields.Char();
    state = fields.Char();
    can_undo = fields.Boolean();

    _records = [
        { id: 1, partner_id: MERCHANT, openid_masked: "oAbc…xyz1", state: "bound", can_undo: true },
        { id: 2, partner_id: MERCHANT, openid_masked: "oAbc…xyz2", state: "bound", can_undo: false },
        { id: 3, partner_id: MERCHANT, openid_masked: "oAbc…xyz3", state: "unbound", can_undo: false },
    ];
}

class Request extends models.Model {
    _name = "wechat.bind.request";

    partner_id = fields.Many2one({ relation: "res.partner" });
    openid_masked = fields.Char();
    state = fields.Char();

    _records = [{ id: 1, partner_id: MERCHANT, openid_masked: "oAbc…xyz1", state: "pending" }];
}

defineMailModels();
defineModels([Binding, Request]);

/** Starts the web client, and records the windows that it opens and its calls to undo a binding. */
async function start() {
    mockService("action", { doAction: ({ res_model, res_id }) => asyncStep(`open ${res_model} ${res_id}`) });
    onRpc("res.partner", "action_wechat_undo_bind", ({ args }) => {
        asyncStep(`undo ${args[0]}`);
        return true;
    });
    await mountWithCleanup(WebClient);
    MockServer.env["res.partner"].write([MERCHANT], { name: "杭州西湖茶庄" });
    const bus = getService("bus_service");
    await bus.start();
    bus.subscribe(TOAST, () => asyncStep("notified"));
}

async function notify(model, id) {
    MockServer.env["bus.bus"]._sendone("broadcast", TOAST, { model, id });
    await waitForSteps(["notified"]);
    await animationFrame();
    await animationFrame();
}

test("a binding is notified and can be opened", async () => {
    await start();
    await notify("wechat.binding", 1);
    expect(`${TOASTS} .o_notification_content`).toHaveText("杭州西湖茶庄 is now bound to WeChat (oAbc…xyz1)");
    expect(queryAllTexts(`${TOASTS} button:not(.o_notification_close)`)).toEqual(["View", "Undo Binding"]);
    await contains(`${TOASTS} button:contains(View)`).click();
    await waitForSteps([`open res.partner ${MERCHANT}`]);
    expect(TOASTS).toHaveCount(0);
});

test("undoing asks for a confirmation", async () => {
    await start();
    await notify("wechat.binding", 1);
    await contains(`${TOASTS} button:contains(Undo Binding)`).click();
    expect(TOASTS).toHaveCount(0);
    expect(".modal-body").toHaveText(
        "The WeChat of 杭州西湖茶庄 will be unbound at once and receive no more notices. Undo the binding?"
    );
    await contains(".modal-footer button:contains(Cancel)").click();
    await waitForSteps([]);
    await notify("wechat.binding", 1);
    await contains(`${TOASTS} button:contains(Undo Binding)`).click();
    await contains(".modal-footer .btn-danger").click();
    await waitForSteps([`undo ${MERCHANT}`]);
    await animationFrame();
    expect(`${TOASTS} .o_notification_content`).toHaveText("杭州西湖茶庄 is no longer bound to WeChat.");
});

test("without the right to undo the button is missing", async () => {
    await start();
    await notify("wechat.binding", 2);
    expect(queryAllTexts(`${TOASTS} button:not(.o_notification_close)`)).toEqual(["View"]);
});

test("ended and unreadable records are not notified", async () => {
    await start();
    await notify("wechat.binding", 3);
    await notify("wechat.binding", 99);
    expect(TOASTS).toHaveCount(0);
});

test("a request is notified and can be opened", async () => {
    await start();
    await notify("wechat.bind.request", 1);
    expect(`${TOASTS} .o_notification_content`).toHaveText(
        "Somebody has scanned the code of 杭州西湖茶庄 (oAbc…xyz1) and waits for the confirmation"
    );
    await contains(`${TOASTS} button:contains(View)`).click();
    await waitForSteps(["open wechat.bind.request 1"]);
});

test("only the latest notifications stay, and for a limited time", async () => {
    await start();
    for (const id of [1, 1, 2, 2]) {
        await notify("wechat.binding", id);
    }
    expect(TOASTS).toHaveCount(3);
    expect(queryAllTexts(`${TOASTS} .o_notification_content`).filter((text) => text.includes("xyz1"))).toHaveLength(1);
    await advanceTime(21000);
    await animationFrame();
    expect(TOASTS).toHaveCount(0);
});
