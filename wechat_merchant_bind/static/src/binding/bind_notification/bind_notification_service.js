import { ConfirmationDialog } from "@web/core/confirmation_dialog/confirmation_dialog";
import { _t } from "@web/core/l10n/translation";
import { registry } from "@web/core/registry";

export const TOAST = "wechat_merchant_bind/toast";
// Long enough to identify the WeChat user. Of many scans only the latest are shown.
const SHOWN_MS = 20000;
const SHOWN_AT_MOST = 3;

/**
 * Notifies the user that generated a code when it has bound a merchant or its scan waits for a confirmation.
 */
export const bindNotificationService = {
    dependencies: ["action", "bus_service", "dialog", "notification", "orm"],

    start(env, { action, bus_service: bus, dialog, notification, orm }) {
        const shown = [];

        function show(message, options) {
            const close = notification.add(message, {
                autocloseDelay: SHOWN_MS,
                ...options,
                onClose: () => shown.splice(shown.indexOf(close), 1),
            });
            shown.push(close);
            if (shown.length > SHOWN_AT_MOST) {
                shown[0]();
            }
            return close;
        }

        function open(resModel, resId) {
            return action.doAction({
                type: "ir.actions.act_window",
                res_model: resModel,
                res_id: resId,
                views: [[false, "form"]],
            });
        }

        function askToUndo(partner, name) {
            dialog.add(ConfirmationDialog, {
                title: _t("Undo Binding"),
                body: _t("The WeChat of %s will be unbound at once and receive no more notices. Undo the binding?", name),
                confirmLabel: _t("Undo Binding"),
                confirmClass: "btn-danger",
                confirm: async () => {
                    await orm.call("res.partner", "action_wechat_undo_bind", [[partner]]);
                    notification.add(_t("%s is no longer bound to WeChat.", name), { type: "success" });
                },
                cancelLabel: _t("Cancel"),
                cancel: () => {},
            });
        }

        function showBinding({ partner_id: [partner, name], openid_masked: openid, can_undo: canUndo }) {
            const view = { name: _t("View"), primary: true, onClick: () => close() || open("res.partner", partner) };
            const undo = { name: _t("Undo Binding"), onClick: () => close() || askToUndo(partner, name) };
            const close = show(_t("%(name)s is now bound to WeChat (%(openid)s)", { name, openid }), {
                type: "success",
                buttons: canUndo ? [view, undo] : [view],
            });
        }

        function showRequest({ id, partner_id: [, name], openid_masked: openid }) {
            const view = { name: _t("View"), primary: true, onClick: () => close() || open("wechat.bind.request", id) };
            const message = _t("Somebody has scanned the code of %(name)s (%(openid)s) and waits for the confirmation", {
                name,
                openid,
            });
            const close = show(message, { type: "warning", buttons: [view] });
        }

        const kinds = {
            "wechat.binding": { fields: ["partner_id", "openid_masked", "can_undo"], live: "bound", show: showBinding },
            "wechat.bind.request": { fields: ["partner_id", "openid_masked"], live: "pending", show: showRequest },
        };

        bus.subscribe(TOAST, async ({ model, id }) => {
            const { fields, live, show: showKind } = kinds[model];
            // Records that are no longer readable, or have another state by now, are not shown.
            const [record] = await orm.silent.searchRead(
                model,
                [
                    ["id", "=", id],
                    ["state", "=", live],
                ],
                fields
            );
            if (record) {
                showKind(record);
            }
        });
        bus.start();
    },
};

registry.category("services").add("wechat_bind_notification", bindNotificationService);
