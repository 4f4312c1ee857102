"""File names from names of merchants, which may hold any character."""

import re
import unicodedata

# Characters that Windows, macOS or Linux refuse or read as a folder.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]+')
# Names of devices on Windows, with any extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
# A file name has 255 bytes at most: 70 Chinese characters have 210, which leaves room for number and extension.
MAX_CHARACTERS = 70


def safe_name(name, fallback):
    """Return a name, without extension, that every file system accepts.

    :param str name: any text.
    :param str fallback: used if no character of the name can be kept.
    :rtype: str
    """
    # Drops control characters, and those that change the direction of writing and so hide an extension.
    name = "".join(
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", name or "")
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    name = _FORBIDDEN.sub("_", name)[:MAX_CHARACTERS].strip(" .")
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return name if name.strip("_") else fallback


def number_duplicates(names):
    """Return the names with numbers behind repeated ones, ignoring case as Windows and macOS do.

    :param list[str] names: in the order of the result.
    :rtype: list[str]
    """
    taken = set()
    numbered = []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name} ({number})"
        taken.add(candidate.casefold())
        numbered.append(candidate)
    return numbered
