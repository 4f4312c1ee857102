import { onWillDestroy, onWillStart } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { useService } from "@web/core/utils/hooks";
import { BadgeField, badgeField } from "@web/views/fields/badge/badge_field";
import { PARTNER_CHANGED } from "@wechat_merchant_bind/binding/bind_dialog/live_reload";
import { reloadRecord } from "./reload_queue";

const CLASSES = { bound: "text-bg-success", unfollowed: "text-bg-warning" };

/** Shows the binding state of a partner and follows its changes: scans, unfollows, unbinding. */
export class WechatStateBadge extends BadgeField {
    setup() {
        const bus = useService("bus_service");
        const onChanged = ({ ids }) => this.onPartnersChanged(ids);
        onWillStart(() => bus.subscribe(PARTNER_CHANGED, onChanged));
        // A badge that is destroyed before it was mounted is never unmounted.
        onWillDestroy(() => bus.unsubscribe(PARTNER_CHANGED, onChanged));
    }

    get badgeClass() {
        return CLASSES[this.props.record.data[this.props.name]] || "text-bg-300";
    }

    onPartnersChanged(ids) {
        if (ids.includes(this.props.record.resId)) {
            return reloadRecord(this.props.record);
        }
    }
}

registry.category("fields").add("wechat_state_badge", { ...badgeField, component: WechatStateBadge });
