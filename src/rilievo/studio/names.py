"""Names that strangers give, made safe: one part, no folders, valid on every system."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from rilievo.io.photos import safe_name
from rilievo.studio.problems import Problem

HOUSE_ID = re.compile(r"[0-9a-f]{12}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_name(name: str, max_length: int) -> str:
    """The name a file gets on disk. Raises Problem (400) for names with folders, control characters or nothing."""
    name = unicodedata.normalize("NFC", name)
    why = None
    if not name.strip(" ."):
        why = "it is empty or has dots only"
    elif "/" in name or "\\" in name or re.match(r"[A-Za-z]:", name):
        why = "it names a folder; files of a house have no folders"
    elif any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        why = "it has characters that no file name has"
    elif len(name.encode("utf-8", "replace")) > max_length:
        why = f"it is longer than {max_length} bytes"
    if why:
        raise Problem(400, "This file name cannot be used", why, "give the file another name")
    safe = safe_name(name).lstrip(".").strip()
    # Invisible signs and those that turn the direction of reading would make one name look like another.
    safe = "".join("_" if unicodedata.category(c) == "Cf" else c for c in safe)
    return safe or "_"


def apart(name: str, taken: set[str]) -> str:
    """The name itself, or with a number, so that it differs from all others on every file system."""
    if name.casefold() not in taken:
        return name
    stem, suffix = Path(name).stem, Path(name).suffix
    k = 2
    while f"{stem}-{k}{suffix}".casefold() in taken:
        k += 1
    return f"{stem}-{k}{suffix}"


def clean_title(title: str, max_length: int) -> str:
    """A title for people: one line of text. Raises Problem (400) when it is too long."""
    title = " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in title).split())
    if len(title) > max_length:
        raise Problem(400, "The title is too long", f"it has more than {max_length} characters", "choose a shorter one")
    return title
