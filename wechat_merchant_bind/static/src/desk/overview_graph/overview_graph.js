import { registry } from "@web/core/registry";
import { graphView } from "@web/views/graph/graph_view";

// Not part of the overview's bundle, since Odoo loads its graphs lazily.
registry.category("views").add("wechat_overview_graph", {
    ...graphView,
    buttonTemplate: "wechat_merchant_bind.OverviewGraphButtons",
});
