"""What this node has for its peers and itself: whole artifacts, and those of which some pieces are here.

Whole artifacts are those of `envagent.fetch`: one copy serves installers, the faces and the peers. Invariant: what
peers are given was verified, piece by piece or as a whole; what installers see was verified as a whole. What is being
read or brought is not evicted. All of it together is within the limits, whole or not: there is room before something
comes, and what is too much all the same (a limit was lowered, the disk fills up, one artifact alone is larger) goes
once nobody uses it. Blocking work runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.fetch.partial import Partials
from envagent.peers.holding import Holding
from envagent.store.boot import current_boot
from envagent.store.flock import acquire
from envagent.store.gc import choose
from envproxy.engine.store import disk_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envagent.store.gc import Held
    from envproxy.swarm.layout import Layout

SETTLE_S = 10.0
TIDY_S = 60.0
IN_USE_S = 60.0  # after a client or a peer took of it: it may take more
ABANDONED_S = 86_400.0  # without a piece: whoever wanted it does not come back

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`budget` bounds artifacts, whole or not, `min_free` is what the disk keeps; both in bytes, 0 is no bound."""

    budget: int = 0
    min_free: int = 0

    def excess(self, *, held: int, coming: int, free: int) -> int:
        """How many bytes of the `held` ones must go before `coming` bytes may come; all of them may not be enough."""
        over = held + coming - self.budget if self.budget else 0
        short = self.min_free + coming - free if self.min_free else 0
        return min(held, max(0, over, short))


def in_use(held: Iterable[Held], now: float) -> set[str]:
    """The keys of those that are being used, as far as times can tell; one of a clock that was wrong is not."""
    return {one.key for one in held if 0 <= now - one.used < IN_USE_S}


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
        self._partials = Partials(folder)
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
        """The whole artifact for a client, if it is here; of that size, if one is told."""
        return await asyncio.to_thread(self._use, sha256, size)

    async def begin(self, sha256: str, layout: Layout) -> Holding:
        """A place for the pieces, with those that an earlier run left."""
        await asyncio.to_thread(self._make_room, {sha256: layout.size})
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

    async def tidy_often(self, clock: Callable[[], float]) -> None:
        """Keep within the limits, now and every TIDY_S, for ever; `clock` is of the epoch. What fails is said."""
        while True:
            try:
                await asyncio.to_thread(self.tidy, clock())
            except OSError as error:
                _log.warning("artifacts beyond the limits cannot be removed: %s", error)
            await asyncio.sleep(TIDY_S)

    async def set_aside(self, holding: Holding) -> None:
        """Nobody brings it any more: its pieces stay on disk for the next time."""
        self._holdings.pop(holding.sha256, None)
        await asyncio.to_thread(holding.close)

    async def drop(self, holding: Holding) -> None:
        """Its pieces are not to be trusted: leave none."""
        self._holdings.pop(holding.sha256, None)
        await asyncio.to_thread(holding.discard)

    def sweep(self, now: float) -> int:
        """Remove what nobody went on with for ABANDONED_S; `now` is of the epoch. How many (blocking)."""
        return self._partials.sweep(before=now - ABANDONED_S)

    def tidy(self, now: float) -> None:
        """Remove what is beyond the limits and not in use; `now` is of the epoch (blocking). OSError passes."""
        self._make_room({}, now=now)

    def whole(self) -> dict[str, int]:
        """The sizes in bytes of all whole artifacts by their digest (blocking)."""
        return {held.key: held.size for held in self._artifacts.held()}

    def open(self, sha256: str) -> tuple[int, Holding | None] | None:
        """A descriptor of the artifact's bytes, theirs to close, and its pieces unless it is whole (blocking)."""
        holding = self._holdings.get(sha256)
        if holding and (fd := holding.open()) is not None:
            return fd, holding
        path = self._use(sha256, None)
        return None if path is None else (os.open(path, os.O_RDONLY | os.O_CLOEXEC), None)

    def _use(self, sha256: str, size: int | None) -> Path | None:
        path = self._artifacts.find(sha256, size) if size is not None else self._artifacts.locate(sha256)
        if path is not None:
            self._artifacts.touch(sha256)
        return path

    def _finish(self, holding: Holding) -> Path | None:
        path = holding.finish()
        return None if path is None else self._artifacts.adopt(path, holding.sha256)

    def _make_room(self, coming: Mapping[str, int], *, now: float | None = None) -> None:
        """Let go of what was not used for longest, so that the `coming` ones, and all on their way, find room.

        With a time `now` there is no hurry, and what is in use stays.
        """
        if not (self._limits.budget or self._limits.min_free):
            return
        whole, partial = list(self._artifacts.held()), list(self._partials.held())
        moving = {**coming, **{holding.sha256: holding.layout.size for holding in list(self._holdings.values())}}
        here = {one.key: one.size for one in partial}
        held = sum(one.size for one in [*whole, *partial])
        excess = self._limits.excess(
            held=held,
            coming=sum(max(0, total - here.get(key, 0)) for key, total in moving.items()),
            free=self._free_bytes(self._folder),
        )
        if excess:
            recent = in_use([*whole, *partial], now) if now is not None else ()
            wanted = self._artifacts.built().union(moving, recent)
            going = set(choose([*whole, *partial], wanted, budget=held - excess))
            self._let_go(going.intersection(partial), [one for one in whole if one not in going], wanted)

    def _let_go(self, partial: Iterable[Held], staying: list[Held], wanted: set[str]) -> None:
        """Remove the partial ones, and all whole ones but those that stay, unless an installer reads.

        An open descriptor outlives its name.
        """
        for one in partial:
            self._partials.remove(one.key)
        if lock := acquire(self._in_use, wait=False):
            self._artifacts.evict(sum(one.size for one in staying), kept=wanted)
            lock.release()
