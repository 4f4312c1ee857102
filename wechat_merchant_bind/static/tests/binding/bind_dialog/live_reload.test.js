import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { expect, test } from "@odoo/hoot";
import { animationFrame } from "@odoo/hoot-mock";
import {
    asyncStep,
    contains,
    defineModels,
    fields,
    getService,
    models,
    MockServer,
    mountView,
    onRpc,
    serverState,
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { leaveWhileLoading, noteListeners } from "@wechat_merchant_bind/../tests/bus_test_helpers";
import { PARTNER_CHANGED } from "@wechat_merchant_bind/binding/bind_dialog/live_reload";

const MERCHANT = serverState.partnerId;
const OTHER_MERCHANT = serverState.publicPartnerId;

class Dialog extends models.Model {
    _name = "wechat.bind.code.show";

    partner_id = fields.Many2one({ relation: "res.partner" });
    state = fields.Char();

    _records = [{ id: 7, partner_id: MERCHANT, state: "waiting" }];
    _views = {
        form: `<form><widget name="wechat_live_reload"/><widget name="endless"/><field name="partner_id"/></form>`,
        search: `<search/>`,
    };
}

defineMailModels();
defineModels([Dialog]);

/** Opens the dialog's form, and records its reloads and the notifications from then on. */
async function openDialog() {
    await mountView({
        type: "form",
        resModel: "wechat.bind.code.show",
        resId: 7,
        arch: `<form><widget name="wechat_live_reload"/><field name="partner_id"/><field name="state"/></form>`,
    });
    onRpc("web_read", ({ model, args }) => asyncStep(`read ${model} ${args[0]}`));
    const bus = getService("bus_service");
    await bus.start();
    bus.subscribe(PARTNER_CHANGED, () => asyncStep("notified"));
}

async function notify(...ids) {
    MockServer.env["bus.bus"]._sendone("broadcast", PARTNER_CHANGED, { ids });
}

const shown = (name) => document.querySelector(`.o_field_widget[name=${name}] input`).value;

test("the dialog turns to bound by itself", async () => {
    await openDialog();
    expect(shown("state")).toBe("waiting");
    MockServer.env["wechat.bind.code.show"].write([7], { state: "bound" });
    await notify(MERCHANT);
    await waitForSteps(["notified", "read wechat.bind.code.show 7"]);
    await animationFrame();
    expect(shown("state")).toBe("bound");
});

test("changes of other merchants are ignored", async () => {
    await openDialog();
    MockServer.env["wechat.bind.code.show"].write([7], { state: "bound" });
    // 7 is the id of the dialog
    await notify(OTHER_MERCHANT, 7);
    await waitForSteps(["notified"]);
    await animationFrame();
    await waitForSteps([]);
    expect(shown("state")).toBe("waiting");
});

test("unsaved edits are kept", async () => {
    await openDialog();
    await contains(".o_field_widget[name=state] input").edit("edited");
    MockServer.env["wechat.bind.code.show"].write([7], { state: "bound" });
    await notify(MERCHANT);
    await waitForSteps(["notified"]);
    await animationFrame();
    await waitForSteps([]);
    expect(shown("state")).toBe("edited");
});

test("a closed dialog unsubscribes", async () => {
    const listeners = await noteListeners(PARTNER_CHANGED);
    const view = await mountView({
        type: "form",
        resModel: "wechat.bind.code.show",
        resId: 7,
        arch: `<form><widget name="wechat_live_reload"/><field name="partner_id"/></form>`,
    });
    expect(listeners.size).toBe(1);
    view.__owl__.app.destroy();
    expect(listeners.size).toBe(0);
});

test("a dialog that is left while it loads unsubscribes", async () => {
    const listeners = await noteListeners(PARTNER_CHANGED);
    await leaveWhileLoading({
        type: "ir.actions.act_window",
        res_model: "wechat.bind.code.show",
        res_id: 7,
        views: [[false, "form"]],
    });
    expect(".elsewhere").toHaveCount(1);
    expect(listeners.size).toBe(0);
});
