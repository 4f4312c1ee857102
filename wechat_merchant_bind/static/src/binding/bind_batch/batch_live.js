import { Component, onMounted, onWillUnmount, xml } from "@odoo/owl";
import { browser } from "@web/core/browser/browser";
import { registry } from "@web/core/registry";
import { useService } from "@web/core/utils/hooks";
import { standardWidgetProps } from "@web/views/widgets/standard_widget_props";

export const BATCH_CHANGED = "wechat_merchant_bind/batch";
// For connections without a bus, such as behind a proxy without websockets.
export const POLL_MS = 5000;

/**
 * Reloads the form of a running bulk generation. Notifications during a reload cause one more reload.
 */
export class WechatBatchLive extends Component {
    static template = xml``;
    static props = { ...standardWidgetProps };

    setup() {
        const bus = useService("bus_service");
        const onChanged = ({ id }) => id === this.props.record.resId && this.reload();
        this.isReading = false;
        this.isOutdated = false;
        onMounted(() => {
            bus.subscribe(BATCH_CHANGED, onChanged);
            this.timer = browser.setInterval(() => this.poll(), POLL_MS);
        });
        onWillUnmount(() => {
            browser.clearInterval(this.timer);
            bus.unsubscribe(BATCH_CHANGED, onChanged);
        });
    }

    poll() {
        if (this.props.record.data.is_active && document.visibilityState === "visible") {
            this.reload();
        }
    }

    async reload() {
        this.isOutdated = true;
        if (this.isReading) {
            return;
        }
        this.isReading = true;
        try {
            while (this.isOutdated) {
                this.isOutdated = false;
                await this.props.record.load();
            }
        } finally {
            this.isReading = false;
        }
    }
}

registry.category("view_widgets").add("wechat_batch_live", { component: WechatBatchLive });
