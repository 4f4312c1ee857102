// A visitor has no part in Odoo's bus, so the page asks. It asks only while somebody looks at it.
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
            // Without a network the code on the screen is still good: ask again later.
        }
    }
    setTimeout(poll, POLL_MS);
}

setTimeout(poll, POLL_MS);
