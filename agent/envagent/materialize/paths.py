"""Which names inside an archive may become files: relative, inside the tree, and the same on every filesystem.

Pure: nothing here touches a disk. A name is refused rather than repaired, for two readers that repair differently
see two different wheels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_COMPONENT_BYTES = 255  # NAME_MAX of every local filesystem
_MAX_PATH_BYTES = 1024  # leaves room for a prefix below PATH_MAX
_PLAIN = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def fault(path: str) -> str:
    """What is wrong with a relative path of an archive, in words; "" for nothing."""
    if len(path) <= _MAX_COMPONENT_BYTES and _PLAIN.fullmatch(path):
        return ""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if _CONTROL.search(path):
        return "has a control character in its name"
    if "\\" in path:
        return "has a backslash in its name"
    if path.startswith("/") or _DRIVE.match(path):
        return "is an absolute path"
    components = path.split("/")
    if ".." in components or "." in components or "" in components:
        return "has an empty, . or .. component"
    if len(encoded) > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_COMPONENT_BYTES for part in components):
        return "has a name that is too long"
    return ""


def collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that would be one file on some filesystem (equal but for case), or a file and a file inside it."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            return seen[folded], path
        seen[folded] = path
    for folded in seen.keys() & set(directories(seen)):
        inside = next(path for other, path in seen.items() if other.startswith(f"{folded}/"))
        return seen[folded], inside
    return None


def directories(paths: Iterable[str]) -> list[str]:
    """Every directory that the paths need, each after the one that holds it."""
    needed: set[str] = set()
    for path in paths:
        parent = path
        while (cut := parent.rfind("/")) > 0 and (parent := parent[:cut]) not in needed:
            needed.add(parent)
    return sorted(needed)
