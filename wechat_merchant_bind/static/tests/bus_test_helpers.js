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
 * Notes who listens to the bus for a notification.
 *
 * @param {string} type of the notification
 * @returns {Promise<Set<Function>>} those who listen, at any time
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

/** A field or widget that never finishes loading: with `<widget name="endless"/>` no view does. */
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
 * Opens an action that never finishes loading, and leaves it for another.
 *
 * @param {object} action
 * @param {string} step with which the test is told that the action has begun to load
 */
export async function leaveWhileLoading(action, step = "loading") {
    registry.category("view_widgets").add("endless", { component: Endless });
    registry.category("actions").add("elsewhere", Elsewhere);
    await mountWithCleanup(WebClient);
    getService("action").doAction(action);
    await waitForSteps([step]);
    await getService("action").doAction({ type: "ir.actions.client", tag: "elsewhere" });
}
