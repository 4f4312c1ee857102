import { Interaction } from "@web/public/interaction";
import { registry } from "@web/core/registry";

const POLL_MS = 3000;

/** Reloads the merchant's own page as soon as its binding or its code is another one. */
export class WechatPortal extends Interaction {
    static selector = ".o_wechat_portal";

    start() {
        this.waitForTimeout(() => this.poll(), POLL_MS);
    }

    async poll() {
        // An open dialog is not taken away, and nobody asks for a page that nobody looks at.
        if (!document.hidden && !this.el.querySelector(".modal.show")) {
            const version = await this.waitFor(this.fetchVersion());
            if (version && version !== this.el.dataset.version) {
                browserReload();
                return;
            }
        }
        this.waitForTimeout(() => this.poll(), POLL_MS);
    }

    async fetchVersion() {
        try {
            const response = await fetch("/my/wechat/state", { cache: "no-store" });
            return (await response.json()).version;
        } catch {
            // Without a network the page is still right: ask again later.
            return null;
        }
    }
}

/** Opens the page anew, without what the last action came to. */
function browserReload() {
    window.location.replace(window.location.pathname);
}

registry.category("public.interactions").add("wechat_merchant_bind.portal", WechatPortal);
