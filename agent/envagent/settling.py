"""Making durable what a command built, behind its back: the command ends when its environment is there.

A sync takes as long as the disk has other work, so a process of its own waits for it, in its own session and without
a terminal. Until it is done, a crash of the machine costs what was built since (node.py), never a wrong file. Every
tree and download that is there when it begins is covered, so many at once wait for one sync.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envagent import detached
from envagent.store.flock import held
from envagent.store.node import NodeStore

if TYPE_CHECKING:
    from collections.abc import Sequence

_NICE = 10


def settle(store_root: Path, artifacts_root: Path, names: set[str]) -> None:
    """Sync the filesystem once, then note all trees and downloads that are there, and `names` (blocking).

    `names` are of prefixes on the same disk, as the journal calls them. OSError passes.
    """
    from envagent.fetch.artifacts import Artifacts  # noqa: PLC0415  # who only starts the process needs none

    store, artifacts = NodeStore(store_root), Artifacts(artifacts_root)
    with held(store.root / "in-use", shared=True), held(store.root / "locks" / ".settle"):
        store.settle({tree.key for tree in store.trees()} | names)
        artifacts.settle({one.key for one in artifacts.held()})


def settle_behind(store_root: Path, artifacts_root: Path, names: Sequence[str]) -> None:
    """Start a process that settles, and do not wait for it. OSError passes."""
    detached.start("envagent.settling", str(store_root), str(artifacts_root), *names)


if __name__ == "__main__":
    os.nice(_NICE)
    settle(Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
