import { Component, onMounted, onWillUnmount, xml } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardWidgetProps } from "@web/views/widgets/standard_widget_props";

const INTERVAL = 2000;

/** Reloads the form's record every two seconds while the widget is visible, that is, until the message has arrived. */
export class WechatPoll extends Component {
    static template = xml``;
    static props = { ...standardWidgetProps };

    setup() {
        let timer;
        onMounted(() => (timer = setInterval(() => this.props.record.load(), INTERVAL)));
        onWillUnmount(() => clearInterval(timer));
    }
}

registry.category("view_widgets").add("wechat_poll", { component: WechatPoll });
