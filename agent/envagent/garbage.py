"""What the agent may forget: environments that nobody asked for in a while, then trees and downloads beyond a budget.

Only environments below the data directory go, the ones that `materialize` named itself: the same lock makes them
again. One that a command runs in is held (activation.py) and stays. Trees of environments stay; of the rest, the
longest unused go first, whether trees or downloads, until both together are within the budget. A wheel that was built
here is no download: no server has it, and a lock may need it. It stays as long as an environment of it is known, and
as long after its last use as an environment may go unused. What a node of the swarm has not finished is a download as
well, unless the node is at it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envagent import recall
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.partial import Partials
from envagent.materialize import edits, overlay
from envagent.materialize.ready import read_ready
from envagent.store import gc
from envagent.store.flock import acquire, held
from envagent.store.node import NodeStore
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envagent.config import Config
    from envagent.store.gc import Held


@dataclass(frozen=True, slots=True)
class Removed:
    """What went, or would go: paths of environments, numbers of trees and downloads, and bytes of these two."""

    environments: tuple[Path, ...]
    trees: int
    artifacts: int
    size: int


def collect(config: Config, *, now: float, unused_s: float, budget: int, dry_run: bool = False) -> Removed:
    """Remove environments unused for so many seconds, and what is beyond `budget` bytes (blocking). OSError passes.

    `now` is in seconds since the epoch. Waits until nobody makes an environment.
    """
    store, artifacts = NodeStore(config.store), Artifacts(config.artifacts)
    with held(store.root / "in-use"):
        idle = _idle(References(store.root), config.environments, before=now - unused_s)
        environments = tuple(path for path in idle if _let_go(path, store, dry_run=dry_run))
        trees, wanted = gc.survey(store, now=now, without=environments)
    partials = Partials(config.partial)
    downloads, unfinished = list(artifacts.held()), list(partials.idle())
    kept = _needed(artifacts.built(), downloads, wanted, before=now - unused_s)
    chosen = set(gc.choose([*trees, *downloads, *unfinished], wanted | kept, budget=budget))
    if not dry_run:
        gc.collect(store, now=now, budget=_size(one for one in trees if one not in chosen))
        with held(store.root / "in-use"):  # whoever makes an environment reads downloads, too
            artifacts.collect(budget=_size(one for one in downloads if one not in chosen), kept=kept)
        for one in chosen.intersection(unfinished):
            partials.remove(one.key)
        recall.prune(str(config.data))
    return Removed(
        environments,
        trees=len(chosen.intersection(trees)),
        artifacts=len(chosen.intersection([*downloads, *unfinished])),
        size=_size(chosen),
    )


def _needed(built: set[str], downloads: Iterable[Held], wanted: set[str], *, before: float) -> set[str]:
    """Those of the wheels that were built here that a tree of an environment is of, or that were used lately."""
    of_environments = {key.partition("-")[0] for key in wanted}
    return {one.key for one in downloads if one.key in built and (one.key in of_environments or one.used >= before)}


def _idle(references: References, folder: Path, *, before: float) -> list[Path]:
    """The environments in the folder that were last asked for before that time."""
    prefixes = [Path(reference.path) for reference in references.prefixes()]
    return [path for path in prefixes if path.parent == folder and references.place(path).stat().st_mtime < before]


def _let_go(prefix: Path, store: NodeStore, *, dry_run: bool) -> bool:
    """Put an environment and its edits in the trash, unless a command runs in it; whether it goes."""
    written = _edits(prefix)
    locks = [acquire(path, wait=False) for path in [prefix, *written]]
    goes = all(locks)
    if goes and not dry_run:
        if overlay.is_mounted(prefix):
            overlay.unmount(prefix)
        for path in written:
            edits.put_away(path, _in_trash(store, path))
        prefix.rename(_in_trash(store, prefix))
    for lock in filter(None, locks):
        lock.release()
    return goes


def _edits(prefix: Path) -> list[Path]:
    """Where the edits of a writable overlay are; nothing for any other environment."""
    ready = read_ready(prefix)
    return [Path(ready.edits)] if ready and ready.edits and Path(ready.edits).exists() else []


def _in_trash(store: NodeStore, path: Path) -> Path:
    return store.root / "trash" / f"{path.name}.{os.urandom(4).hex()}"


def _size(held: Iterable[Held]) -> int:
    return sum(one.size for one in held)
