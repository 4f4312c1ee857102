# shellcheck shell=bash
# The browser that Odoo's tours and the end-to-end tests drive, with a font for Chinese.

missing_browser_packages() {
    command -v chromium >/dev/null || echo chromium
    compgen -G '/usr/share/fonts/*/noto/NotoSansCJK*' >/dev/null || echo fonts-noto-cjk
}
