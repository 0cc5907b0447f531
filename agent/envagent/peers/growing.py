"""What readers see of an artifact that comes: its size, then its bytes in order, as they are verified.

Whoever brings it sets `holding`, then `path` or `_error`, and tells. Of what a reader asks for, the last HOLD_BYTES
are not shown before the digest of the whole matched: whoever has a complete file has a verified one.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

from envproxy.engine.download import HOLD_BYTES
from envproxy.engine.ranges import Span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from envagent.peers.holding import Holding
    from envproxy.errors import EnvproxyError


class Growing:
    """An artifact that grows in `holding`, until it is at `path`. Any number of readers."""

    def __init__(self) -> None:
        self.holding: Holding | None = None
        self.path: Path | None = None  # once it is whole and verified
        self._error: EnvproxyError | None = None
        self._news = asyncio.Event()

    async def opened(self) -> int:
        """Wait until the size in bytes is known. Raises what went wrong."""
        while self.holding is None:
            self._raise_error()
            await self._news.wait()
        return self.holding.layout.size

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[BinaryIO, None]:
        """The file that the bytes come into, for the time of a block. Raises as `opened`."""
        await self.opened()
        assert self.holding is not None
        fd = await asyncio.to_thread(self.holding.open)
        if fd is None:
            fd = await asyncio.to_thread(os.open, await self.whole(), os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as file:
            yield file

    async def spans(self, start: int, stop: int) -> AsyncGenerator[Span, None]:
        """Parts of [start, stop) that may be shown, in order, as they come. Raises as `run`, possibly after some."""
        while start < stop:
            shown = self._shown(stop)
            if start < shown:
                yield Span(start, shown, stop)
                start = shown
            else:
                self._raise_error()
                await self._news.wait()
        await self._done()

    async def growth(self) -> AsyncGenerator[int, None]:
        """How many more bytes are here, each time some came, until it is whole. Raises as `run`."""
        size, here = await self.opened(), 0
        while self.path is None:
            assert self.holding is not None
            now = min(size, self.holding.verified.bit_count() * self.holding.layout.piece_bytes)
            if now > here:
                yield now - here
                here = now
            else:
                self._raise_error()
                await self._news.wait()
        yield size - here

    async def whole(self) -> Path:
        """Wait for the end; where the artifact is. Raises as `run`."""
        await self._done()
        assert self.path is not None
        return self.path

    async def _done(self) -> None:
        while self.path is None:
            self._raise_error()
            await self._news.wait()

    def _shown(self, end: int) -> int:
        assert self.holding is not None
        return end if self.path is not None else min(self.holding.leading, end - HOLD_BYTES)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
