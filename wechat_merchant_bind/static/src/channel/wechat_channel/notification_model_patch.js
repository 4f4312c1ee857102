import { Notification } from "@mail/core/common/notification_model";
import { _t } from "@web/core/l10n/translation";
import { patch } from "@web/core/utils/patch";

// If the recipients of a message have different states, the message shows the most urgent one.
const BY_CONCERN = ["exception", "ready", "process", "pending", "canceled", "sent"];

/** @type {import("models").Notification} */
const notificationPatch = {
    get failureMessage() {
        switch (this.failure_type) {
            case "wechat_unbound":
                return _t("Not bound to WeChat");
            case "wechat_disabled":
                return _t("Merchant disabled");
            case "wechat_unfollowed":
                return _t("Unfollowed");
            case "wechat_blocked":
                return _t("Refused by the recipient");
            case "wechat_recipient":
                return _t("Unknown recipient");
            case "wechat_frequency":
                return _t("Too many messages to this recipient");
            case "wechat_template":
                return _t("Template not usable");
            case "wechat_value":
                return _t("Value not allowed");
            case "wechat_content":
                return _t("Content refused");
            case "wechat_account":
                return _t("Official Account not usable");
            case "wechat_system":
                return _t("WeChat could not deliver");
            case "wechat_receipt":
                return _t("Undelivered for another reason");
            case "wechat_refused":
                return _t("Refused by WeChat");
            case "wechat_request":
                return _t("Malformed request");
            case "wechat_expired":
                return _t("No longer valid");
            case "wechat_unknown":
                return _t("Result unknown");
            default:
                return super.failureMessage;
        }
    },
    get icon() {
        return this.isWechat ? "fa fa-weixin" : super.icon;
    },
    get label() {
        if (!this.isWechat) {
            return super.label;
        }
        const others = this.mail_message_id?.notification_ids.filter(({ isWechat }) => isWechat) || [];
        others.sort((a, b) => BY_CONCERN.indexOf(a.notification_status) - BY_CONCERN.indexOf(b.notification_status));
        return (others[0] || this).wechatState;
    },
    get statusTitle() {
        return this.isWechat ? this.wechatState : super.statusTitle;
    },
    get isWechat() {
        return this.notification_type === "wechat";
    },
    /** The delivery state as a label. */
    get wechatState() {
        switch (this.notification_status) {
            case "ready":
                return _t("To send");
            case "process":
                return _t("Sending");
            case "pending":
                return _t("Sent");
            case "sent":
                return _t("Delivered");
            case "canceled":
                return _t("Canceled");
        }
        return this.failure_type === "wechat_unknown" ? this.failureMessage : _t("Failed");
    },
};
patch(Notification.prototype, notificationPatch);
