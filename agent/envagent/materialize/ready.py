"""The mark of a finished prefix: `.envmesh/ready.json`, and the manifests that say what each of its files is.

It is written last and arrives with the prefix by one rename, so where it is, everything is. It needs no store to be
read: the manifests lie beside it, and their digests are in it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from envagent.materialize.overlap import Clobber

FOLDER = ".envmesh"


class Part(msgspec.Struct, frozen=True):
    """A tree in the prefix: `source` is the package's filename, `digest` the tree digest (hexadecimal)."""

    source: str
    key: str
    digest: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the prefix is. `own` are its own files (path to SHA-256 in hexadecimal), `links` its own symbolic links.

    `absent` is bytecode that was left out, for its source is another package's here, or names the prefix.
    `link_scripts` are the conda packages that have a script to run after installing, which was not run. `layered`
    says that its packages are mounted under it and not in it (overlay.py), `edits` where what is written there is
    kept, "" where nothing can be (edits.py).
    """

    identity: str
    boot: str
    parts: list[Part]
    bytecode: list[Part]
    own: dict[str, str]
    links: dict[str, str]
    absent: list[str]
    clobbers: list[Clobber]
    link_scripts: list[str]
    layered: bool = False
    edits: str = ""

    def write(self, prefix: Path) -> None:
        """Mark a prefix that is not yet in its place."""
        _place(prefix).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read_ready(prefix: Path) -> Ready | None:
    """The mark of the prefix, None where it has none that can be read."""
    try:
        return msgspec.json.decode(_place(prefix).read_bytes(), type=Ready)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def manifest_path(prefix: Path, part: Part) -> Path:
    """Where the prefix keeps the manifest of one of its trees."""
    return prefix / FOLDER / part.key


def _place(prefix: Path) -> Path:
    return prefix / FOLDER / "ready.json"
