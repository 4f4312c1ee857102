import { registry } from "@web/core/registry";

const ROW = ".o_data_row:contains(杭州西湖茶庄)";
const DIALOG = ".modal:has(.o_wechat_bind_dialog)";
const CONFIRMATION = ".modal:not(:has(.o_wechat_bind_dialog))";

registry.category("web_tour.tours").add("wechat_merchant_bind.approval", {
    steps: () => [
        {
            content: "The list shows the waiting requests and how to confirm them",
            trigger: `${ROW}:contains(待确认):contains(人工确认) button[name=action_reject]:contains(拒绝)`,
            run: "click",
        },
        {
            content: "It is asked once",
            trigger: `${CONFIRMATION}:contains(不会被绑定) .modal-footer .btn-primary`,
            run: "click",
        },
        {
            content: "One is left; open the merchant's list",
            trigger: `body:not(:has(.modal)):not(:has(.o_data_row ~ .o_data_row.o_data_row)) .o_menu_sections [data-menu-xmlid="wechat_merchant_bind.wechat_merchant_menu"]`,
            run: "click",
        },
        {
            content: "Open the merchant's code",
            trigger: `${ROW} button[name=action_wechat_bind_code]`,
            run: "click",
        },
        {
            content: "The dialog shows the waiting request and still the code",
            trigger: `${DIALOG}:has(.o_wechat_qr img) .o_field_widget[name=state]:contains(待确认)`,
        },
        {
            content: "Accept",
            trigger: `${DIALOG} ${ROW.replace(":contains(杭州西湖茶庄)", "")} button[name=action_accept]:contains(通过)`,
            run: "click",
        },
        {
            content: "It is asked once",
            trigger: `${CONFIRMATION}:contains(接收其通知) .modal-footer .btn-primary`,
            run: "click",
        },
        {
            content: "The dialog turns to bound",
            trigger: `${DIALOG} .o_field_widget[name=state]:contains(已绑定)`,
        },
        {
            content: "Close it",
            trigger: `${DIALOG} button:contains(关闭)`,
            run: "click",
        },
        {
            content: "Open the merchant",
            trigger: `body:not(:has(.modal)) ${ROW} td[name=complete_name]`,
            run: "click",
        },
        {
            content: "Undo the fresh binding",
            trigger: ".o_form_view button[name=action_wechat_undo_bind]:contains(撤销绑定)",
            run: "click",
        },
        {
            content: "It is asked once",
            trigger: ".modal:contains(立即解除绑定) .modal-footer .btn-primary",
            run: "click",
        },
        {
            content: "The form offers a new code",
            trigger: "body:not(:has(.modal)) .o_form_view button[name=action_wechat_bind_code]:contains(生成绑定码)",
        },
    ],
});
