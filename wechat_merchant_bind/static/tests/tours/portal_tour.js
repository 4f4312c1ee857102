import { registry } from "@web/core/registry";

const PAGE = ".o_wechat_portal section";

registry.category("web_tour.tours").add("wechat_merchant_bind.portal_code", {
    url: "/my",
    steps: () => [
        {
            content: "The merchant's home leads to its page",
            trigger: ".o_portal_docs a[href='/my/wechat']:contains(微信通知)",
            run: "click",
            expectUnloadPage: true,
        },
        {
            content: "It is not bound, and makes its code",
            trigger: `${PAGE}[data-state=unbound]:contains(未绑定) button:contains(生成绑定码)`,
            run: "click",
            expectUnloadPage: true,
        },
        {
            content: "It sees the picture, whole",
            trigger: `${PAGE}[data-state=waiting] img.o_wechat_portal_code`,
            async run({ anchor }) {
                await anchor.decode();
                if (anchor.naturalWidth < 280) {
                    throw new Error(`The picture is ${anchor.naturalWidth} pixels wide`);
                }
            },
        },
    ],
});

registry.category("web_tour.tours").add("wechat_merchant_bind.portal_unbind", {
    url: "/my/wechat",
    steps: () => [
        {
            content: "Unbind",
            trigger: `${PAGE}[data-state=bound] button:contains(解除绑定)`,
            run: "click",
        },
        {
            content: "It is asked once, in words",
            trigger: ".modal.show:contains(不再收到通知) button[type=submit]:contains(解除绑定)",
            run: "click",
            expectUnloadPage: true,
        },
        {
            content: "It is told, and may begin again",
            trigger: `.o_wechat_portal:contains(已解除绑定) section[data-state=unbound] button:contains(生成绑定码)`,
        },
    ],
});
