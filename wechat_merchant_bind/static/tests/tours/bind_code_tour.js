import { registry } from "@web/core/registry";

const ROW = ".o_data_row:contains(杭州西湖茶庄)";
const DIALOG = ".modal:has(.o_wechat_bind_dialog)";

let picture, copied;

registry.category("web_tour.tours").add("wechat_merchant_bind.bind_code", {
    steps: () => [
        {
            content: "Look for the merchants that are not bound",
            trigger: ".o_searchview_dropdown_toggler",
            run: "click",
        },
        {
            content: "The filter is named as the badge is",
            trigger: ".o_filter_menu .o_menu_item:contains(/^未绑定$/)",
            run: "click",
        },
        {
            content: "The list has applied it",
            trigger: ".o_searchview_facet:contains(未绑定)",
        },
        {
            content: "The list offers a code for the merchant that has none",
            trigger: `${ROW} button[name=action_wechat_bind_code]:contains(生成绑定码)`,
            run: "click",
        },
        {
            content: "The dialog waits for the scan",
            trigger: `${DIALOG} .o_field_widget[name=state]:contains(等待扫码)`,
        },
        {
            content: "It names the merchant",
            trigger: `${DIALOG} .o_field_widget[name=merchant]:contains(杭州西湖茶庄)`,
        },
        {
            content: "It says how long the code is valid and what to do then",
            trigger: `${DIALOG} .o_field_widget[name=expiry]:contains(30)`,
        },
        {
            content: "It shows the picture",
            trigger: `${DIALOG} .o_wechat_qr img`,
            run({ anchor }) {
                picture = anchor.src;
            },
        },
        {
            content: "Copy the link",
            trigger: `${DIALOG} .o_clipboard_button:contains(复制链接)`,
            async run({ click }) {
                // A headless browser has no clipboard.
                const { clipboard } = navigator;
                Object.defineProperty(navigator, "clipboard", {
                    configurable: true,
                    value: { writeText: async (text) => (copied = text) },
                });
                await click();
                Object.defineProperty(navigator, "clipboard", { configurable: true, value: clipboard });
                if (!copied.includes("/wechat/bind/")) {
                    throw new Error(`The copied link is ${copied}`);
                }
            },
        },
        {
            content: "Download the picture",
            trigger: `${DIALOG} button[name=action_download]:contains(下载图片)`,
            run: "click",
        },
        {
            content: "Generate the code again",
            trigger: `${DIALOG} button[name=action_regenerate]:contains(重新生成)`,
            run: "click",
        },
        {
            content: "It is asked once",
            trigger: ".modal:not(:has(.o_wechat_bind_dialog)) .modal-footer .btn-primary",
            run: "click",
        },
        {
            content: "The dialog shows another picture",
            trigger: `${DIALOG} .o_wechat_qr img`,
            async run({ waitUntil }) {
                await waitUntil(
                    () => document.querySelector(`.o_wechat_bind_dialog .o_wechat_qr img`)?.src !== picture,
                    { timeout: 5000 }
                );
            },
        },
        {
            content: "Close the dialog",
            trigger: `${DIALOG} button:contains(关闭)`,
            run: "click",
        },
        {
            content: "The merchant can be seen in the list",
            trigger: `body:not(:has(.modal)) ${ROW}`,
        },
    ],
});

registry.category("web_tour.tours").add("wechat_merchant_bind.bound", {
    steps: () => [
        {
            content: "The list says that the merchant is bound and offers no code",
            trigger: `${ROW}:has(.o_field_widget[name=wechat_state]:contains(已绑定)):not(:has(button[name=action_wechat_bind_code]))`,
        },
        {
            content: "Open the merchant",
            trigger: `${ROW} td[name=complete_name]`,
            run: "click",
        },
        {
            content: "Its WeChat tab",
            trigger: ".o_notebook a[name=wechat]:contains(微信)",
            run: "click",
        },
        {
            content: "Unbind it",
            trigger: "button[name=action_wechat_unbind_dialog]:contains(解除)",
            run: "click",
        },
        {
            content: "Say why",
            trigger: ".modal .o_field_widget[name=reason] input",
            run: "edit 换手机",
        },
        {
            content: "Confirm",
            trigger: ".modal button[name=action_unbind]",
            run: "click",
        },
        {
            content: "The form offers a new code",
            trigger: "body:not(:has(.modal)) .o_form_view button[name=action_wechat_bind_code]:contains(生成绑定码)",
        },
    ],
});
