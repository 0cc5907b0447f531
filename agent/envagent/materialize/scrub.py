"""Reading the whole node store again: is every tree still what its manifest says?

A file of a tree is shared by every prefix that links it, so one edit in one environment poisons all. What is found is
taken out of the store, to be built anew when it is next wanted, and the prefixes that share the files are named:
theirs cannot be mended here, for an environment is never changed. It also proves trees whose manifest holds promises
that nobody has checked yet (`prove="later"`). Nothing here decides when to run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import TreeDamaged
from envagent.materialize.ready import read_ready
from envagent.materialize.verify import Link, check_files
from envagent.store.flock import held
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Container

    from envagent.store.manifest import Entry
    from envagent.store.node import NodeStore, Tree
    from envagent.store.references import PrefixReference


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A tree that was taken out: its key, the files that were wrong, and the prefixes that have them too."""

    key: str
    files: tuple[str, ...]
    prefixes: tuple[str, ...]

    def __str__(self) -> str:
        shared = f"; also in {', '.join(self.prefixes)}" if self.prefixes else ""
        return f"{self.key}: {', '.join(self.files)} not as it was{shared}"


def scrub(store: NodeStore, keys: Container[str] | None = None) -> list[Poisoned]:
    """Check every tree, or those of `keys`, and remove what is wrong (blocking, reads all of it). OSError passes."""
    with store.in_use():
        trees = [tree for tree in store.trees() if keys is None or tree.key in keys]
        wrong = {tree: files for tree in trees if (files := _wrong_files(tree))}
    if not wrong:
        return []
    references = list(References(store.root).prefixes())
    found = [
        Poisoned(tree.key, files, tuple(sorted(r.path for r in references if _shares(r, tree, files))))
        for tree, files in wrong.items()
    ]
    with held(store.root / "in-use"):
        for tree in wrong:
            if tree.path.is_dir():  # gc may have come first
                store.discard(tree)
        store.journal.forget(tree.key for tree in wrong)
    store.sweep()
    return found


def _shares(reference: PrefixReference, tree: Tree, files: tuple[str, ...]) -> bool:
    """Whether the prefix has one of these files of the tree itself, and not a copy: linked, mounted or run from."""
    prefix = Path(reference.path)
    ready = read_ready(prefix)
    if ready is None or tree.key not in reference.keys:
        return False
    if ready.layered or all(part.key != tree.key for part in ready.parts + ready.bytecode):
        return True
    return any(_is_one(prefix / path, tree.files / path) for path in files)


def _is_one(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _wrong_files(tree: Tree) -> tuple[str, ...]:
    """Relative to the tree; its manifest, where that cannot be read."""
    try:
        manifest = tree.manifest
    except TreeDamaged:
        return ("manifest",)
    expected: list[tuple[Entry | Link, str]] = [(entry, tree.key) for entry in manifest.entries()]
    expected += [(Link(path, target), tree.key) for path, target in manifest.links.items()]
    return tuple(sorted(finding.path for finding in check_files(tree.files, expected)))
