"""Whether a prefix still holds what it was made of: every file by its SHA-256, against the manifests beside it.

An edit through a hardlink reaches the store and every other environment with that file; this is how it is found.
Files that appeared later (caches of the interpreter, notes of a person) are not looked at. It needs no store.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from envagent.errors import PrefixRefused
from envagent.materialize import edits
from envagent.materialize.ready import manifest_path, read_ready
from envagent.store.manifest import Entry, Manifest, TornManifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envagent.materialize.ready import Part, Ready


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A file that is not what it was; `source` is the filename of its package, "" for the prefix's own.

    `is_edit` where that is an edit in a writable overlay: nothing else has it, and the store is whole.
    """

    path: str
    what: Literal["missing", "edited", "mode"]
    source: str = ""
    is_edit: bool = False


class Link(NamedTuple):
    """A symbolic link that is to be there: `path` is relative to the root."""

    path: str
    target: str


def verify(prefix: Path) -> list[Finding]:
    """Everything that is missing or was edited, sorted (blocking). Raises PrefixRefused for what is no prefix."""
    ready = read_ready(prefix)
    if ready is None:
        raise PrefixRefused(
            f"{prefix} is not an environment made by envagent", hint="`envagent list` shows those that are"
        )
    findings = [Finding(path, "edited") for path, target in ready.links.items() if not _points(prefix / path, target)]
    findings += [
        Finding(path, "edited")
        for path, digest in ready.own.items()
        if _digest(prefix / path) != bytes.fromhex(digest)
    ]
    findings += check_files(prefix, _expected(prefix, ready, findings))
    if ready.edits:
        kept = Path(ready.edits)
        findings = [replace(finding, is_edit=edits.has(kept, finding.path)) for finding in findings]
    return sorted(findings)


def check_files(root: Path, expected: Iterable[tuple[Entry | Link, str]]) -> list[Finding]:
    """Those of the files and links below `root` that are not as expected; each comes with its package's filename."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="verify") as threads:
        found = threads.map(lambda each: _check(root, *each), expected)
        return [finding for finding in found if finding]


def _expected(prefix: Path, ready: Ready, findings: list[Finding]) -> list[tuple[Entry | Link, str]]:
    """What each path must be: the last package that holds it decides, then bytecode; the prefix's own come first."""
    files: dict[str, tuple[Entry | Link, str]] = {}
    for part in [*ready.bytecode, *ready.parts]:
        manifest = _manifest(prefix, part)
        if manifest is None:
            findings.append(Finding(str(manifest_path(prefix, part).relative_to(prefix)), "edited", part.source))
            continue
        files |= {entry.path: (entry, part.source) for entry in manifest.entries()}
        files |= {path: (Link(path, target), part.source) for path, target in manifest.links.items()}
    elsewhere = {*ready.own, *ready.absent}
    return [expected for path, expected in files.items() if path not in elsewhere]


def _manifest(prefix: Path, part: Part) -> Manifest | None:
    try:
        manifest = Manifest.read(manifest_path(prefix, part))
    except (TornManifest, FileNotFoundError):
        return None
    return manifest if manifest.digest.hex() == part.digest else None


def _check(root: Path, entry: Entry | Link, source: str) -> Finding | None:
    path = f"{root}/{entry.path}"
    if isinstance(entry, Link):
        return None if _points(Path(path), entry.target) else Finding(entry.path, "edited", source)
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Finding(entry.path, "missing", source)
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size or _digest(Path(path)) != entry.digest:
        return Finding(entry.path, "edited", source)
    if bool(found.st_mode & 0o100) != entry.executable:
        return Finding(entry.path, "mode", source)
    return None


def _digest(path: Path) -> bytes:
    """The SHA-256 of a file, or nothing where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b""


def _points(path: Path, target: str) -> bool:
    return path.is_symlink() and str(path.readlink()) == target
