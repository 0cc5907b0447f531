"""Making room: trees that nothing refers to go, the longest unused first, until the store is within its budget.

`choose` decides on plain values; `collect` waits until nobody materializes, renames the chosen ones into the trash at
once and unlinks them after it let go of the lock. Files of existing prefixes are safe in any case, for a hardlink
outlives its other names; a tree is kept for its manifest and for the next prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import TreeDamaged
from envagent.store.flock import held
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from envagent.store.node import NodeStore, Tree


@dataclass(frozen=True, slots=True)
class Held:
    """A tree as gc sees it: `size` in bytes, `used` when it was last linked (seconds since the epoch)."""

    key: str
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Collected:
    """What gc did: how many trees, how many bytes of files (shared with prefixes or not), how many orphans."""

    trees: int
    size: int
    orphans: int


def choose(trees: Iterable[Held], wanted: set[str], *, budget: int) -> list[Held]:
    """Which trees to remove so that all of them together have at most `budget` bytes; never one that is wanted."""
    ordered = sorted(trees, key=lambda tree: tree.used)
    excess = sum(tree.size for tree in ordered) - budget
    chosen = []
    for tree in ordered:
        if excess <= 0:
            break
        if tree.key not in wanted:
            chosen.append(tree)
            excess -= tree.size
    return chosen


def survey(store: NodeStore, *, now: float, without: Collection[Path] = ()) -> tuple[list[Held], set[str]]:
    """Every tree, and the keys of those that must stay; prefixes in `without` count as gone. OSError passes."""
    return [_held(tree) for tree in store.trees()], References(store.root).keys(now=now, without=without)


def collect(store: NodeStore, *, now: float, budget: int = 0) -> Collected:
    """Remove unwanted trees beyond `budget` bytes, orphans and trash (blocking). OSError passes."""
    with held(store.root / "in-use"):
        trees = {tree.key: tree for tree in store.trees()}
        chosen = choose(*survey(store, now=now), budget=budget)
        for gone in chosen:
            store.discard(trees[gone.key])
            (store.root / "locks" / gone.key).unlink(missing_ok=True)
        store.journal.keep({*trees} - {gone.key for gone in chosen} | _names_of_prefixes(store))
    orphans = store.sweep()
    return Collected(len(chosen), sum(gone.size for gone in chosen), orphans)


def _held(tree: Tree) -> Held:
    """What cannot be read takes no room that anybody knows of, and goes first."""
    try:
        return Held(tree.key, tree.manifest.size, tree.manifest_path.stat().st_mtime)
    except TreeDamaged:
        return Held(tree.key, size=0, used=0.0)


def _names_of_prefixes(store: NodeStore) -> set[str]:
    return {name for name in store.journal.names() if name.startswith("prefix-")}
