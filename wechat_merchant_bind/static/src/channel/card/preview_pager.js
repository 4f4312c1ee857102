import { Component } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardFieldProps } from "@web/views/fields/standard_field_props";

/** Pages through the records of a preview. The field holds the index of the current record. */
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

    /** @param {number} step number of records to move by, negative to move back; wraps around */
    go(step) {
        return this.props.record.update({ [this.props.name]: (this.index + step + this.count) % this.count });
    }
}

registry.category("fields").add("wechat_preview_pager", {
    component: WechatPreviewPager,
    supportedTypes: ["integer"],
    extractProps: ({ options }) => ({ countField: options.count_field, nameField: options.name_field }),
});
