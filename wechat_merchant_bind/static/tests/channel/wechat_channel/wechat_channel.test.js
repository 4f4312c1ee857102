import { click, contains, mailModels, openFormView, start, startServer, triggerEvents } from "@mail/../tests/mail_test_helpers";
import { Message } from "@mail/core/common/message";
import { describe, test } from "@odoo/hoot";
import { Component } from "@odoo/owl";
import { asyncStep, defineModels, fields, mockService, models, onRpc, patchWithCleanup, serverState, waitForSteps } from "@web/../tests/web_test_helpers";

describe.current.tags("desktop");

class WechatMessage extends models.Model {
    _name = "wechat.message";

    notification_id = fields.Many2one({ relation: "mail.notification" });
}

// Hoot's mock of mail knows the fields of mail. The addon adds these.
class MailNotification extends mailModels.MailNotification {
    get _to_store_defaults() {
        return [...super._to_store_defaults, "failure_reason"];
    }
}

defineModels({ ...mailModels, MailNotification, WechatMessage });

/** Creates a message with one notification; its author is the user. */
function createNotification(pyEnv, notification, message = {}) {
    const partnerId = pyEnv["res.partner"].create({ name: "杭州西湖茶庄", partner_share: true });
    const messageId = pyEnv["mail.message"].create({
        author_id: serverState.partnerId,
        body: "not empty",
        message_type: notification.notification_type,
        model: "res.partner",
        res_id: partnerId,
        ...message,
    });
    const notificationId = pyEnv["mail.notification"].create({
        author_id: serverState.partnerId,
        mail_message_id: messageId,
        notification_type: "wechat",
        res_partner_id: partnerId,
        ...notification,
    });
    return { notificationId, partnerId, messageId };
}

for (const [values, label, icon] of [
    [{ notification_status: "ready" }, "To send", "fa-send-o"],
    [{ notification_status: "process" }, "Sending", "fa-hourglass-half"],
    [{ notification_status: "pending" }, "Sent", "fa-paper-plane-o"],
    [{ notification_status: "sent" }, "Delivered", "fa-check"],
    [{ notification_status: "canceled", failure_type: "wechat_unbound" }, "Canceled", "fa-trash-o"],
    [{ notification_status: "exception", failure_type: "wechat_unfollowed" }, "Failed", "fa-times"],
    [{ notification_status: "exception", failure_type: "wechat_unknown" }, "Result unknown", "fa-times"],
]) {
    test(`a message that is: ${label}`, async () => {
        const pyEnv = await startServer();
        const { partnerId } = createNotification(pyEnv, { notification_type: "wechat", ...values });
        await start();
        await openFormView("res.partner", partnerId);
        await contains(".o-mail-Message-notification i.fa-weixin");
        await contains(".o-mail-Message-notification", { text: label });
        await click(".o-mail-Message-notification");
        await contains(`.o-mail-MessageNotificationPopover i.${icon}[title='${label}']`);
        await contains(".o-mail-MessageNotificationPopover", { text: "杭州西湖茶庄" });
    });
}

test("a message that failed for one recipient is shown as failed", async () => {
    const pyEnv = await startServer();
    const { messageId, partnerId } = createNotification(pyEnv, { notification_status: "sent" });
    pyEnv["mail.notification"].create({
        mail_message_id: messageId,
        notification_type: "wechat",
        notification_status: "exception",
        failure_type: "wechat_unfollowed",
        res_partner_id: serverState.partnerId,
    });
    await start();
    await openFormView("res.partner", partnerId);
    await contains(".o-mail-Message-notification.text-danger", { text: "Failed" });
});

