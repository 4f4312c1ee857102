// The page polls while it is visible, since visitors have no access to Odoo's bus.
const POLL_MS = 3000;

async function poll() {
    if (!document.hidden) {
        try {
            const response = await fetch(`${location.pathname.replace(/\/$/, "")}/state`, { cache: "no-store" });
            const { state } = await response.json();
            if (state !== document.body.dataset.state) {
                location.reload();
                return;
            }
        } catch {
            // Offline: the code on the screen stays valid. Poll again later.
        }
    }
    setTimeout(poll, POLL_MS);
}

setTimeout(poll, POLL_MS);
