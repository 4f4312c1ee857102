# shellcheck shell=bash
# The browser that Odoo's tours and the end-to-end tests drive. Its Chinese comes from printing.sh.

missing_browser_packages() { command -v chromium >/dev/null || echo chromium; }
