import { Component, markRaw, onWillStart } from "@odoo/owl";
import { Notification } from "@mail/core/common/notification_model";
import { user } from "@web/core/user";
import { useService } from "@web/core/utils/hooks";
import { patch } from "@web/core/utils/patch";

/** What has become of a WeChat message to one recipient, and what can be done about it. */
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

    /** Calls a method of the newest message: the others were sent again already. */
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

// Other addons copy the popover's template for a component of theirs, which does not know this one: the notification
// brings it along. What a record returns is bound to it if it is a function, as a class is, so this is in an object.
const view = markRaw({ Component: WechatNotification });

patch(Notification.prototype, {
    get wechatView() {
        return this.isWechat ? view : null;
    },
});
