import { registry } from "@web/core/registry";

registry.category("web_tour.tours").add("wechat_merchant_bind.composer", {
    steps: () => [
        {
            content: "Select all merchants",
            trigger: "thead .o_list_record_selector input",
            run: "click",
        },
        {
            content: "Open the Action menu",
            trigger: ".o_cp_action_menus .dropdown-toggle:has(.fa-cog)",
            run: "click",
        },
        {
            content: "Notify them",
            trigger: ".o-dropdown-item:contains(/^发送微信通知$/)",
            run: "click",
        },
        {
            content: "The only template is chosen, one merchant gets it",
            trigger: ".modal .o_field_widget[name=reached_count]:contains(/^1$/)",
        },
        {
            content: "Others don't, and the dialog says why",
            trigger: ".modal .o_field_widget[name=unreached_reasons]:contains(未绑定)",
        },
        {
            content: "Look at the card of the next merchant",
            trigger: ".modal .o_wechat_preview_pager .fa-chevron-right",
            run: "click",
        },
        {
            content: "The card has changed",
            trigger: ".modal .o_wechat_preview_pager:contains(2 /)",
        },
        {
            content: "Send",
            trigger: ".modal button[name=action_send]:contains(发送)",
            run: "click",
        },
        {
            content: "It says how many are on their way",
            trigger: "body:not(:has(.modal)) .o_notification:contains(1 条消息已进入发件箱)",
        },
    ],
});
