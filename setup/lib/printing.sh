# shellcheck shell=bash
# What Odoo prints PDFs with, and a font for Chinese.

missing_printing_packages() {
    command -v wkhtmltopdf >/dev/null || echo wkhtmltopdf
    compgen -G '/usr/share/fonts/*/noto/NotoSansCJK*' >/dev/null || echo fonts-noto-cjk
}
