import { Failure } from "@mail/core/common/failure_model";
import { _t } from "@web/core/l10n/translation";
import { patch } from "@web/core/utils/patch";

patch(Failure.prototype, {
    get iconSrc() {
        if (this.type === "wechat") {
            return "/wechat_merchant_bind/static/src/channel/wechat_channel/wechat_failure.svg";
        }
        return super.iconSrc;
    },
    get body() {
        if (this.type !== "wechat") {
            return super.body;
        }
        if (this.notifications.length === 1 && this.lastMessage?.thread) {
            return _t("A WeChat message on “%(record_name)s” did not arrive", {
                record_name: this.lastMessage.thread.display_name,
            });
        }
        return _t("WeChat messages did not arrive");
    },
});
