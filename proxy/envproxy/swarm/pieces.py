"""The pieces of artifacts: how they are cut, their SHA-256, and where the proxy has their bytes.

Hashes are computed from what the proxy itself reads: while it downloads an artifact, or from its own store. They are
published one after the other as the bytes come, before the digest of the whole is known; a download that fails, and
bytes whose digest turns out wrong, take their hashes back. Who asks for those in the next WRONG_S is told of it: an
agent that had to find it out piece by piece would have the whole downloaded again and again. An artifact of one piece
needs no reading: its digest is the piece's. What its face states as its size counts until its bytes tell another.

What is known here survives the eviction of the bytes, which come again from upstream when a piece is asked for. It is
bounded to LIMIT artifacts, those that were asked for last.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Final
from weakref import WeakSet

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.download import Download
from envproxy.engine.flights import Flights, Tasks
from envproxy.engine.remembered import Remembered
from envproxy.errors import DigestMismatch, EnvproxyError, NoSuchThing

from .bitmap import whole
from .hasher import PieceHasher
from .layout import WHOLE_BYTES, Layout
from .places import Places

_log = logging.getLogger(__name__)

LIMIT: Final = 4096  # at most 16 kB of hashes each
WRONG_S: Final = 10.0  # after which upstream is asked again for bytes that were not those of the digest
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
        flights: Flights[tuple[str, str], Cut],
        tasks: Tasks,
        *,
        ring: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._places = places
        self._artifacts = artifacts
        self._flights = flights
        self._tasks = tasks
        self._ring = ring
        self._monotonic = monotonic
        self._cuts = OrderedDict[str, Cut]()
        self._wrong = Remembered[tuple[str, str], tuple[float, DigestMismatch]](LIMIT)  # until when, and what to say
        self._watched = WeakSet[Download]()

    def known(self, sha256: str) -> Cut | None:
        """What is known of an artifact by now."""
        if sha256 in self._cuts:
            self._cuts.move_to_end(sha256)
        return self._cuts.get(sha256)

    async def cut(self, sha256: str, path: str, size: int | None) -> Cut:
        """How the artifact is cut; its hashing begins unless it is known.

        Raises as `Places.open`, and DigestMismatch where upstream's bytes were wrong a moment ago. Each path is tried
        by itself, so that one which leads nowhere, or to wrong bytes, keeps nobody from another. `size` is what its
        face says of it, if it does.
        """
        if (known := self.known(sha256)) is not None:
            return known
        until, error = self._wrong.recall((sha256, path)) or (0.0, None)
        if error is not None and self._monotonic() < until:
            raise DigestMismatch(error.message, hint=error.hint)
        return await self._flights.join((sha256, path), lambda: self._learn(sha256, path, size))

    async def open(self, cut: Cut, path: str) -> Path | Download:
        """The bytes of an artifact as the face at `path` has them, which may download them. Raises as `Places.open`.

        Raises NoSuchThing if they are not as many as were cut; then they are cut anew for who asks next.
        """
        found = await self._places.open(path, cut.sha256)
        if isinstance(found, Download):
            if cut.layout.count == 1:
                self._watch(cut, path, found)
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
            return self._begin(sha256, Layout.of(size), self._hash_stored)
        found = await self._places.open(path, sha256)
        if isinstance(found, Download):
            if await found.opened() is None:
                await found.blob()  # its end is what tells its length
            return self._begin(sha256, Layout.of(found.total or 0), lambda cut: self._hash_arriving(cut, path, found))
        size = await self._artifacts.size(sha256)
        if size is None:
            raise NoSuchThing(f"{path} was evicted a moment ago", hint="ask again")
        return self._begin(sha256, Layout.of(size), self._hash_stored)

    def _begin(self, sha256: str, layout: Layout, hashing: Callable[[Cut], Coroutine[None, None, None]]) -> Cut:
        """Cut it so, and begin to hash its pieces, unless that was done by another path meanwhile."""
        if (known := self.known(sha256)) is not None:
            return known
        cut = self._cuts[sha256] = Cut(sha256, layout)
        if len(self._cuts) > LIMIT:
            self._cuts.popitem(last=False)
        if layout.count == 1:
            cut.hashes.append(bytes.fromhex(sha256))
        else:
            _ = self._tasks.spawn(hashing(cut), name=f"pieces:{sha256}")
        return cut

    def _watch(self, cut: Cut, path: str, download: Download) -> None:
        """Note what the download of an artifact of one piece comes to: nothing else here reads it to the end."""
        if download not in self._watched:
            self._watched.add(download)
            _ = self._tasks.spawn(self._judge(cut, path, download), name=f"pieces:{cut.sha256}")

    async def _judge(self, cut: Cut, path: str, download: Download) -> None:
        try:
            await download.blob()
        except EnvproxyError as error:  # told to all who read the download
            self._failed(cut, path, error)

    async def _hash_arriving(self, cut: Cut, path: str, download: Download) -> None:
        hasher, batch = PieceHasher(cut.layout), bytearray()
        try:
            async with aclosing(download.unverified()) as chunks:
                async for chunk in chunks:
                    batch += chunk
                    if len(batch) >= _BATCH_BYTES:
                        self._publish(cut, await asyncio.to_thread(hasher.feed, bytes(batch)))
                        batch.clear()
            self._publish(cut, await asyncio.to_thread(hasher.feed, bytes(batch)))
        except EnvproxyError as error:  # told to all who read the download; here it only spoils the hashes
            self._failed(cut, path, error)
            self._forget(cut)

    def _failed(self, cut: Cut, path: str, error: EnvproxyError) -> None:
        """The bytes that the path leads to were not to be had, or not those of the digest."""
        if isinstance(error, DigestMismatch):
            self._wrong.keep((cut.sha256, path), (self._monotonic() + WRONG_S, error))
            self._forget(cut)

    async def _hash_stored(self, cut: Cut) -> None:
        path, entire = self._artifacts.path(cut.sha256), hashlib.sha256()
        try:
            for piece in range(cut.layout.count):
                self._publish(cut, [await asyncio.to_thread(_hash, path, *cut.layout.span(piece), entire)])
        except OSError as error:
            self._forget(cut)
            if not isinstance(error, FileNotFoundError):  # it was evicted; who asks next has it fetched
                raise
        else:
            if entire.hexdigest() != cut.sha256:
                self._forget(cut)
                await self._artifacts.set_aside(cut.sha256)
                _log.warning("%s was damaged on disk: it is set aside, and fetched again for who asks", cut.sha256)

    def _publish(self, cut: Cut, hashes: list[bytes]) -> None:
        cut.hashes += hashes
        if hashes:
            self._ring(cut.sha256)

    def _forget(self, cut: Cut) -> None:
        """What was published is not to be trusted; who asks next begins again."""
        if self._cuts.get(cut.sha256) is cut:
            del self._cuts[cut.sha256]
        self._ring(cut.sha256)


def _hash(path: Path, start: int, stop: int, entire: hashlib._Hash) -> bytes:
    """The SHA-256 of bytes [start, stop), which are also fed to that of the entire file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (data := file.read(min(_BATCH_BYTES, stop - start))):
            digest.update(data)
            entire.update(data)
            start += len(data)
    return digest.digest()
