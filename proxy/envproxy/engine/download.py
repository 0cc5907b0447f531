"""One artifact on its way from upstream into the store, with any number of readers.

The download belongs to nobody: readers join at any byte, tail the temp file, and may leave without harm. Bytes
are hashed as they come. **No reader gets the last `HOLD_BYTES` of what it asked for before the digest matched**, so
a client never holds a complete body that was not verified: on a mismatch its connection is reset and nothing is
kept. While nobody was told anything yet, another place may be asked for the right bytes instead. A body that upstream
cuts is resumed by Range behind the readers' backs, if a digest or a validator tells that the parts belong together.

When the disk is full the download goes on as a *relay*: only the last `TAIL_BYTES` stay in memory, upstream is read
no faster than the slowest reader, newcomers that ask for bytes already gone are turned away, nothing is stored.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import TYPE_CHECKING

from envproxy.errors import BadUpstreamBody, DigestMismatch, EnvproxyError, StorageFull, UpstreamError

from . import endurance
from .expected import Expected
from .flights import uninterrupted
from .readers import Reader, Readers
from .report import Reporter
from .tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .answers import Body
    from .store import Partial

HOLD_BYTES = 64 * 1024
TAIL_BYTES = 128 * 1024  # kept in memory per download, so that readers at the tip need no disk; more than HOLD_BYTES
READ_BYTES = 128 * 1024  # from disk at a time, per reader
ROOM_BYTES = 64 * 1024 * 1024  # is made at a time for a body that does not say its length
STALLED_READER_S = 30.0  # a relay drops a reader that takes nothing for so long
_NOWHERE = sys.maxsize  # the position of who waits but reads nothing: a relay need not wait for it

Opener = Callable[[int, str | None], AbstractAsyncContextManager["Body"]]
"""Opens upstream's body from a byte on, given the validator of the first answer (for If-Range)."""


Elsewhere = Callable[[], bool]
"""Is told that what upstream sent is wrong; whether opening it again may lead to another place, that has it right."""


