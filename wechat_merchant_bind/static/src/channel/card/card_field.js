import { Component } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardFieldProps } from "@web/views/fields/standard_field_props";

/**
 * A card as the phone shows it. The value is what a message keeps of its card, and where somebody is about to send it
 * also its time and what is wrong with it.
 */
export class WechatCardField extends Component {
    static template = "wechat_merchant_bind.CardField";
    static props = { ...standardFieldProps };

    get card() {
        return this.props.record.data[this.props.name];
    }

    /** Whether a touch on the card leads somewhere. */
    get isLink() {
        return Boolean(this.card.url || this.card.miniprogram?.appid);
    }
}

registry.category("fields").add("wechat_card", { component: WechatCardField, supportedTypes: ["json"] });
