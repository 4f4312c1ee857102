import { Component, onMounted, onWillStart, onWillUnmount, useState } from "@odoo/owl";
import { makeContext } from "@web/core/context";
import { _t } from "@web/core/l10n/translation";
import { registry } from "@web/core/registry";
import { user } from "@web/core/user";
import { useService } from "@web/core/utils/hooks";
import { useDebounced } from "@web/core/utils/timing";
import { Layout } from "@web/search/layout";
import { formatInteger } from "@web/views/fields/formatters";
import { View } from "@web/views/view";
import { standardActionServiceProps } from "@web/webclient/actions/action_service";
import { PARTNER_CHANGED } from "@wechat_merchant_bind/binding/bind_dialog/live_reload";

// Many scans cause one request.
const REFRESH_MS = 2000;
const GRAPHS = ["wechat_bound_rate_action", "wechat_bind_funnel_action", "wechat_bind_report_action_unfollows"];

/**
 * The start page of the app: the steps to the first bound merchant, then numbers and graphs.
 */
export class WechatOverview extends Component {
    static template = "wechat_merchant_bind.Overview";
    static components = { Layout, View };
    static props = { ...standardActionServiceProps };

    setup() {
        this.orm = useService("orm");
        this.action = useService("action");
        this.state = useState({ isLive: false, alerts: [], steps: [], tiles: [], funnel: [], graphs: [] });
        const bus = useService("bus_service");
        const refresh = useDebounced(() => this.load(), REFRESH_MS);
        onWillStart(() => this.load());
        // A page that is left while it loads is never unmounted, so it must not subscribe earlier.
        onMounted(() => bus.subscribe(PARTNER_CHANGED, refresh));
        onWillUnmount(() => bus.unsubscribe(PARTNER_CHANGED, refresh));
    }

    async load() {
        const overview = await this.orm.call("wechat.account", "get_overview", []);
        if (overview.is_live && !this.state.graphs.length) {
            this.state.graphs = await Promise.all(GRAPHS.map((name) => this.loadGraph(name)));
        }
        Object.assign(this.state, {
            isLive: overview.is_live,
            alerts: overview.alerts,
            steps: overview.steps,
            tiles: overview.tiles,
            funnel: overview.funnel,
        });
    }

    /** Returns the title and the properties of a graph, taken from its own action. */
    async loadGraph(name) {
        const xmlId = `wechat_merchant_bind.${name}`;
        const action = await this.action.loadAction(xmlId);
        const find = (type) => action.views.find((view) => view[1] === type) || [false, type];
        return {
            xmlId,
            title: action.name,
            props: {
                resModel: action.res_model,
                type: "graph",
                jsClass: "wechat_overview_graph",
                viewId: find("graph")[0],
                searchViewId: find("search")[0],
                context: makeContext([user.context, action.context]),
                display: { controlPanel: false },
                noContentHelp: action.help,
            },
        };
    }

    get currentStep() {
        return this.state.steps.find((step) => !step.is_done);
    }

    get progress() {
        const { steps } = this.state;
        return _t("%(done)s of %(total)s steps are done.", {
            done: steps.filter((step) => step.is_done).length,
            total: steps.length,
        });
    }

    formatValue(value) {
        return typeof value === "number" ? formatInteger(value) : value;
    }

    /** Returns the share of a step of the funnel in its first step, in percent. */
    getShare(step) {
        const total = this.state.funnel[0].value;
        return total ? Math.round((100 * step.value) / total) : 0;
    }

    async openStep(step) {
        const action = step.method
            ? await this.orm.call("wechat.account", step.method, [[step.res_id]])
            : step.action;
        await this.action.doAction(action, { onClose: () => this.load() });
    }

    async openAlert(alert) {
        await this.action.doAction(alert.action, { onClose: () => this.load() });
    }

    async openTile(tile) {
        const filters = tile.filters.map((name) => [`search_default_${name}`, 1]);
        await this.action.doAction(tile.action, { additionalContext: Object.fromEntries(filters) });
    }

    async openGraph(graph) {
        await this.action.doAction(graph.xmlId, { viewType: "graph" });
    }
}

registry.category("actions").add("wechat_merchant_bind.overview", WechatOverview);
