"""The files of a conda package that each prefix has for itself: those that name the prefix, and conda-meta.

Everything else of the package is linked from its tree. A replaced file is a second younger than its source: bytecode
that came in the package is of the unreplaced text, and its time must not match.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING

from envagent.errors import PrefixRefused
from envagent.materialize import conda_meta
from envagent.materialize.conda_prefix import PrefixTooLong, in_binary, in_text

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from pathlib import Path

    from envagent.materialize.conda_package import PathEntry
    from envagent.materialize.plan import CondaFile
    from envagent.store.node import Tree


def write_own(
    sources: Sequence[CondaFile], trees: Sequence[Tree], draft: Path, place: Path, lost: Sequence[Container[str]]
) -> dict[str, str]:
    """Write those of all packages into `draft`, whose directories are there and which will be renamed to `place`.

    `lost` are the paths of each package that belong to another. Returns the SHA-256 (hexadecimal) by path. Raises
    PrefixRefused where the place is too long; OSError passes.
    """
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="own") as threads:
        for own in threads.map(_write_own, sources, trees, repeat(draft), repeat(place), lost):
            digests |= own
    return digests


def _write_own(source: CondaFile, tree: Tree, draft: Path, place: Path, lost: Container[str]) -> dict[str, str]:
    """The same for one package."""
    meta = conda_meta.path_of(source.stem)
    held = conda_meta.read_template((tree.files / meta).read_bytes())
    prefix = os.fsencode(place)
    digests, replaced = {}, {}
    for entry in held.placeholders:
        if entry.path not in lost and (data := _replaced(source, tree, entry, prefix)) is not None:
            _write(draft, tree, entry.path, data)
            digests[entry.path] = hashlib.sha256(data).hexdigest()
            replaced[entry.path] = conda_meta.Replaced(digests[entry.path], len(data))
    document = conda_meta.record(source, held, replaced)
    (draft / meta).write_bytes(document)
    return digests | {meta: hashlib.sha256(document).hexdigest()}


def _replaced(source: CondaFile, tree: Tree, entry: PathEntry, prefix: bytes) -> bytes | bytearray | None:
    """The content for this prefix, None where it is that of the tree."""
    data = (tree.files / entry.path).read_bytes()
    placeholder = os.fsencode(entry.prefix_placeholder or "")
    try:
        replace = in_binary if entry.file_mode == "binary" else in_text
        fresh = replace(data, placeholder, prefix)
    except PrefixTooLong as too_long:
        raise PrefixRefused(
            f"{os.fsdecode(prefix)} is too long for {source.filename}: {entry.path} has room for a path of "
            f"{too_long.room} bytes, and this one has {len(prefix)}",
            hint="choose a shorter path",
        ) from None
    return fresh if fresh != data else None


def _write(draft: Path, tree: Tree, path: str, data: bytes | bytearray) -> None:
    of_store = (tree.files / path).stat()
    target = draft / path
    target.write_bytes(data)
    target.chmod(0o755 if of_store.st_mode & 0o111 else 0o644)
    younger = int(of_store.st_mtime) + 1
    os.utime(target, (younger, younger))
