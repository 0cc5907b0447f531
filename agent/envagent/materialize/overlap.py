"""Whose file a path is when several trees of a plan hold it, as conda's clobber warnings tell.

Pure. The later tree of the plan wins, as it would have if an installer had installed one after the other; equal
content is no matter to report. A path that is a file here and a directory there has no winner and is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from envagent.errors import ArtifactRefused
from envagent.store.claims import neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.store.manifest import Entry, Manifest


class Clobber(msgspec.Struct, frozen=True, order=True):
    """`path` is in both packages with different content; the prefix has that of `kept`."""

    path: str
    lost: str
    kept: str

    def __str__(self) -> str:
        return f"{self.path} of {self.lost} is replaced by that of {self.kept}"


class Overlaps(NamedTuple):
    """`lost[i]` are the paths of the i-th tree that a later one has too."""

    lost: tuple[frozenset[str], ...]
    clobbers: tuple[Clobber, ...]


def find_overlaps(names: Sequence[str], manifests: Sequence[Manifest]) -> Overlaps:
    """Which tree loses which paths; `names` are the packages'. Raises ArtifactRefused."""
    near = neighbours([manifest.claims for manifest in manifests])
    owner: dict[str, int] = {}
    lost: list[set[str]] = [set() for _ in manifests]
    for index in near:
        manifest = manifests[index]
        for path in (*manifest.paths, *manifest.links):
            if path in owner:
                lost[owner[path]].add(path)
            owner[path] = index
    for index in near:
        for directory in owner.keys() & set(manifests[index].directories):
            raise ArtifactRefused(
                names[owner[directory]], f"{directory} is a file in it and a directory in {names[index]}"
            )
    return Overlaps(tuple(map(frozenset, lost)), tuple(_clobbers(names, manifests, lost, owner)))


def _clobbers(
    names: Sequence[str], manifests: Sequence[Manifest], lost: list[set[str]], owner: dict[str, int]
) -> list[Clobber]:
    found = []
    for index, paths in enumerate(lost):
        mine = _entries(manifests[index], paths)
        for path in sorted(paths):
            kept = owner[path]
            if mine[path] != _entries(manifests[kept], {path})[path]:
                found.append(Clobber(path, lost=names[index], kept=names[kept]))
    return found


def _entries(manifest: Manifest, paths: set[str]) -> dict[str, Entry | str]:
    """What the tree has there: files, and the targets of links."""
    if not paths:
        return {}
    links = {path: target for path, target in manifest.links.items() if path in paths}
    return {entry.path: entry for entry in manifest.entries() if entry.path in paths} | links
