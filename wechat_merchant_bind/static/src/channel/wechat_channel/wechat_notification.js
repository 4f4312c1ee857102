import { Component, markRaw, onWillStart } from "@odoo/owl";
import { Notification } from "@mail/core/common/notification_model";
import { user } from "@web/core/user";
import { useService } from "@web/core/utils/hooks";
import { patch } from "@web/core/utils/patch";

/** The delivery state of a WeChat message to a recipient, with the actions on a failure. */
export class WechatNotification extends Component {
    static template = "wechat_merchant_bind.WechatNotification";
    static props = { notification: Object, close: { type: Function, optional: true } };

    setup() {
        this.action = useService("action");
        this.orm = useService("orm");
        onWillStart(async () => {
            this.maySend = await user.hasGroup("wechat_merchant_bind.group_user");
        });
    }

    onClickResend() {
        return this.call("action_resend");
    }

    onClickIgnore() {
        return this.call("action_ignore");
    }

    /** Calls a method of the newest message, since the older ones were sent again. */
    async call(method) {
        const domain = [["notification_id", "=", this.props.notification.id]];
        const messageIds = await this.orm.search("wechat.message", domain);
        const action = await this.orm.call("wechat.message", method, [Math.max(...messageIds)]);
        this.props.close?.();
        if (action instanceof Object) {
            await this.action.doAction(action);
        }
    }
}

// Other addons use copies of the popover's template in components that do not register this one, so the notification
// provides it. It is in an object since a record binds the functions that it returns, and a class is a function.
const view = markRaw({ Component: WechatNotification });

patch(Notification.prototype, {
    get wechatView() {
        return this.isWechat ? view : null;
    },
});
