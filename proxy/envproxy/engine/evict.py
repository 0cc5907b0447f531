"""Keeps the store within its byte budget and the disk above its floor.

`shortfall` and `choose` decide, `Evictor` acts. A blob goes file first, row second: killed in between, the row stands
for a file that has gone, which readers take for a miss and the next eviction forgets. The other order would leave a
file that nothing counts. Pinned and busy blobs stay, whatever the shortage. Bytes on their way in count only as far
as the caller names them: the budget may be passed by what has arrived but is not yet a blob, until the next call.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from .blobs import BlobRow
from .catalog import Catalog
from .report import Reporter, Shortage
from .store import BlobStore

METADATA_PATIENCE = 4.0  # every resolution reads metadata and listings, an artifact is read once per installation
SLACK = 20  # an eviction frees a 20th of the budget more, so that a full cache does not sort its rows for every file


@dataclass(frozen=True, slots=True)
class Limits:
    """`limit_bytes` bounds all blobs together, `min_free_bytes` is what the disk must keep free."""

    limit_bytes: int
    min_free_bytes: int


def shortfall(*, used: int, limit: int, disk_free: int, min_free: int, incoming: int) -> int:
    """How many bytes must go before `incoming` bytes may come: 0 if both the budget and the floor allow them."""
    return max(0, used + incoming - limit, min_free + incoming - disk_free)


def score(row: BlobRow, now: float) -> float:
    """How much a blob deserves to go: seconds since its last use, times the square root of its bytes.

    Keeping a blob costs its bytes for as long as it idles, losing it costs a request upstream and then its bytes. Age
    alone would let one huge wheel push out a thousand small ones, age times size would never keep a large one; the
    square root lies between. Metadata and listings age METADATA_PATIENCE times more slowly.
    """
    idle_s = max(1.0, now - row.last_used)
    patience = 1.0 if row.kind == "artifact" else METADATA_PATIENCE
    return idle_s / patience * math.sqrt(row.size)


def choose(
    rows: Iterable[BlobRow], *, free: int, pinned: AbstractSet[str], busy: AbstractSet[str], now: float
) -> list[BlobRow]:
    """The blobs to evict, highest score first, until `free` bytes are reached or nothing is left to choose."""
    evictable = (row for row in rows if row.sha256 not in pinned and row.sha256 not in busy)
    chosen: list[BlobRow] = []
    for row in sorted(evictable, key=lambda row: (-score(row, now), row.sha256)):
        if free <= 0:
            break
        chosen.append(row)
        free -= row.size
    return chosen


class Evictor:
    """Evicts from `store` and `catalog`; `busy` names the blobs that are being written or sent right now."""

    def __init__(
        self,
        store: BlobStore,
        catalog: Catalog,
        limits: Limits,
        clock: Callable[[], float],
        busy: Callable[[], AbstractSet[str]],
        *,
        reporter: Reporter | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._limits = limits
        self._clock = clock
        self._busy = busy
        self._reporter = reporter or Reporter()
        self._turn = asyncio.Lock()  # two callers must not both count on the same free bytes

    def paused(self) -> AbstractAsyncContextManager[None]:
        """While the block runs nothing is evicted: what it pins is safe, also if it was chosen to go."""
        return self._turn

    async def make_room(self, incoming: int) -> bool:
        """Evict until `incoming` bytes fit. If they never will, False, and nothing is evicted in vain."""
        async with self._turn:
            need, reason = await self._shortfall(incoming)
            while need > 0:
                victims = await self._choose(need + self._limits.limit_bytes // SLACK)
                if sum(row.size for row in victims) < need:
                    return False
                need -= await self._evict(victims, reason)
            return True

    async def run_once(self, *, dry_run: bool = False) -> list[BlobRow]:
        """Bring the store within its limits as far as it goes; return what went, or would have gone."""
        async with self._turn:
            need, reason = await self._shortfall(0)
            victims = await self._choose(need)
            if not dry_run:
                await self._evict(victims, reason)
            return victims

    async def _shortfall(self, incoming: int) -> tuple[int, Shortage]:
        used = sum(size for _, size in (await self._catalog.totals()).values())
        limit = self._limits.limit_bytes
        need = shortfall(
            used=used,
            limit=limit,
            disk_free=await asyncio.to_thread(self._store.free_bytes),
            min_free=self._limits.min_free_bytes,
            incoming=incoming,
        )
        return need, "budget" if used + incoming > limit else "floor"

    async def _choose(self, free: int) -> list[BlobRow]:
        if free <= 0:
            return []
        rows = await self._catalog.blob_rows()
        pinned = {pin.sha256 for pin in await self._catalog.pins()}
        busy, now = self._busy(), self._clock()
        return await asyncio.to_thread(lambda: choose(rows, free=free, pinned=pinned, busy=busy, now=now))

    async def _evict(self, victims: list[BlobRow], reason: Shortage) -> int:
        """Delete files and rows, return the bytes that files really gave back: a row may stand for no file."""
        freed = evicted = 0
        for row in victims:
            if await self._catalog.is_pinned(row.sha256):  # since it was chosen
                continue
            evicted += 1
            freed += await asyncio.to_thread(self._store.delete, row.sha256)
            await self._catalog.forget_blob(row.sha256)
        if evicted:
            self._reporter.evicted(evicted, reason)
        return freed
