"""One artifact on its way from upstream into the store, with any number of readers.

The download belongs to nobody: readers join at any byte, tail the temp file, and may leave without harm. Bytes
are hashed as they come. **No reader gets the last `HOLD_BYTES` of what it asked for before the digest matched**, so
a client never holds a complete body that was not verified: on a mismatch its connection is reset and nothing is
kept. A body that upstream cuts is resumed by Range behind the readers' backs.

When the disk is full the download goes on as a *relay*: only the last `TAIL_BYTES` stay in memory, upstream is read
no faster than the slowest reader, newcomers that ask for bytes already gone are turned away, nothing is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envproxy.errors import BadUpstreamBody, ClientError, DigestMismatch, EnvproxyError, StorageFull, UpstreamError

from .report import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .store import Partial
    from .upstream import Body

HOLD_BYTES = 64 * 1024
TAIL_BYTES = 256 * 1024  # kept in memory per download, so that readers at the tip need no disk
READ_BYTES = 256 * 1024
RESUMES = 5  # in a row without a single new byte
STALLED_READER_S = 30.0  # a relay drops a reader that takes nothing for so long

Opener = Callable[[int, str | None], AbstractAsyncContextManager["Body"]]
"""Opens upstream's body from a byte on, given the validator of the first answer (for If-Range)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the bytes must be: digests by algorithm as the index gave them (possibly none)."""

    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str | None:
        """The SHA-256 to demand, if the index gave one."""
        return self.hashes.get("sha256")

    @property
    def other(self) -> str | None:
        """Without a SHA-256: the strongest other algorithm that Python knows, to be checked instead."""
        known = ("sha512", "blake2b", "sha384", "sha3_256", "sha224", "blake2s", "sha1", "md5")
        return None if self.sha256 else next((name for name in known if name in self.hashes), None)


@dataclass(slots=True, eq=False)
class _Reader:
    position: int
    stop: int | None


def worth_finishing(*, readers: int, seen: int, total: int | None) -> bool:
    """Whether a download should go on: always, unless nobody waits and a long way is still to go."""
    return bool(readers) or total is None or total - seen <= max(4 * seen, 64_000_000)


