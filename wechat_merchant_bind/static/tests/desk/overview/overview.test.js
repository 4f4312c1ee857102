import { defineMailModels } from "@mail/../tests/mail_test_helpers";
import { beforeEach, Deferred, expect, test } from "@odoo/hoot";
import { advanceTime, animationFrame } from "@odoo/hoot-mock";
import {
    asyncStep,
    contains,
    defineActions,
    defineModels,
    fields,
    getService,
    models,
    MockServer,
    mountWithCleanup,
    onRpc,
    patchWithCleanup,
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { WebClient } from "@web/webclient/webclient";
import { leaveWhileLoading, noteListeners } from "@wechat_merchant_bind/../tests/bus_test_helpers";
import { PARTNER_CHANGED } from "@wechat_merchant_bind/binding/bind_dialog/live_reload";

const STEPS = ["account", "address", "connection", "webhook", "code", "binding"];
const GRAPHS = ["wechat_bound_rate_action", "wechat_bind_funnel_action", "wechat_bind_report_action_unfollows"];

class Funnel extends models.Model {
    _name = "wechat.bind.funnel";

    step = fields.Selection({
        selection: [
            ["1_generated", "Generated"],
            ["2_scanned", "Scanned"],
        ],
    });

    _records = [
        { id: 1, step: "1_generated" },
        { id: 2, step: "1_generated" },
        { id: 3, step: "2_scanned" },
    ];
    _views = { graph: `<graph><field name="step"/></graph>`, search: `<search/>` };
}

defineMailModels();
defineModels([Funnel]);
defineActions(
    GRAPHS.map((name, index) => ({
        id: 100 + index,
        xml_id: `wechat_merchant_bind.${name}`,
        name,
        res_model: "wechat.bind.funnel",
        views: [[false, "graph"]],
    }))
);

let overview;

beforeEach(() => {
    overview = {
        is_live: false,
        steps: STEPS.map((key) => ({
            key,
            title: `title ${key}`,
            reason: `reason ${key}`,
            button: `button ${key}`,
            is_done: false,
            problem: false,
            ask: false,
            action: `action ${key}`,
        })),
        alerts: [],
        tiles: [],
        funnel: [],
    };
    onRpc("wechat.account", "get_overview", () => {
        asyncStep("get_overview");
        return overview;
    });
});

/** Opens the page as the menu does. */
async function open() {
    await mountWithCleanup(WebClient);
    await getService("action").doAction({ type: "ir.actions.client", tag: "wechat_merchant_bind.overview" });
    await waitForSteps(["get_overview"]);
}

/** Records actions instead of opening them. */
function noteActions() {
    patchWithCleanup(getService("action"), {
        async doAction(action, options) {
            asyncStep(`open ${action} ${JSON.stringify(options.additionalContext || {})}`);
            options.onClose?.();
        },
    });
}

function goLive() {
    overview.is_live = true;
    overview.steps.forEach((step) => (step.is_done = true));
    overview.tiles = [
        { key: "bound", label: "Bound", value: 1234, action: "list", filters: ["scanned"] },
        { key: "rate", label: "Bound Rate", value: "56.5%", action: "rate", filters: [] },
    ];
    overview.funnel = [
        { label: "Generated", value: 4 },
        { label: "Scanned", value: 3 },
    ];
}

test("the first open step has the only primary button", async () => {
    overview.steps[0].is_done = true;
    overview.steps[1].problem = "not https";
    await open();
    expect(".o_wechat_steps li").toHaveCount(6);
    expect(".o_wechat_steps .btn-primary").toHaveCount(1);
    expect("li[data-step=address] .btn-primary").toHaveText("button address");
    expect("li[data-step=address] .o_wechat_step_problem").toHaveText("not https");
    expect("li[data-step=account] .fa-check").toHaveCount(1);
    expect(".o_wechat_tiles").toHaveCount(0);
});

test("a user without the right reads which role to ask", async () => {
    overview.steps[0].ask = "Please ask a WeChat manager.";
    await open();
    expect("li[data-step=account] button").toHaveCount(0);
    expect("li[data-step=account]").toHaveText(/Please ask a WeChat manager\./);
});

test("a step opens its action, and closing a dialog reloads the page", async () => {
    Object.assign(overview.steps[2], { method: "action_test_connection", res_id: 7 });
    onRpc("wechat.account", "action_test_connection", ({ args }) => {
        asyncStep(`test ${args[0]}`);
        return "dialog";
    });
    await open();
    noteActions();
    overview.steps[2].is_done = true;
    await contains("li[data-step=connection] button").click();
    await waitForSteps(["test 7", "open dialog {}", "get_overview"]);
    await animationFrame();
    expect("li[data-step=connection] .fa-check").toHaveCount(1);
    await contains("li[data-step=code] button").click();
    await waitForSteps(["open action code {}", "get_overview"]);
});

test("problems stand above the numbers and open their fix", async () => {
    goLive();
    overview.alerts = [
        { text: "WeChat refuses the account", action: "account form" },
        { text: "Ask the administrator", action: false },
    ];
    await open();
    expect(".o_wechat_alert").toHaveCount(2);
    expect(".o_wechat_alert:last button").toHaveCount(0);
    noteActions();
    overview.alerts = [];
    await contains(".o_wechat_alert:first button").click();
    await waitForSteps(["open account form {}", "get_overview"]);
    await animationFrame();
    expect(".o_wechat_alert").toHaveCount(0);
});

test("after the last step numbers and graphs are shown", async () => {
    goLive();
    await open();
    expect(".o_wechat_steps").toHaveCount(0);
    expect("[data-tile=bound]").toHaveText("Bound\n1,234");
    expect("[data-tile=rate]").toHaveText("Bound Rate\n56.5%");
    expect(".o_wechat_graph canvas").toHaveCount(3);
    expect(".o_wechat_graph .o_graph_button").toHaveCount(0);
    expect(".o_wechat_funnel:first").toHaveText(/Generated 4\s*Scanned 3 \(75%\)/);
});

test("a tile opens its list with its filters", async () => {
    goLive();
    await open();
    noteActions();
    await contains("[data-tile=bound]").click();
    await waitForSteps([`open list {"search_default_scanned":1}`]);
});

test("a scan updates the numbers, many scans once", async () => {
    goLive();
    await open();
    const bus = getService("bus_service");
    await bus.start();
    bus.subscribe(PARTNER_CHANGED, () => asyncStep("notified"));
    overview.tiles[0].value = 1235;
    for (const id of [1, 2, 3]) {
        MockServer.env["bus.bus"]._sendone("broadcast", PARTNER_CHANGED, { ids: [id] });
    }
    await waitForSteps(["notified", "notified", "notified"]);
    await advanceTime(2000);
    await waitForSteps(["get_overview"]);
    await animationFrame();
    expect("[data-tile=bound]").toHaveText("Bound\n1,235");
});

test("a page that is left while it loads does not subscribe", async () => {
    const listeners = await noteListeners(PARTNER_CHANGED);
    overview = new Deferred();
    await leaveWhileLoading({ type: "ir.actions.client", tag: "wechat_merchant_bind.overview" }, "get_overview");
    expect(".elsewhere").toHaveCount(1);
    expect(listeners.size).toBe(0);
});
