import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { expect, test } from "@odoo/hoot";
import { queryAllTexts } from "@odoo/hoot-dom";
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
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { leaveWhileLoading, noteListeners } from "@wechat_merchant_bind/../tests/bus_test_helpers";
import { PARTNER_CHANGED } from "@wechat_merchant_bind/binding/bind_dialog/live_reload";

const BADGE = `<field name="wechat_state" widget="wechat_state_badge" readonly="1"/>`;
const LIST = `<list multi_edit="1"><field name="name"/>${BADGE}</list>`;
const KANBAN = `<kanban><templates><t t-name="card"><field name="name"/>${BADGE}</t></templates></kanban>`;
const FORM = `
    <form>
        <field name="name"/>
        <group>${BADGE}</group>
        <group>${BADGE}</group>
        <field name="contact_ids"><list><field name="name"/>${BADGE}</list></field>
    </form>`;

class Merchant extends models.Model {
    _name = "merchant";

    name = fields.Char();
    wechat_state = fields.Selection({
        selection: [
            ["unbound", "未绑定"],
            ["bound", "已绑定"],
            ["unfollowed", "已取关"],
        ],
    });
    contact_ids = fields.Many2many({ relation: "merchant" });

    _records = [
        ...Array.from({ length: 9 }, (_, index) => ({ id: index + 1, name: `商家${index + 1}`, wechat_state: "unbound" })),
        { id: 10, name: "总店", wechat_state: "unbound", contact_ids: [1, 2] },
    ];
    _views = { form: `<form>${BADGE}<widget name="endless"/></form>`, search: `<search/>` };
}

defineMailModels();
defineModels([Merchant]);

/** Opens a view of merchants, and records its reloads and the notifications from then on. */
async function openView(type, arch, params = {}) {
    await mountView({ type, resModel: "merchant", arch, domain: [["id", "<", 10]], ...params });
    onRpc("merchant", "web_read", ({ args }) => asyncStep(`read ${args[0]}`));
    onRpc("merchant", "web_search_read", () => asyncStep("read all"));
    const bus = getService("bus_service");
    await bus.start();
    bus.subscribe(PARTNER_CHANGED, () => asyncStep("notified"));
}

function change(ids, wechat_state) {
    MockServer.env["merchant"].write(ids, { wechat_state });
    MockServer.env["bus.bus"]._sendone("broadcast", PARTNER_CHANGED, { ids });
}

const badges = () => queryAllTexts(".o_field_wechat_state_badge .badge");
const openForm = () => openView("form", FORM, { resId: 10, domain: undefined });

test("a row turns to bound by itself, and no other row is reloaded", async () => {
    await openView("list", LIST);
    change([2], "bound");
    await waitForSteps(["notified", "read 2"]);
    await animationFrame();
    expect(badges().slice(0, 3)).toEqual(["未绑定", "已绑定", "未绑定"]);
    expect(".o_data_row:nth-child(2) .badge").toHaveClass("text-bg-success");
    change([2], "unfollowed");
    await waitForSteps(["notified", "read 2"]);
    await animationFrame();
    expect(".o_data_row:nth-child(2) .badge").toHaveClass("text-bg-warning");
});

test("a row that no longer matches the filter stays until the list is opened again", async () => {
    await openView("list", LIST, { domain: [["wechat_state", "=", "unbound"]] });
    change([2], "bound");
    await waitForSteps(["notified", "read 2"]);
    await animationFrame();
    expect(badges()[1]).toBe("已绑定");
});

test("many rows are reloaded at once", async () => {
    await openView("list", LIST);
    change([1, 2, 3, 4, 5, 6, 7], "bound");
    await waitForSteps(["notified", "read all"]);
    await animationFrame();
    expect(badges().filter((text) => text === "已绑定").length).toBe(7);
});

test("many rows are reloaded one by one while some are selected", async () => {
    await openView("list", LIST);
    await contains(".o_data_row:nth-child(9) .o_list_record_selector input").click();
    change([1, 2, 3, 4, 5, 6], "bound");
    await waitForSteps(["notified", ...[1, 2, 3, 4, 5, 6].map((id) => `read ${id}`)]);
    await animationFrame();
    expect(".o_data_row:nth-child(9) .o_list_record_selector input").toBeChecked();
});

test("a row in edition is kept, and another is reloaded", async () => {
    await openView("list", LIST);
    await contains(".o_data_row:nth-child(2) .o_list_record_selector input").click();
    await contains(".o_data_row:nth-child(2) [name=name]").click();
    await contains(".o_data_row:nth-child(2) [name=name] input").edit("改名", { confirm: false });
    change([2, 3], "bound");
    await waitForSteps(["notified", "read 3"]);
    await animationFrame();
    expect(".o_data_row:nth-child(2) [name=name] input").toHaveValue("改名");
    expect(badges().slice(1, 3)).toEqual(["未绑定", "已绑定"]);
});

test("a card of the kanban turns to bound by itself", async () => {
    await openView("kanban", KANBAN);
    change([3], "bound");
    await waitForSteps(["notified", "read 3"]);
    await animationFrame();
    expect(badges()[2]).toBe("已绑定");
});

test("a form with two badges is reloaded once, and each contact on its own", async () => {
    await openForm();
    expect(badges()).toEqual(["未绑定", "未绑定", "未绑定", "未绑定"]);
    change([10], "bound");
    await waitForSteps(["notified", "read 10"]);
    await animationFrame();
    expect(badges()).toEqual(["已绑定", "已绑定", "未绑定", "未绑定"]);
    change([2], "bound");
    await waitForSteps(["notified", "read 2"]);
    await animationFrame();
    expect(badges()).toEqual(["已绑定", "已绑定", "未绑定", "已绑定"]);
});

test("unsaved edits of a form are kept", async () => {
    await openForm();
    await contains(".o_field_widget[name=name] input").edit("西湖茶庄（总店）");
    change([10], "bound");
    await waitForSteps(["notified"]);
    await animationFrame();
    await waitForSteps([]);
    expect(".o_field_widget[name=name] input").toHaveValue("西湖茶庄（总店）");
    expect(badges()[0]).toBe("未绑定");
});

test("uncommitted input counts as an edit", async () => {
    await openForm();
    await contains(".o_field_widget[name=name] input").edit("西湖", { confirm: false });
    change([10], "bound");
    await waitForSteps(["notified"]);
    await animationFrame();
    await waitForSteps([]);
    expect(".o_field_widget[name=name] input").toHaveValue("西湖");
});

test("a deleted merchant causes no error", async () => {
    await openView("list", LIST);
    MockServer.env["merchant"].unlink([2]);
    MockServer.env["bus.bus"]._sendone("broadcast", PARTNER_CHANGED, { ids: [2] });
    await waitForSteps(["notified", "read 2"]);
    await animationFrame();
    expect(badges().length).toBe(9);
});

test("closed badges unsubscribe", async () => {
    const listeners = await noteListeners(PARTNER_CHANGED);
    const view = await mountView({ type: "list", resModel: "merchant", arch: LIST });
    expect(listeners.size).toBe(10);
    view.__owl__.app.destroy();
    expect(listeners.size).toBe(0);
});

test("a badge that is left while its view loads unsubscribes", async () => {
    const listeners = await noteListeners(PARTNER_CHANGED);
    await leaveWhileLoading({
        type: "ir.actions.act_window",
        res_model: "merchant",
        res_id: 10,
        views: [[false, "form"]],
    });
    expect(".elsewhere").toHaveCount(1);
    expect(listeners.size).toBe(0);
});
