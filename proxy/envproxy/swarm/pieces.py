"""The pieces of artifacts: how they are cut, their SHA-256, and where the proxy has their bytes.

Hashes are computed from what the proxy itself reads: while it downloads an artifact, or from its own store. They are
published one after the other as the bytes come, before the digest of the whole is known; a download that fails, or
whose digest turns out wrong, takes its hashes back. An artifact of one piece needs no reading: its digest is the
piece's. What its face states as its size counts until its bytes tell another.

What is known here survives the eviction of the bytes, which come again from upstream when a piece is asked for. It is
bounded to LIMIT artifacts, those that were asked for last.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.download import Download
from envproxy.engine.flights import Flights, Tasks
from envproxy.errors import EnvproxyError, NoSuchThing

from .bitmap import whole
from .hasher import PieceHasher
from .layout import WHOLE_BYTES, Layout
from .places import Places

LIMIT: Final = 4096  # at most 16 kB of hashes each
_BATCH_BYTES: Final = 1024 * 1024  # hashed at a time: a thread costs 0.1 ms


class Cut:
    """One artifact and its pieces. `hashes` are those of its first pieces."""

    def __init__(self, sha256: str, layout: Layout) -> None:
        self.sha256 = sha256
        self.layout = layout
        self.hashes: list[bytes] = []

    @property
    def hashed(self) -> int:
        """The set of pieces whose hash is known."""
        return whole(len(self.hashes))


class Pieces:
    """See the module. `ring` is told of artifacts with new hashes."""

    def __init__(
        self,
        places: Places,
        artifacts: Artifacts,
        flights: Flights[str, Cut],
        tasks: Tasks,
        *,
        ring: Callable[[str], None],
    ) -> None:
        self._places = places
        self._artifacts = artifacts
        self._flights = flights
        self._tasks = tasks
        self._ring = ring
        self._cuts = OrderedDict[str, Cut]()

    def known(self, sha256: str) -> Cut | None:
        """What is known of an artifact by now."""
        if sha256 in self._cuts:
            self._cuts.move_to_end(sha256)
        return self._cuts.get(sha256)

    async def cut(self, sha256: str, path: str, size: int | None) -> Cut:
        """How the artifact is cut; its hashing begins unless it is known. Raises as `Places.open`.

        `size` is what its face says of it, if it does.
        """
        return self.known(sha256) or await self._flights.join(sha256, lambda: self._learn(sha256, path, size))

    async def open(self, cut: Cut, path: str) -> Path | Download:
        """The bytes of an artifact as the face at `path` has them, which may download them. Raises as `Places.open`.

        Raises NoSuchThing if they are not as many as were cut; then they are cut anew for who asks next.
        """
        found = await self._places.open(path, cut.sha256)
        if isinstance(found, Download):
            size = await found.opened()
        else:
            self._artifacts.used(cut.sha256)
            size = await self._artifacts.size(cut.sha256)
        if size is not None and size != cut.layout.size:
            if cut.layout.count == 1 or not isinstance(found, Download):  # pieces that were hashed outweigh a length
                self._forget(cut)
            raise NoSuchThing(
                f"{path} has {size} bytes, not the {cut.layout.size} that were stated", hint="send another Want"
            )
        return found

    async def _learn(self, sha256: str, path: str, size: int | None) -> Cut:
        stored = await self._artifacts.size(sha256)
        size = size if stored is None else stored  # the store knows better than a page
        if size is not None and size < WHOLE_BYTES:
            return self._remember(Cut(sha256, Layout.of(size)))
        found = await self._places.open(path, sha256)
        if isinstance(found, Download):
            return await self._learn_arriving(sha256, found)
        return await self._learn_stored(sha256, path, found)

    async def _learn_arriving(self, sha256: str, download: Download) -> Cut:
        if await download.opened() is None:
            await download.blob()  # its end is what tells its length
        cut = self._remember(Cut(sha256, Layout.of(download.total or 0)))
        if not cut.hashes:
            _ = self._tasks.spawn(self._hash_arriving(cut, download), name=f"pieces:{download.name}")
        return cut

    async def _learn_stored(self, sha256: str, path: str, blob: Path) -> Cut:
        try:
            file, size = await asyncio.to_thread(_open, blob)
        except FileNotFoundError as error:
            raise NoSuchThing(f"{path} was evicted a moment ago", hint="ask again") from error
        cut = self._remember(Cut(sha256, Layout.of(size)))
        _ = self._tasks.spawn(self._hash_stored(cut, file), name=f"pieces:{sha256}")
        return cut

    def _remember(self, cut: Cut) -> Cut:
        if cut.layout.count == 1:
            cut.hashes.append(bytes.fromhex(cut.sha256))
        self._cuts[cut.sha256] = cut
        if len(self._cuts) > LIMIT:
            self._cuts.popitem(last=False)
        return cut

    async def _hash_arriving(self, cut: Cut, download: Download) -> None:
        hasher, batch = PieceHasher(cut.layout), bytearray()
        try:
            async with aclosing(download.unverified()) as chunks:
                async for chunk in chunks:
                    batch += chunk
                    if len(batch) >= _BATCH_BYTES:
                        self._publish(cut, await asyncio.to_thread(hasher.feed, bytes(batch)))
                        batch.clear()
            self._publish(cut, await asyncio.to_thread(hasher.feed, bytes(batch)))
        except (
            EnvproxyError
        ):  # told to all who read the download; here it only means that the hashes are worth nothing
            self._forget(cut)

    async def _hash_stored(self, cut: Cut, file: BinaryIO) -> None:
        try:
            for piece in range(len(cut.hashes), cut.layout.count):
                self._publish(cut, [await asyncio.to_thread(_hash, file, *cut.layout.span(piece))])
        except OSError:
            self._forget(cut)
            raise
        finally:
            await asyncio.to_thread(file.close)

    def _publish(self, cut: Cut, hashes: list[bytes]) -> None:
        cut.hashes += hashes
        if hashes:
            self._ring(cut.sha256)

    def _forget(self, cut: Cut) -> None:
        """What was published is not to be trusted; who asks next begins again."""
        if self._cuts.get(cut.sha256) is cut:
            del self._cuts[cut.sha256]
        self._ring(cut.sha256)


def _open(blob: Path) -> tuple[BinaryIO, int]:
    file = blob.open("rb")
    return file, file.seek(0, 2)


def _hash(file: BinaryIO, start: int, stop: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(start)
    while start < stop and (data := file.read(min(_BATCH_BYTES, stop - start))):
        digest.update(data)
        start += len(data)
    return digest.digest()
