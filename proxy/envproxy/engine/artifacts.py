"""Blobs by digest: what is in the store, and one download per key for what is not.

Ties store, catalog and evictor together for the faces. The catalog learns of a blob after the store has it. What is
being downloaded or read is never evicted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envproxy.errors import EnvproxyError, StorageFull

from .download import Download, Elsewhere, Opener
from .flights import Tasks, uninterrupted

if TYPE_CHECKING:
    from .catalog import Catalog
    from .evict import Evictor
    from .expected import Expected
    from .report import Reporter
    from .store import BlobStore, Partial

Kind = Literal["artifact", "metadata", "listing"]
Stored = Callable[[str, int], Awaitable[None]]
FLUSH_S = 10.0


class Artifacts:
    """The faces' view of what is stored. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        store: BlobStore,
        catalog: Catalog,
        evictor: Evictor,
        tasks: Tasks,
        *,
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._evictor = evictor
        self._tasks = tasks
        self._reporter = reporter
        self._clock = clock
        self._downloads: dict[str, Download] = {}
        self._owners: dict[Download, dict[str, Stored]] = {}  # who is still to be told that it is stored
        self._used: dict[str, float] = {}

    def path(self, sha256: str) -> Path:
        """Where the blob lies, if it does."""
        return self._store.path(sha256)

    async def size(self, sha256: str) -> int | None:
        """Size of a stored blob in bytes, None if it is not stored."""
        return await asyncio.to_thread(self._store.size, sha256)

    def used(self, sha256: str) -> None:
        """Note that a blob was served; written to the catalog in batches, for a lost second of it is no harm."""
        self._used[sha256] = self._clock()

    async def set_aside(self, sha256: str) -> None:
        """A blob turned out to be damaged: move it out of the way, as scrubbing does, so that it is fetched again."""
        self._reporter.digest_mismatch("disk")
        with suppress(FileNotFoundError):  # evicted meanwhile
            await asyncio.to_thread(self._store.quarantine, sha256)
        await self._catalog.forget_blob(sha256)

    async def put(self, data: bytes, kind: Kind) -> str:
        """Store a small body; returns its digest. Raises `StorageFull`."""
        await self._evictor.make_room(len(data))
        sha256 = await asyncio.to_thread(self._store.put_bytes, data)
        await self._catalog.add_blob(sha256, len(data), kind, self._clock())
        return sha256

    async def receive(self, size: int) -> Partial:
        """A place for an upload of `size` bytes, 0 if that is not known. Raises `StorageFull`."""
        if not await self._evictor.make_room(size):
            raise StorageFull(f"no room for {size} bytes, even after eviction", hint="raise store.limit or free disk")
        return await asyncio.to_thread(self._store.create_partial)

    async def publish(self, partial: Partial, pin: Callable[[str, int], Awaitable[bool]]) -> bool:
        """Make an upload a blob; what `pin` of its digest and size says. Raises `StorageFull` and what `pin` raises.

        The catalog counts the blob after `pin`, so that an eviction knows it only once it must stay.
        """
        async with self._evictor.paused():  # for it may be cached already, and about to go
            sha256 = await asyncio.to_thread(partial.commit, None)
            try:
                return await pin(sha256, partial.seen)
            finally:
                await self._catalog.add_blob(sha256, partial.seen, "artifact", self._clock())

    def busy(self) -> set[str]:
        """The digests that are on their way."""
        return {sha256 for sha256 in self._downloads if len(sha256) == 64}

    def join(self, key: str) -> Download | None:
        """The download of `key` that is in the air and still has its first byte; whoever asks is counted to it."""
        running = self._downloads.get(key)
        if running is None or not running.admits_newcomers:
            return None
        self._reporter.coalesced()
        return running

    def download(
        self,
        key: str,
        name: str,
        open_body: Opener,
        expected: Expected,
        *,
        kind: Kind = "artifact",
        owner: str,
        stored: Stored,
        elsewhere: Elsewhere | None = None,
    ) -> Download:
        """The one download of `key`, started now unless one is in the air that still has its first byte.

        `stored(sha256, size)` is awaited once the blob is in the store and in the catalog: for each `owner`, the name
        under which somebody wants it, whoever of them started it.
        """
        download = self.join(key)
        if download is None:
            download = Download(
                name, open_body, self._store.create_partial, self._reserve, expected,
                elsewhere=elsewhere, reporter=self._reporter,
            )  # fmt: skip
            self._start(key, download, kind)
        self._owners[download].setdefault(owner, stored)
        return download

    async def flush(self) -> None:
        """Write the batched use times to the catalog."""
        used, self._used = self._used, {}
        if used:
            await self._catalog.touch_blobs(used)

    async def flush_often(self) -> None:
        """Flush every FLUSH_S, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    def _start(self, key: str, download: Download, kind: Kind) -> None:
        self._downloads[key], self._owners[download] = download, {}
        self._reporter.flights_changed(+1)
        task = self._tasks.spawn(self._finish(key, download, kind), name=f"download:{download.name}")
        task.add_done_callback(lambda _: self._landed(key, download))

    async def _finish(self, key: str, download: Download, kind: Kind) -> None:
        try:
            with suppress(EnvproxyError):  # the readers get it, and raise it to their clients
                await download.run()
        finally:  # also if we are stopped: a blob that is on disk must not stay unknown
            if download.stored and download.digest is not None:
                await uninterrupted(self._remember(key, download, download.digest, kind))

    async def _remember(self, key: str, download: Download, sha256: str, kind: Kind) -> None:
        size, owners = download.total or 0, self._owners[download]
        await self._catalog.add_blob(sha256, size, kind, self._clock())
        told: set[str] = set()
        while untold := owners.keys() - told:
            for owner in untold:
                await owners[owner](sha256, size)
            told |= untold
        self._leave(key, download)  # before anybody else can join and not be told

    def _leave(self, key: str, download: Download) -> None:
        """Let nobody join the download any more."""
        if self._downloads.get(key) is download:
            del self._downloads[key]

    def _landed(self, key: str, download: Download) -> None:
        self._leave(key, download)
        del self._owners[download]
        download.close()
        self._reporter.flights_changed(-1)

    async def _reserve(self, size: int) -> bool:
        """Whether there is room for `size` more bytes beside all that is under way."""
        pending = sum(download.missing for download in self._downloads.values())
        return await self._evictor.make_room(max(pending, size))
