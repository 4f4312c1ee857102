"""Names of files made from names of merchants, which may hold anything."""

import re
import unicodedata

# What Windows, macOS or Linux don't take, or take for a folder.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]+')
# Names of devices on Windows, with whatever extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
# 80 Chinese characters are 240 bytes, and file systems take 255 with the number and the extension.
MAX_CHARACTERS = 70


def safe_name(name, fallback):
    """Return a name that every file system takes, without extension.

    :param str name: any text.
    :param str fallback: the name of which nothing may be left.
    :rtype: str
    """
    # Control characters, and those that turn the direction of writing and so hide an extension.
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
    """Return the names with a number behind those that came before; case makes no difference on Windows and macOS.

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
