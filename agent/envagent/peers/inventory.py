"""What this node has for its peers and itself: whole artifacts, and those of which some pieces are here.

Whole artifacts are those of `envagent.fetch`: one copy serves installers, the faces and the peers. Invariant: what
peers are given was verified, piece by piece or as a whole; what installers see was verified as a whole. What is being
read or brought is not evicted. Blocking work runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.peers.holding import Holding, leftovers
from envagent.store.boot import current_boot
from envagent.store.flock import acquire
from envproxy.engine.store import disk_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envproxy.swarm.layout import Layout

SETTLE_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`budget` bounds whole artifacts, `min_free` is what the disk keeps; both in bytes, 0 is no bound."""

    budget: int = 0
    min_free: int = 0


class Inventory:
    """The artifacts of one agent; partial ones lie below `folder`. Installers hold the lock `in_use` as they read."""

    def __init__(
        self,
        artifacts: Artifacts,
        folder: Path,
        limits: Limits,
        in_use: Path,
        *,
        free_bytes: Callable[[Path], int] = disk_free,
    ) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._limits = limits
        self._in_use = in_use
        self._free_bytes = free_bytes
        self._holdings: dict[str, Holding] = {}
        folder.mkdir(parents=True, exist_ok=True)
        in_use.parent.mkdir(parents=True, exist_ok=True)  # a node that never made an environment has no store

    def holding(self, sha256: str) -> Holding | None:
        """The artifact, if it is on its way."""
        return self._holdings.get(sha256)

    async def find(self, sha256: str, size: int | None = None) -> Path | None:
        """The whole artifact, if it is here; of that size, if one is told."""
        return await asyncio.to_thread(self._find, sha256, size)

    async def begin(self, sha256: str, layout: Layout) -> Holding:
        """A place for the pieces, with those that an earlier run left."""
        await asyncio.to_thread(self._make_room, layout.size)
        made = await asyncio.to_thread(Holding, self._folder, sha256, layout, current_boot())
        self._holdings[sha256] = made
        return made

    async def finish(self, holding: Holding) -> Path | None:
        """Make a whole artifact visible; None, and nothing is left, if its bytes are wrong."""
        path = await asyncio.to_thread(self._finish, holding)
        self._holdings.pop(holding.sha256, None)
        await asyncio.to_thread(holding.discard)
        return path

    async def settle_often(self) -> None:
        """Make durable what came, every SETTLE_S, for ever; a disk in trouble is said."""
        while True:
            await asyncio.sleep(SETTLE_S)
            try:
                await asyncio.to_thread(self._artifacts.settle)
            except OSError as error:
                _log.warning("artifacts are not known to be durable: %s", error)

    async def set_aside(self, holding: Holding) -> None:
        """Nobody brings it any more: its pieces stay on disk for the next time."""
        self._holdings.pop(holding.sha256, None)
        await asyncio.to_thread(holding.close)

    def leftovers(self) -> Iterator[tuple[str, Layout]]:
        """What earlier runs did not finish (blocking)."""
        return leftovers(self._folder)

    def whole(self) -> dict[str, int]:
        """The sizes in bytes of all whole artifacts by their digest (blocking)."""
        return {held.key: held.size for held in self._artifacts.held()}

    def open(self, sha256: str) -> tuple[int, Holding | None] | None:
        """A descriptor of the artifact's bytes, theirs to close, and its pieces unless it is whole (blocking)."""
        holding = self._holdings.get(sha256)
        if holding and (fd := holding.duplicate()) is not None:
            return fd, holding
        path = self._find(sha256, None)
        if path is None:
            return None
        self._artifacts.touch(sha256)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), None

    def _find(self, sha256: str, size: int | None) -> Path | None:
        return self._artifacts.find(sha256, size) if size is not None else self._artifacts.locate(sha256)

    def _finish(self, holding: Holding) -> Path | None:
        path = holding.finish()
        return None if path is None else self._artifacts.adopt(path, holding.sha256)

    def _make_room(self, size: int) -> None:
        """Evict what was not used for longest, unless an installer reads; an open descriptor outlives its name."""
        limits = self._limits
        held = sum(self.whole().values()) if limits.budget or limits.min_free else 0
        budget = max(0, limits.budget - size) if limits.budget else held
        if limits.min_free:
            budget = min(budget, held - max(0, limits.min_free + size - self._free_bytes(self._folder)))
        if held > budget and (lock := acquire(self._in_use, wait=False)):
            self._artifacts.evict(max(0, budget))
            lock.release()
