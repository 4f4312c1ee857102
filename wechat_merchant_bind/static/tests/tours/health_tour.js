import { registry } from "@web/core/registry";

const ROW = ".o_field_widget[name=health_ids] .o_data_row";

registry.category("web_tour.tours").add("wechat_merchant_bind.health", {
    steps: () => [
        {
            content: "The list of accounts shows which one has a problem",
            trigger: ".o_data_row:has(.badge.text-bg-danger:contains(异常)) td[name=name]",
            run: "click",
        },
        {
            content: "The account shows the checks in order",
            trigger: `${ROW}:contains(访问令牌) .badge.text-bg-success:contains(正常)`,
        },
        {
            content: "And the failed check with its reason",
            trigger: `${ROW}:contains(收件箱):contains(自动化规则):contains(ValueError)`,
        },
        {
            content: "One click opens the place to fix it",
            trigger: `${ROW}:contains(收件箱) button[name=action_open_fix]:contains(打开)`,
            run: "click",
        },
        {
            content: "The failed events of this account are listed",
            trigger: ".o_searchview_facet:contains(失败)",
        },
        {
            content: "There is one",
            trigger: ".o_data_row:contains(失败)",
        },
    ],
});
