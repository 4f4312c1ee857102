import { MessagingMenu } from "@mail/core/public_web/messaging_menu";
import { _t } from "@web/core/l10n/translation";
import { patch } from "@web/core/utils/patch";

// The patch of sms handles every failure that is not an e-mail's, so this patch must come first. The load order ensures
// it: the addon depends on sms through base_automation.
patch(MessagingMenu.prototype, {
    openFailureView(failure) {
        if (failure.type !== "wechat") {
            return super.openFailureView(failure);
        }
        this.env.services.action.doAction({
            name: _t("WeChat Failures"),
            type: "ir.actions.act_window",
            view_mode: "kanban,list,form",
            views: [
                [false, "kanban"],
                [false, "list"],
                [false, "form"],
            ],
            target: "current",
            res_model: failure.resModel,
            domain: [["message_has_wechat_error", "=", true]],
            context: { create: false },
        });
        this.dropdown.close();
    },
    getFailureNotificationName(failure) {
        if (failure.type === "wechat") {
            return _t("WeChat Failure: %(modelName)s", { modelName: failure.modelName });
        }
        return super.getFailureNotificationName(...arguments);
    },
});
