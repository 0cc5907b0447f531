"""Reading the whole node store again: is every tree still what its manifest says?

A file of a tree is shared by every prefix that links it, so one edit in one environment poisons all. What is found is
taken out of the store, to be built anew when it is next wanted, and the prefixes that share the files are named:
theirs cannot be mended here, for an environment is never changed. It also proves trees whose manifest holds promises
that nobody has checked yet (`prove="later"`). Nothing here decides when to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import TreeDamaged
from envagent.materialize.verify import Link, check_files
from envagent.store.flock import held
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Container

    from envagent.store.manifest import Entry
    from envagent.store.node import NodeStore, Tree


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
    with held(store.root / "in-use"):
        for tree in wrong:
            if tree.path.is_dir():  # gc may have come first
                store.discard(tree)
        store.journal.forget(tree.key for tree in wrong)
    store.sweep()
    return [
        Poisoned(tree.key, files, tuple(sorted(r.path for r in references if tree.key in r.keys)))
        for tree, files in wrong.items()
    ]


def _wrong_files(tree: Tree) -> tuple[str, ...]:
    """Relative to the tree; its manifest, where that cannot be read."""
    try:
        manifest = tree.manifest
    except TreeDamaged:
        return ("manifest",)
    expected: list[tuple[Entry | Link, str]] = [(entry, tree.key) for entry in manifest.entries()]
    expected += [(Link(path, target), tree.key) for path, target in manifest.links.items()]
    return tuple(sorted(finding.path for finding in check_files(tree.files, expected)))
