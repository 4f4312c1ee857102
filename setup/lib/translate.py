"""Merges freshly exported terms into the addon's translation: translate.py TERMS.pot I18N_FOLDER [FILE.json...]

See ./setup/translate.
"""

import json
import shutil
import sys
from pathlib import Path

import polib

WRAP = 78


def merge(terms: polib.POFile, former: polib.POFile, translations: dict[str, str]) -> polib.POFile:
    """Return the terms with their translations: those given, else the former ones.

    :param terms: what Odoo exported
    :param former: the translation as it was
    :param translations: by English term
    """
    known = {entry.msgid: entry.msgstr for entry in former if not entry.obsolete and not entry.fuzzy} | translations
    merged = polib.POFile(wrapwidth=WRAP)
    merged.header, merged.metadata = former.header, dict(former.metadata)
    for date in ("POT-Creation-Date", "PO-Revision-Date"):
        merged.metadata[date] = terms.metadata.get(date, "")
    for entry in terms:
        entry.msgstr = known.get(entry.msgid, "")
        merged.append(entry)
    return merged


def main() -> int:
    """Write both files and return the exit status."""
    exported, folder = Path(sys.argv[1]), Path(sys.argv[2])
    translations: dict[str, str] = {}
    for file in sys.argv[3:]:
        translations |= json.loads(Path(file).read_text(encoding="utf-8"))
    chinese = folder / "zh_CN.po"
    merged = merge(polib.pofile(str(exported)), polib.pofile(str(chinese)), translations)
    merged.save(str(chinese))
    shutil.copyfile(exported, folder / "wechat_merchant_bind.pot")
    missing = {entry.msgid: "" for entry in merged if not entry.msgstr}
    if missing:
        print(json.dumps(missing, ensure_ascii=False, indent=1))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
