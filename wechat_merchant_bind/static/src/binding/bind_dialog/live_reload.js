import { Component, onMounted, onWillUnmount } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { useService } from "@web/core/utils/hooks";
import { standardWidgetProps } from "@web/views/widgets/standard_widget_props";
import { reloadRecord } from "../wechat_state_badge/reload_queue";

export const PARTNER_CHANGED = "wechat_merchant_bind/partner";

/**
 * Reloads the form's record when the binding of its partner changes, unless it has unsaved edits.
 */
export class WechatLiveReload extends Component {
    static template = "wechat_merchant_bind.LiveReload";
    static props = { ...standardWidgetProps };

    setup() {
        const bus = useService("bus_service");
        const onChanged = (payload) => this.onPartnerChanged(payload);
        onMounted(() => bus.subscribe(PARTNER_CHANGED, onChanged));
        onWillUnmount(() => bus.unsubscribe(PARTNER_CHANGED, onChanged));
    }

    onPartnerChanged({ ids }) {
        const { record } = this.props;
        if (ids.includes(record.data.partner_id?.id)) {
            return reloadRecord(record);
        }
    }
}

registry.category("view_widgets").add("wechat_live_reload", { component: WechatLiveReload });