class Download:
    """See the module. `run()` is the flight's work; `chunks()` serves one reader; `close()` when none may come."""

    def __init__(
        self,
        name: str,
        open_body: Opener,
        make_partial: Callable[[], Partial],
        reserve: Callable[[int], Awaitable[bool]],
        expected: Expected,
        *,
        elsewhere: Elsewhere | None = None,
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
        self._elsewhere = elsewhere
        self._is_watched = False  # by somebody who gets bytes before they are verified
        self._other = expected.hasher()
        self._reporter = reporter
        self._validator: str | None = None
        self._room = 0  # bytes that the store was asked to make room for
        self._error: EnvproxyError | None = None
        self._finished = False
        self._closing = False
        self._tail = Tail()
        self._readers = Readers()

    def __repr__(self) -> str:
        state = "failed" if self._error else "verified" if self.digest else "running"
        relay = " relay" if self._is_relay else ""
        return f"<Download {self.name}: {state}{relay}, {self._seen} of {self.total}, {len(self._readers)} readers>"

    @property
    def admits_newcomers(self) -> bool:
        """Whether a reader may still start at the first byte."""
        return self._error is None and (not self._is_relay or self._tail.start == 0)

    @property
    def missing(self) -> int:
        """Bytes that are still to be stored, as far as it is known."""
        return 0 if self._finished or self._is_relay else self._room - self._seen

    async def opened(self) -> int | None:
        """Wait until upstream answered; the length of the whole, None if it did not say. Raises what went wrong.

        Who wants the bytes asks for `chunks` without another await: a download that everybody left may give up.
        """
        with self._attached(_NOWHERE, None):
            while not self._finished and self.digest is None and (self._partial is None or self._may_move):
                await self._readers.news()
        self._raise_error()
        return self.total

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, stop) as they may be shown. Raises as `run`, possibly after some bytes.

        In a relay, what a reader of a part may not see yet could be forgotten before it may: so it is set aside.
        """
        aside = bytearray()
        with self._attached(start, stop) as reader:
            while True:
                self._raise_error()
                arrived = self._seen if stop is None else min(stop, self._seen)
                if aside and self.digest is not None:
                    yield bytes(aside)
                    aside.clear()
                elif reader.position < (shown := self._shown(stop)):
                    yield await self._next(reader, shown)
                elif self._is_relay and stop is not None and reader.position < arrived:
                    aside += await self._next(reader, arrived)
                elif self.digest is not None:
                    return
                else:
                    await self._readers.news()

    async def unverified(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, stop) as they come, right or not, for who can tell otherwise. Raises as `run`."""
        self._is_watched = True
        with self._attached(start, stop) as reader:
            while stop is None or reader.position < stop:
                self._raise_error()
                arrived = self._seen if stop is None else min(stop, self._seen)
                if reader.position < arrived:
                    yield await self._next(reader, arrived)
                elif self.digest is not None:
                    return
                else:
                    await self._readers.news()

    async def blob(self) -> str:
        """Wait for the end; the SHA-256 of the blob. Raises as `run`, and StorageFull if it could not be stored."""
        with self._attached(_NOWHERE, None):
            while not (self._finished or self._is_relay):
                await self._readers.news()
        self._raise_error()
        if self.digest is None or not self.stored:
            raise StorageFull(f"there was no room to store {self.name}")
        return self.digest

    async def run(self) -> None:
        """Fetch, verify, store. Raises `EnvproxyError`; readers get the same error."""
        try:
            await self._fetch_right()
        except BaseException as error:
            self._error = self._told(error)
            raise
        finally:
            self._finished = True
            self._readers.wake()
            if self._partial is not None:
                await uninterrupted(asyncio.to_thread(self._partial.discard))

    def close(self) -> None:
        """Let go of the temp file, as soon as the last reader has left. What was committed is a blob by now."""
        self._closing = True
        if self._partial is not None and not self._readers:
            # In a thread: the last close of an unlinked file frees its blocks.
            _ = asyncio.get_running_loop().run_in_executor(None, self._partial.close)

    async def _fetch_right(self) -> None:
        while True:
            try:
                await self._fetch()
                await self._verify()
                return
            except BadUpstreamBody:
                is_elsewhere = self._elsewhere is not None and self._elsewhere()
                if not (is_elsewhere and self._may_move):
                    raise
            await self._start_over()

    @property
    def _may_move(self) -> bool:
        """Whether the bytes of another place can replace these: all of them are held back until they are verified."""
        end = self._seen if self.total is None else self.total
        return self._elsewhere is not None and end <= HOLD_BYTES and not self._is_watched

    async def _start_over(self) -> None:
        partial, self._partial = self._partial, None
        self._tail, self._room, self._validator, self.total = Tail(), 0, None, None
        self._other = self._expected.hasher()
        if partial is not None:
            await uninterrupted(asyncio.to_thread(partial.close))

    async def _fetch(self) -> None:
        idle = 0
        while True:
            before = self._seen
            try:
                async with self._open_body(self._seen, self._validator) as body:
                    await self._take(body)
                return
            except UpstreamError as error:
                idle = 0 if self._seen > before else idle + 1
                if not self._may_go_on(error, idle):
                    raise
            await asyncio.sleep(endurance.PAUSES_S[idle])

    def _may_go_on(self, error: UpstreamError, idle: int) -> bool:
        if self._partial is None:
            return endurance.may_begin_again(error.cause, tries=idle)
        fits = self._expected.vouches or self._validator is not None
        return endurance.may_resume(error.cause, idle=idle, seen=self._seen, fits=fits)

    async def _take(self, body: Body) -> None:
        if body.start > self._seen:
            raise BadUpstreamBody(f"upstream sent {self.name} from {body.start} on, asked for {self._seen}")
        if self._partial is None:
            await self._begin(body)
        else:
            self._check_resumed(body)
        skip = self._seen - body.start
        async with aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                fresh = chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))
                if fresh:
                    await self._append(fresh)
        if self.total is not None and self._seen < self.total:
            raise UpstreamError(f"upstream cut {self.name} at {self._seen} of {self.total}", cause="connect")

    async def _begin(self, body: Body) -> None:
        self.total, self._validator = body.total, body.validator
        self._room = ROOM_BYTES if body.total is None else body.total
        has_room = await self._reserve(self._room)
        partial = await uninterrupted(asyncio.to_thread(self._create_partial))
        if partial.full:
            self._reporter.disk_refused()
        partial.full |= not has_room
        self._readers.wake()

    def _create_partial(self) -> Partial:
        self._partial = self._make_partial()
        return self._partial

    def _check_resumed(self, body: Body) -> None:
        """Whether the body is the rest of what is here: a digest will tell, else length and validator must."""
        if self.total is None:
            self.total = body.total
        if body.total not in (None, self.total):
            raise BadUpstreamBody(f"{self.name} changed its length upstream, from {self.total} to {body.total}")
        if self._seen and not self._expected.vouches and body.validator != self._validator:
            raise BadUpstreamBody(f"{self.name} changed upstream while it was downloaded")

    async def _append(self, chunk: bytes) -> None:
        assert self._partial is not None
        grown = self._seen + len(chunk)
        if self.total is not None and grown > self.total:
            raise BadUpstreamBody(f"upstream sent more of {self.name} than its {self.total} bytes")
        self._check_magic(chunk)
        if grown > self._room:
            await self._make_more_room(self._partial)
        was_full = self._partial.full
        await asyncio.to_thread(self._digest_and_write, chunk, self._partial)
        if self._partial.full and not was_full:
            self._reporter.disk_refused()
        self._tail.append(chunk)
        self._readers.wake()
        await self._trim_tail()
        if self._readers.some_left and not endurance.worth_finishing(
            readers=len(self._readers), seen=grown, total=self.total, kept=not self._partial.full
        ):
            raise EnvproxyError(f"the download of {self.name} was given up: nobody waited for it any more")

    async def _make_more_room(self, partial: Partial) -> None:
        self._room += ROOM_BYTES
        if not await self._reserve(ROOM_BYTES):
            partial.full = True

    def _digest_and_write(self, chunk: bytes, partial: Partial) -> None:
        partial.append(chunk)
        if self._other is not None:
            self._other.update(chunk)

    async def _trim_tail(self) -> None:
        """Forget what is older than TAIL_BYTES; in a relay, only once every reader has had it."""
        while self._seen - (position := self._tail.oldest_end()) >= TAIL_BYTES:
            if self._is_relay:
                await self._wait_for_readers(position)
            self._tail.forget_oldest()

    async def _wait_for_readers(self, position: int) -> None:
        """Until all readers passed `position`; those that stall for STALLED_READER_S are dropped."""
        while behind := self._readers.behind(position):
            try:
                async with asyncio.timeout(STALLED_READER_S):
                    await self._readers.news()
            except TimeoutError:
                self._readers.drop(behind)

    async def _verify(self) -> None:
        assert self._partial is not None
        if self.total is None:
            self.total = self._seen
        self._check_magic(b"")
        self._check_digest(self._partial)
        self.digest = self._partial.digest()
        self._readers.wake()  # before the disk has synced: what readers wait for is the digest
        try:
            await uninterrupted(asyncio.to_thread(self._commit, self._partial))
        except StorageFull:
            if not self._is_relay:
                self._reporter.disk_refused()

    def _commit(self, partial: Partial) -> None:
        partial.commit(self.digest)
        self.stored = True

    def _check_magic(self, chunk: bytes) -> None:
        if not self._expected.admits(chunk, self._seen):
            raise BadUpstreamBody(
                f"upstream sent something else for {self.name}: a file of that kind does not begin like this",
                hint="it may be the page of a gateway or a login; nothing of it was kept",
            )

    def _check_digest(self, partial: Partial) -> None:
        found = {"sha256": partial.digest()}
        if self._other is not None:
            found[self._other.name] = self._other.hexdigest()
        if (wrong := self._expected.mismatch(found)) is not None:
            self._reporter.digest_mismatch("upstream")
            raise DigestMismatch(
                f"upstream's bytes of {self.name} are not what its index promises: {wrong}",
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

    async def _next(self, reader: Reader, limit: int) -> bytes:
        """The next bytes before `limit`, of which there are some."""
        data = self._tail.read(reader.position, limit) or await self._from_disk(reader.position, limit)
        reader.position += len(data)
        if self._is_relay:
            self._readers.wake()
        return data

    async def _from_disk(self, position: int, limit: int) -> bytes:
        assert self._partial is not None
        if position >= self._partial.stored:
            raise StorageFull(f"the disk is full and this client was too slow for {self.name} to be kept in memory")
        count = min(limit - position, READ_BYTES)
        return await asyncio.to_thread(self._partial.read, position, count)

    @property
    def _seen(self) -> int:
        return self._tail.end

    @property
    def _is_relay(self) -> bool:
        return self._partial is not None and self._partial.full

    @contextmanager
    def _attached(self, start: int, stop: int | None) -> Iterator[Reader]:
        reader = self._readers.add(start, stop)
        try:
            yield reader
        finally:
            self._readers.remove(reader)
            if self._is_relay:
                self._readers.wake()
            if self._closing:
                self.close()

    def _told(self, error: BaseException) -> EnvproxyError:
        """What readers are told of an end before the end."""
        if isinstance(error, EnvproxyError):
            return error
        if isinstance(error, asyncio.CancelledError):
            return UpstreamError(f"the download of {self.name} was stopped", cause="connect")
        return EnvproxyError(f"the download of {self.name} failed inside this proxy; its log says why")

    def _raise_error(self) -> None:
        """What went wrong, unless the bytes were verified before: then they are all here."""
        if self._error is not None and self.digest is None:
            raise self._error.with_traceback(None)  # it is shared: no reader should find the frames of the others