class Download:
    """See the module. `run()` is the flight's work; `chunks()` serves one reader."""

    def __init__(
        self,
        name: str,
        open_body: Opener,
        make_partial: Callable[[], Partial],
        reserve: Callable[[int | None], Awaitable[bool]],
        expected: Expected,
        *,
        reporter: Reporter,
    ) -> None:
        self.name = name
        self.total: int | None = None
        self.digest: str | None = None  # set once verified
        self.stored = False  # verified, and in the store
        self._open_body = open_body
        self._make_partial = make_partial
        self._reserve = reserve
        self._partial: Partial | None = None
        self._expected = expected
        self._other = hashlib.new(expected.other, usedforsecurity=False) if expected.other else None
        self._reporter = reporter
        self._validator: str | None = None
        self._seen = 0
        self._error: EnvproxyError | None = None
        self._opened = False
        self._finished = False
        self._tail: deque[tuple[int, bytes]] = deque()
        self._tail_bytes = 0
        self._readers: set[_Reader] = set()
        self._left = False
        self._waiting: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "failed" if self._error else "verified" if self.digest else "running"
        relay = " relay" if self._is_relay else ""
        return f"<Download {self.name}: {state}{relay}, {self._seen} of {self.total}, {len(self._readers)} readers>"

    @property
    def admits_newcomers(self) -> bool:
        """Whether a reader may still start at the first byte."""
        return self._error is None and (not self._is_relay or self._tail_start == 0)

    @property
    def missing(self) -> int:
        """Bytes that are still to be stored, as far as it is known."""
        return 0 if self._finished or self.total is None else self.total - self._seen

    async def opened(self) -> int | None:
        """Wait until upstream answered; the length of the whole, None if it did not say. Raises what went wrong."""
        while not (self._opened or self._finished):
            await self._news()
        if self._error is not None and not self._seen:
            raise self._error
        return self.total

    async def run(self) -> Download:
        """Fetch, verify, store. Raises `EnvproxyError`; readers get the same error."""
        try:
            self._partial = await asyncio.to_thread(self._make_partial)
            await self._fetch(self._partial)
            await self._verify(self._partial)
        except BaseException as error:
            self._error = (
                error
                if isinstance(error, EnvproxyError)
                else UpstreamError(f"the download of {self.name} was stopped", cause="connect")
            )
            raise
        finally:
            self._finished = True
            self._announce()
            if self._partial is not None:
                await asyncio.shield(asyncio.to_thread(self._partial.discard))
            if not self._readers:
                self._close()
        return self

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, stop) as they may be shown. Raises as `run`, possibly after some bytes."""
        with self._attached(start, stop) as reader:
            while True:
                if self._error is not None:
                    raise self._error
                if reader.position < (limit := self._shown(reader.stop)):
                    data = self._from_tail(reader.position, limit) or await self._from_disk(reader.position, limit)
                    reader.position += len(data)
                    self._announce_if_relay()
                    yield data
                elif self._finished:
                    return
                else:
                    await self._news()

    async def _fetch(self, partial: Partial) -> None:
        idle = 0
        while True:
            before = self._seen
            try:
                async with self._open_body(self._seen, self._validator) as body:
                    await self._take(body, partial)
                return
            except UpstreamError as error:
                idle = 0 if self._seen > before else idle + 1
                tries = RESUMES if self._opened else 1
                if idle > tries or error.cause not in ("connect", "timeout", "5xx"):
                    raise
            await asyncio.sleep(min(0.05 * 2**idle, 2.0) * (0.5 + random.random()))  # noqa: S311 (jitter)

    async def _take(self, body: Body, partial: Partial) -> None:
        if body.start > self._seen:
            raise BadUpstreamBody(f"upstream resumed {self.name} at {body.start}, asked for {self._seen}")
        if not self._opened:
            self.total, self._validator = body.total, body.etag
            partial.full = not await self._reserve(body.total)
            self._opened = True
            self._announce()
        elif body.total != self.total:
            raise BadUpstreamBody(f"{self.name} changed its length upstream, from {self.total} to {body.total}")
        skip = self._seen - body.start
        async for chunk in body.chunks():
            fresh = chunk[skip:]
            skip = max(0, skip - len(chunk))
            if fresh:
                await self._append(fresh, partial)
        if self.total is not None and self._seen != self.total:
            raise UpstreamError(f"upstream cut {self.name} at {self._seen} of {self.total}", cause="connect")

    async def _append(self, chunk: bytes, partial: Partial) -> None:
        was_full = partial.full
        await asyncio.to_thread(self._digest_and_write, chunk, partial)
        if partial.full and not was_full:
            self._reporter.disk_refused()
        self._tail.append((self._seen, chunk))
        self._tail_bytes += len(chunk)
        self._seen += len(chunk)
        self._announce()
        await self._trim_tail(partial)
        if self._left and not worth_finishing(readers=len(self._readers), seen=self._seen, total=self.total):
            raise ClientError(f"nobody waits for {self.name} any more")

    def _digest_and_write(self, chunk: bytes, partial: Partial) -> None:
        partial.append(chunk)
        if self._other is not None:
            self._other.update(chunk)

    async def _trim_tail(self, partial: Partial) -> None:
        """Forget what is older than TAIL_BYTES; in a relay, only once every reader has had it."""
        while self._tail_bytes - len(self._tail[0][1]) >= TAIL_BYTES:
            if partial.full:
                await self._wait_for_readers(self._tail[0][0] + len(self._tail[0][1]), partial)
            self._tail_bytes -= len(self._tail.popleft()[1])

    async def _wait_for_readers(self, position: int, partial: Partial) -> None:
        """Until all readers passed `position`; one that stalls for STALLED_READER_S is dropped."""
        while behind := [r for r in self._readers if partial.stored <= r.position < position]:
            try:
                async with asyncio.timeout(STALLED_READER_S):
                    await self._news()
            except TimeoutError:
                self._readers.difference_update(behind)
        if self._left and not self._readers:
            raise StorageFull(f"no room to store {self.name} and nobody waits for it any more")

    async def _verify(self, partial: Partial) -> None:
        if self.total is None:
            self.total = self._seen
        if self._other is not None and self._expected.other is not None:
            wanted = self._expected.hashes[self._expected.other]
            if self._other.hexdigest() != wanted.lower():
                raise self._mismatch(f"{self._expected.other} {self._other.hexdigest()}, not {wanted}")
        try:
            self.digest = await asyncio.to_thread(partial.commit, self._expected.sha256)
            self.stored = True
        except DigestMismatch as error:
            raise self._mismatch(error.message) from None
        except StorageFull:
            self.digest = partial.digest()

    def _mismatch(self, detail: str) -> DigestMismatch:
        self._reporter.digest_mismatch("upstream")
        return DigestMismatch(
            f"upstream's bytes of {self.name} are not what its index promises: {detail}",
            hint="the file was changed upstream or on the way; nothing of it was kept",
        )

    def _shown(self, stop: int | None) -> int:
        """Up to which byte a reader that wants to `stop` may see."""
        if self.digest is not None:
            return self._seen if stop is None else min(stop, self._seen)
        end = self._seen if self.total is None else self.total
        if stop is not None:
            end = min(end, stop)
        return min(self._seen, end - HOLD_BYTES)

    async def _from_disk(self, position: int, limit: int) -> bytes:
        assert self._partial is not None
        if position >= self._partial.stored:
            raise StorageFull(f"the disk is full and this client was too slow for {self.name} to be kept in memory")
        count = min(limit - position, READ_BYTES)
        return await asyncio.to_thread(self._partial.read, position, count)

    def _from_tail(self, position: int, limit: int) -> bytes | None:
        for start, chunk in reversed(self._tail):
            if start <= position < start + len(chunk):
                whole = position == start and start + len(chunk) <= limit
                return chunk if whole else chunk[position - start : limit - start]
        return None

    @property
    def _tail_start(self) -> int:
        return self._tail[0][0] if self._tail else self._seen

    @contextmanager
    def _attached(self, start: int, stop: int | None) -> Iterator[_Reader]:
        reader = _Reader(start, stop)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self._left = True
            self._announce_if_relay()
            if self._finished and not self._readers:
                self._close()

    @property
    def _is_relay(self) -> bool:
        return self._partial is not None and self._partial.full

    def _announce_if_relay(self) -> None:
        if self._is_relay:
            self._announce()

    def _close(self) -> None:
        """Give the temp file back; what was committed is a blob by now."""
        if self._partial is not None:
            self._partial.close()

    def _announce(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _news(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
