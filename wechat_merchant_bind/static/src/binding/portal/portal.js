import { Interaction } from "@web/public/interaction";
import { registry } from "@web/core/registry";

const POLL_MS = 3000;

/** Reloads the merchant's own page when its binding or its code has changed. */
export class WechatPortal extends Interaction {
    static selector = ".o_wechat_portal";

    start() {
        this.waitForTimeout(() => this.poll(), POLL_MS);
    }

    async poll() {
        // An open dialog is kept, and a hidden page does not poll.
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
            // Offline: keep the page and poll again later.
            return null;
        }
    }
}

/** Opens the page without the notice of the last action. */
function browserReload() {
    window.location.replace(window.location.pathname);
}

registry.category("public.interactions").add("wechat_merchant_bind.portal", WechatPortal);
