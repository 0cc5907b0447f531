"""`conda-meta/<name>-<version>-<build>.json`: what conda clients read of an installed package.

A tree holds what is the same in every environment (index.json and the paths, as a template); `record` makes of it the
document of one prefix, with the lock's entry and the digests of the files whose prefix was replaced. conda, mamba and
py-rattler read it; `conda-meta/frozen` (CEP 22) tells the first two that the environment is not theirs to change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from envagent.materialize.conda_package import PathEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envagent.materialize.plan import CondaFile

FOLDER = "conda-meta"
_HARDLINK = 1  # conda's LinkType


class Template(msgspec.Struct):
    """The part of the document that the tree holds."""

    index: dict[str, Any]
    paths: list[PathEntry]

    @property
    def placeholders(self) -> list[PathEntry]:
        """The files that name their prefix."""
        return [entry for entry in self.paths if entry.prefix_placeholder]


class Replaced(msgspec.Struct, frozen=True):
    """A file after its prefix was replaced: `sha256` in hexadecimal, `size` in bytes."""

    sha256: str
    size: int


def path_of(stem: str) -> str:
    """Where the document of a package is."""
    return f"{FOLDER}/{stem}.json"


def template(index: dict[str, Any], paths: list[PathEntry]) -> bytes:
    """The document as far as the package alone decides it."""
    return msgspec.json.encode(Template(index, paths))


def read_template(data: bytes) -> Template:
    """What `template` wrote."""
    return msgspec.json.decode(data, type=Template)


def record(source: CondaFile, held: Template, replaced: Mapping[str, Replaced]) -> bytes:
    """The document of one prefix; `replaced` are the files that name it, by path."""
    for entry in held.placeholders:
        if found := replaced.get(entry.path):
            entry.sha256_in_prefix, entry.size_in_bytes = found.sha256, found.size
    package = source.package
    locked = {
        "build": package.build,
        "channel": package.channel,
        "constrains": list(package.constrains),
        "depends": list(package.depends),
        "fn": package.filename,
        "license": package.license or held.index.get("license"),
        "md5": package.md5 or None,
        "name": package.name,
        "sha256": package.sha256,
        "size": package.size,
        "subdir": package.subdir,
        "timestamp": package.timestamp or held.index.get("timestamp"),
        "url": package.url,
        "version": package.version,
    }
    said = held.index | {name: value for name, value in locked.items() if value not in (None, [])}
    said |= {
        "requested_specs": list(package.requested_by),
        "files": [entry.path for entry in held.paths],
        "paths_data": {"paths_version": 1, "paths": held.paths},
        "link": {"source": "", "type": _HARDLINK},
    }
    return msgspec.json.encode(said)


def own_files() -> dict[str, bytes]:
    """What makes a prefix an environment for conda, path to content."""
    message = "This environment was made by envagent and is never changed: make another one from a new lock."
    return {f"{FOLDER}/history": b"", f"{FOLDER}/frozen": json.dumps({"message": message}).encode() + b"\n"}
