import { Component, onMounted, onWillUnmount, xml } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { standardWidgetProps } from "@web/views/widgets/standard_widget_props";

const INTERVAL = 2000;

/** Reads the form's record again and again, as long as the widget is to be seen: while its message is on the way. */
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
