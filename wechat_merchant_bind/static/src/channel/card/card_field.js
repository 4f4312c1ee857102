import { Component } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardFieldProps } from "@web/views/fields/standard_field_props";

/**
 * Shows a card as the phone does. The value is the card of a message; before sending it also holds the time and the
 * problems of the card.
 */
export class WechatCardField extends Component {
    static template = "wechat_merchant_bind.CardField";
    static props = { ...standardFieldProps };

    get card() {
        return this.props.record.data[this.props.name];
    }

    /** Whether the card opens a page or a mini program. */
    get isLink() {
        return Boolean(this.card.url || this.card.miniprogram?.appid);
    }
}

registry.category("fields").add("wechat_card", { component: WechatCardField, supportedTypes: ["json"] });
