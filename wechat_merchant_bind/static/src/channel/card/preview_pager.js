import { Component } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardFieldProps } from "@web/views/fields/standard_field_props";

/** Goes through the records whose card is shown: the field is the number of the one in sight, from zero. */
export class WechatPreviewPager extends Component {
    static template = "wechat_merchant_bind.PreviewPager";
    static props = { ...standardFieldProps, countField: String, nameField: String };

    get index() {
        return this.props.record.data[this.props.name];
    }

    get count() {
        return this.props.record.data[this.props.countField];
    }

    get label() {
        return this.props.record.data[this.props.nameField];
    }

    /** @param {number} step how many records to go on, or back; after the last comes the first */
    go(step) {
        return this.props.record.update({ [this.props.name]: (this.index + step + this.count) % this.count });
    }
}

registry.category("fields").add("wechat_preview_pager", {
    component: WechatPreviewPager,
    supportedTypes: ["integer"],
    extractProps: ({ options }) => ({ countField: options.count_field, nameField: options.name_field }),
});