test("the popover shows the reason, and sends again or ignores", async () => {
    const pyEnv = await startServer();
    const { notificationId, partnerId } = createNotification(pyEnv, {
        notification_type: "wechat",
        notification_status: "exception",
        failure_type: "wechat_unfollowed",
        failure_reason: "The merchant has unfollowed.",
    });
    pyEnv["wechat.message"].create([{ notification_id: notificationId }, { notification_id: notificationId }]);
    onRpc("has_group", () => true);
    for (const method of ["action_resend", "action_ignore"]) {
        onRpc("wechat.message", method, ({ args }) => {
            asyncStep(`${method} ${args[0]}`);
            return true;
        });
    }
    await start();
    await openFormView("res.partner", partnerId);
    for (const [button, step] of [
        ["Send Again", "action_resend 2"],
        ["Ignore", "action_ignore 2"],
    ]) {
        await click(".o-mail-Message-notification");
        await contains(".o-mail-MessageNotificationPopover", { text: "(Unfollowed)" });
        await contains(".o_wechat_notification_reason", { text: "The merchant has unfollowed." });
        await click(".o-mail-MessageNotificationPopover button", { text: button });
        await waitForSteps([step]);
        await contains(".o-mail-MessageNotificationPopover", { count: 0 });
    }
});

test("a copy of the popover in another addon shows the same", async () => {
    class OtherPopover extends Component {
        static template = "mail.MessageNotificationPopover";
        static props = ["message", "close?"];
    }
    patchWithCleanup(Message.components, { Popover: OtherPopover });
    const pyEnv = await startServer();
    const { partnerId } = createNotification(pyEnv, {
        notification_type: "wechat",
        notification_status: "exception",
        failure_type: "wechat_unbound",
        failure_reason: "The merchant is not bound.",
    });
    await start();
    await openFormView("res.partner", partnerId);
    await click(".o-mail-Message-notification");
    await contains(".o_wechat_notification_reason", { text: "The merchant is not bound." });
});

test("without the right to send the popover has no buttons", async () => {
    const pyEnv = await startServer();
    const { partnerId } = createNotification(pyEnv, {
        notification_type: "wechat",
        notification_status: "exception",
        failure_type: "wechat_unbound",
        failure_reason: "The merchant is not bound.",
    });
    onRpc("has_group", () => false);
    await start();
    await openFormView("res.partner", partnerId);
    await click(".o-mail-Message-notification");
    await contains(".o_wechat_notification_reason", { text: "The merchant is not bound." });
    await contains(".o-mail-MessageNotificationPopover button", { count: 0 });
});

for (const order of [
    ["sms", "wechat", "email"],
    ["wechat", "sms", "email"],
]) {
    test(`each failure opens its own list: ${order}`, async () => {
        const pyEnv = await startServer();
        for (const notification_type of [...order, ...order]) {
            // Of two documents, since the failure of a single one would open it.
            createNotification(pyEnv, { notification_type, notification_status: "exception" });
        }
        mockService("action", {
            doAction({ name, domain }) {
                asyncStep(`${name} ${domain[0][0]}`);
            },
        });
        await start();
        for (const [text, step] of [
            ["WeChat Failure: Contact", "WeChat Failures message_has_wechat_error"],
            ["SMS Failure: Contact", "SMS Failures message_has_sms_error"],
            ["Email Failure: Contact", "Mail Failures message_has_error"],
        ]) {
            await click(".o_menu_systray i[aria-label='Messages']");
            await click(".o-mail-NotificationItem", { text });
            await waitForSteps([step]);
        }
    });
}

test("the failures of a model are removed from the menu", async () => {
    const pyEnv = await startServer();
    createNotification(pyEnv, { notification_type: "wechat", notification_status: "exception" });
    onRpc("res.partner", "notify_cancel_by_type", ({ kwargs }) => {
        asyncStep(kwargs.notification_type);
        return true;
    });
    await start();
    await click(".o_menu_systray i[aria-label='Messages']");
    await contains(".o-mail-NotificationItem-text", { text: "A WeChat message on “杭州西湖茶庄” did not arrive" });
    await triggerEvents(".o-mail-NotificationItem", ["mouseenter"], { text: "" });
    await click(".o-mail-NotificationItem [title='Mark As Read']");
    await waitForSteps(["wechat"]);
});
