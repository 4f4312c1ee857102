import { registry } from "@web/core/registry";
import { graphView } from "@web/views/graph/graph_view";

// Apart from the overview, since Odoo loads its graphs only when the first one is shown.
registry.category("views").add("wechat_overview_graph", {
    ...graphView,
    buttonTemplate: "wechat_merchant_bind.OverviewGraphButtons",
});
