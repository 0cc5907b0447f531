"""The body of an answer taken straight from its socket, by the thread that does something with it.

The event loop reads a socket in pieces of 64 KiB, makes an object of each and wakes whoever waits for it; a file of
some megabytes costs more CPU time that way than its hashing. Here a thread reads it into one buffer, a megabyte at a
time, while the loop has let go of the connection. Only bodies of a stated length over plain HTTP can be had so: under
TLS, or chunked, the bytes on the line are not the body. Invariant: the connection goes on to another answer only if
all of this one was taken from it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import aiohttp

from .failures import translated
from .flights import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAST_BYTES = 1 << 20  # below it a connection of its own costs more than it saves
BATCH_BYTES = 1 << 20
_LEAST_WAKE_BYTES = 1 << 14  # that are worth waking up for, and the most, where so much comes within _WAKE_S
_MOST_WAKE_BYTES = 1 << 18
_WAKE_S = 0.1


class Tap:
    """What of a body is to come on a socket: `left` bytes, after those of `first`; `length` together.

    A context manager; a server that sends nothing for `silence_s` has failed.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, line: socket.socket, first: bytes, left: int, *, silence_s: float
    ) -> None:
        self.length = len(first) + left
        self.left = left
        self._response = response
        self._first = first
        self._line = line
        self._silence_s = silence_s
        self._worth = _LEAST_WAKE_BYTES

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, *, silence_s: float) -> Tap | None:
        """The rest of an answer that begins to arrive; None where it has to come by way of the event loop."""
        length = response.content_length
        if length is None or length < LEAST_BYTES or "Content-Encoding" in response.headers:
            return None
        protocol = response.connection.protocol if response.connection else None
        if protocol is None or protocol.transport is None or protocol.transport.get_extra_info("sslcontext"):
            return None
        if response.content.exception() is not None:  # which whoever reads it the other way is told
            return None
        try:
            line = protocol.transport.get_extra_info("socket").dup()
        except OSError:  # too many files are open
            return None
        first = b"".join(iter(response.content.read_nowait, b""))
        protocol.pause_reading()
        return cls(response, line, first, length - len(first), silence_s=silence_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    async def run(self, work: Callable[[], None]) -> None:
        """Do the work, which goes through `batches`, in a thread of its own: it may wait for long.

        It never outlives this call: where that is cancelled, the work sees the end of the line.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="tap")
        working = asyncio.get_running_loop().run_in_executor(pool, work)
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            with suppress(OSError):  # the server has ended it already
                self._line.shutdown(socket.SHUT_RDWR)
            await ended(working)
            raise
        finally:
            pool.shutdown(wait=False)
        if not self.left:
            self._give_back()

    def _give_back(self) -> None:
        """Let another answer come over the connection: this one has ended, which aiohttp did not see."""
        self._set_mark(1)
        self._response.content.feed_eof()

    def batches(self, most: int = BATCH_BYTES) -> Iterator[memoryview]:
        """All that comes, in order, in parts of `most` bytes, or fewer where the line is slow (blocking).

        Use each before you ask for the next. Raises UpstreamError, after what came before.
        """
        if self._first:
            yield memoryview(self._first)
        if not self.left:
            return
        buffer = memoryview(bytearray(min(most, self.left)))
        while self.left:
            count, failure = self._fill(buffer[: self.left])
            self.left -= count
            yield buffer[:count]
            if failure:
                raise translated(failure, self._response.url) from failure

    def _fill(self, view: memoryview) -> tuple[int, Exception | None]:
        """Read until the view is full or it takes long: how many bytes, and what went wrong after them."""
        filled = 0
        while filled < len(view):
            try:
                count = self._line.recv_into(view[filled:])
            except BlockingIOError:
                if self._comes_soon(len(view) - filled):
                    continue
                if filled:
                    break
                if not self._comes():
                    return 0, TimeoutError()
                continue
            except OSError as error:
                return filled, error
            if not count:
                return filled, aiohttp.ClientPayloadError("the server has ended the body early")
            filled += count
        return filled, None

    def _comes_soon(self, size: int) -> bool:
        """Wait a moment for what is worth it, of `size` bytes; whether it came."""
        self._set_mark(min(self._worth, size))
        is_quick = self._comes(_WAKE_S)
        self._worth = min(self._worth * 2, _MOST_WAKE_BYTES) if is_quick else _LEAST_WAKE_BYTES
        if not is_quick:
            self._set_mark(1)
        return is_quick

    def _comes(self, seconds: float | None = None) -> bool:
        """Wait for bytes, or the end, as long as the server may be silent; whether there is something to be read."""
        coming = select.poll()
        coming.register(self._line, select.POLLIN)
        return bool(coming.poll((self._silence_s if seconds is None else seconds) * 1e3))

    def _set_mark(self, count: int) -> None:
        """How many bytes must have come before poll(2) says so."""
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
