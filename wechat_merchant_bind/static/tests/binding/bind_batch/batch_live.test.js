import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { Deferred, expect, test } from "@odoo/hoot";
import { advanceTime, animationFrame } from "@odoo/hoot-mock";
import {
    asyncStep,
    defineModels,
    fields,
    getService,
    models,
    MockServer,
    mountView,
    onRpc,
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { leaveWhileLoading, noteListeners } from "@wechat_merchant_bind/../tests/bus_test_helpers";
import { BATCH_CHANGED, POLL_MS } from "@wechat_merchant_bind/binding/bind_batch/batch_live";

const CONTENT = `
    <widget name="wechat_batch_live"/>
    <field name="is_active" invisible="1"/>
    <field name="total_count" invisible="1"/>
    <field name="processed_count" widget="progressbar" options="{'max_value': 'total_count'}"/>`;

class Batch extends models.Model {
    _name = "wechat.bind.batch";

    is_active = fields.Boolean();
    processed_count = fields.Integer();
    total_count = fields.Integer();

    _records = [{ id: 7, is_active: true, processed_count: 0, total_count: 40 }];
    _views = { form: `<form>${CONTENT}<widget name="endless"/></form>`, search: `<search/>` };
}

defineMailModels();
defineModels([Batch]);

/**
 * Opens the form of a bulk generation, and records its reloads and the notifications from then on.
 *
 * @param {Promise} [isAnswered] delays the answers to its reloads
 */
async function openBatch(isAnswered) {
    const view = await mountView({
        type: "form",
        resModel: "wechat.bind.batch",
        resId: 7,
        arch: `<form edit="0">${CONTENT}</form>`,
    });
    onRpc("wechat.bind.batch", "web_read", ({ args }) => {
        asyncStep(`read ${args[0]}`);
        return isAnswered;
    });
    const bus = getService("bus_service");
    await bus.start();
    bus.subscribe(BATCH_CHANGED, () => asyncStep("notified"));
    return view;
}

function advance(values) {
    MockServer.env["wechat.bind.batch"].write([7], values);
}

function notify(id) {
    MockServer.env["bus.bus"]._sendone("broadcast", BATCH_CHANGED, { id });
}

test("the progress moves at a notification of the bus", async () => {
    await openBatch();
    expect(".o_progressbar").toHaveText(/0\s*\/\s*40/);
    advance({ processed_count: 25 });
    notify(7);
    await waitForSteps(["notified", "read 7"]);
    await animationFrame();
    expect(".o_progressbar").toHaveText(/25\s*\/\s*40/);
});

test("notifications of other bulk generations are ignored", async () => {
    await openBatch();
    advance({ processed_count: 25 });
    notify(8);
    await waitForSteps(["notified"]);
    await animationFrame();
    await waitForSteps([]);
    expect(".o_progressbar").toHaveText(/0\s*\/\s*40/);
});

test("notifications during a reload cause one more reload", async () => {
    const isAnswered = new Deferred();
    await openBatch(isAnswered);
    notify(7);
    await waitForSteps(["notified", "read 7"]);
    notify(7);
    notify(7);
    await waitForSteps(["notified", "notified"]);
    isAnswered.resolve();
    await waitForSteps(["read 7"]);
    await animationFrame();
    await waitForSteps([]);
});

test("without a bus the progress is polled until the end", async () => {
    await openBatch();
    advance({ processed_count: 40, is_active: false });
    await advanceTime(POLL_MS);
    await waitForSteps(["read 7"]);
    await animationFrame();
    expect(".o_progressbar").toHaveText(/40\s*\/\s*40/);
    await advanceTime(2 * POLL_MS);
    await waitForSteps([]);
});

test("a closed form unsubscribes and stops polling", async () => {
    const listeners = await noteListeners(BATCH_CHANGED);
    const view = await openBatch();
    // The test itself is a listener too.
    expect(listeners.size).toBe(2);
    view.__owl__.app.destroy();
    expect(listeners.size).toBe(1);
    await advanceTime(POLL_MS);
    await waitForSteps([]);
});

test("a form that is left while it loads neither subscribes nor polls", async () => {
    const listeners = await noteListeners(BATCH_CHANGED);
    await leaveWhileLoading({
        type: "ir.actions.act_window",
        res_model: "wechat.bind.batch",
        res_id: 7,
        views: [[false, "form"]],
    });
    onRpc("wechat.bind.batch", "web_read", () => asyncStep("read"));
    expect(".elsewhere").toHaveCount(1);
    expect(listeners.size).toBe(0);
    await advanceTime(POLL_MS);
    await waitForSteps([]);
});
