import { registry } from "@web/core/registry";

const ROW = ".o_field_widget[name=health_ids] .o_data_row";

registry.category("web_tour.tours").add("wechat_merchant_bind.health", {
    steps: () => [
        {
            content: "The list of accounts says which one needs somebody",
            trigger: ".o_data_row:has(.badge.text-bg-danger:contains(异常)) td[name=name]",
            run: "click",
        },
        {
            content: "The account shows what is in order",
            trigger: `${ROW}:contains(访问令牌) .badge.text-bg-success:contains(正常)`,
        },
        {
            content: "And what is not, and why",
            trigger: `${ROW}:contains(收件箱):contains(自动化规则):contains(ValueError)`,
        },
        {
            content: "One click leads to where it is mended",
            trigger: `${ROW}:contains(收件箱) button[name=action_mend]:contains(打开)`,
            run: "click",
        },
        {
            content: "That is the events of this account that failed",
            trigger: ".o_searchview_facet:contains(失败)",
        },
        {
            content: "There is one",
            trigger: ".o_data_row:contains(失败)",
        },
    ],
});
