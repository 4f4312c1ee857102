import { Deferred } from "@odoo/hoot";
import { Component, onWillStart, xml } from "@odoo/owl";
import {
    asyncStep,
    getMockEnv,
    getService,
    makeMockEnv,
    mountWithCleanup,
    patchWithCleanup,
    waitForSteps,
} from "@web/../tests/web_test_helpers";
import { registry } from "@web/core/registry";
import { WebClient } from "@web/webclient/webclient";

/**
 * Records the listeners of a bus notification.
 *
 * @param {string} type of the notification
 * @returns {Promise<Set<Function>>} the current listeners, kept up to date
 */
export async function noteListeners(type) {
    if (!getMockEnv()) {
        await makeMockEnv();
    }
    const listeners = new Set();
    patchWithCleanup(getService("bus_service"), {
        subscribe(name, listener) {
            super.subscribe(name, listener);
            if (name === type) {
                listeners.add(listener);
            }
        },
        unsubscribe(name, listener) {
            super.unsubscribe(name, listener);
            if (name === type) {
                listeners.delete(listener);
            }
        },
    });
    return listeners;
}

/** A widget that never finishes loading, so that a view with `<widget name="endless"/>` does not either. */
class Endless extends Component {
    static props = ["*"];
    static template = xml``;

    setup() {
        onWillStart(() => {
            asyncStep("loading");
            return new Deferred();
        });
    }
}

class Elsewhere extends Component {
    static props = ["*"];
    static template = xml`<div class="elsewhere"/>`;
}

/**
 * Opens an action that never finishes loading, then opens another one.
 *
 * @param {object} action
 * @param {string} step the step that the action reports when it begins to load
 */
export async function leaveWhileLoading(action, step = "loading") {
    registry.category("view_widgets").add("endless", { component: Endless });
    registry.category("actions").add("elsewhere", Elsewhere);
    await mountWithCleanup(WebClient);
    getService("action").doAction(action);
    await waitForSteps([step]);
    await getService("action").doAction({ type: "ir.actions.client", tag: "elsewhere" });
}
