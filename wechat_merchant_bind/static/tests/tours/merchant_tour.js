import { registry } from "@web/core/registry";

const ROW = ".o_data_row:contains(杭州西湖茶庄)";
const IN_PEACE = "body:not(:has(.modal))";

registry.category("web_tour.tours").add("wechat_merchant_bind.disable", {
    steps: () => [
        {
            content: "The list shows the merchant's login and that all is well",
            trigger: `${ROW}:has([name=wechat_login]:contains(shop_owner)) [name=wechat_account_status] .badge:contains(正常)`,
        },
        {
            content: "See the merchant",
            trigger: `${ROW} button[name=action_wechat_view]:contains(查看)`,
            run: "click",
        },
        {
            content: "The dialog tells all and lets nothing be changed",
            trigger: ".modal:has([name=wechat_login]:contains(shop_owner)):not(:has(.o_form_view input))",
        },
        {
            content: "Close it",
            trigger: ".modal .modal-footer button:contains(关闭)",
            run: "click",
        },
        {
            content: "Disable the merchant",
            trigger: `${IN_PEACE} ${ROW} button[name=action_wechat_disable]:contains(禁用)`,
            run: "click",
        },
        {
            content: "It is asked once, and told what this does",
            trigger: ".modal:contains(门户用户不能再登录) .modal-footer .btn-primary",
            run: "click",
        },
        {
            content: "The row says so, and offers to enable it but no code",
            trigger: `${IN_PEACE} ${ROW}:has([name=wechat_account_status]:contains(禁用)):not(:has(button[name=action_wechat_bind_code])) button[name=action_wechat_enable]:contains(启用)`,
        },
    ],
});

registry.category("web_tour.tours").add("wechat_merchant_bind.enable", {
    steps: () => [
        {
            content: "Edit the disabled merchant",
            trigger: `${ROW} button[name=action_wechat_edit]:contains(编辑)`,
            run: "click",
        },
        {
            content: "Enable it",
            trigger: ".o_form_view button[name=action_wechat_enable]:contains(启用)",
            run: "click",
        },
        {
            content: "It is asked once",
            trigger: ".modal:contains(启用商家) .modal-footer .btn-primary",
            run: "click",
        },
        {
            content: "The form offers a code again",
            trigger: `${IN_PEACE} .o_form_view button[name=action_wechat_bind_code]:contains(生成绑定码)`,
        },
        {
            content: "And to disable it",
            trigger: ".o_form_view button[name=action_wechat_disable]:contains(禁用)",
        },
    ],
});

registry.category("web_tour.tours").add("wechat_merchant_bind.replace", {
    steps: () => [
        {
            content: "Open the bound merchant",
            trigger: `${ROW}:has(.badge:contains(已绑定)) td[name=complete_name]`,
            run: "click",
        },
        {
            content: "Its WeChat tab",
            trigger: ".o_notebook a[name=wechat]",
            run: "click",
        },
        {
            content: "The OpenID is masked",
            trigger: ".o_field_widget[name=wechat_openid_masked]:contains(…)",
        },
        {
            content: "Have it shown",
            trigger: "button[name=action_wechat_reveal_openid]:contains(查看完整)",
            run: "click",
        },
        {
            content: "The dialog shows all of it",
            trigger: ".modal .o_field_widget[name=openid]:contains(/oTest-[0-9]{22}/)",
        },
        {
            content: "Close it",
            trigger: ".modal .modal-footer button:contains(关闭)",
            run: "click",
        },
        {
            content: "Another WeChat",
            trigger: `${IN_PEACE} button[name=action_wechat_replace]:contains(更换微信)`,
            run: "click",
        },
        {
            content: "Say why",
            trigger: ".modal .o_field_widget[name=reason] input",
            run: "edit 店主换号",
        },
        {
            content: "In one step",
            trigger: ".modal button[name=action_replace]:contains(解除绑定并生成绑定码)",
            run: "click",
        },
        {
            content: "The new code waits",
            trigger: ".modal .o_wechat_bind_dialog .o_field_widget[name=state]:contains(等待扫码)",
        },
        {
            content: "The picture has an alternative text",
            trigger: ".modal .o_wechat_qr img[alt=微信绑定码]",
        },
        {
            content: "Close it",
            trigger: ".modal .modal-footer button:contains(关闭)",
            run: "click",
        },
        {
            content: "The history shows the former binding",
            trigger: `${IN_PEACE} [name=wechat_binding_ids] .o_data_row:contains(店主换号)`,
        },
    ],
});
