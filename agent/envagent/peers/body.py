"""The body of a piece as it comes over a connection: few wake-ups, few and large batches.

That of a large one is taken straight from its socket by the thread that hashes and writes it (`tapped`), unless it is
encrypted. All others come by way of the event loop (`batches`).

A line of 100 Mbit/s brings some kilobytes at a time, and waking up for each costs more CPU time than all that is done
with them. So the kernel is told how many bytes are worth it (SO_RCVLOWAT: socket(7)): as many as come in WAKE_S or
so, which leaves a slow sender many times that until it counts as silent. Invariant: the mark is 1 again when a body
ends, for the connection goes on to another answer. What the bytes are for is not known here.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from envproxy.engine.failures import NETWORK, translated
from envproxy.engine.tap import Tap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import aiohttp

WAKE_S = 0.1
FIRST_BYTES = 1 << 14
LEAST_BYTES = 1 << 12
MOST_BYTES = 1 << 18  # what asyncio takes from a socket at a time
BATCH_BYTES = 1 << 20  # a thread costs 0.1 ms
CACHED_BYTES = 1 << 18  # what a core has at hand between the socket, the hash and the file
_UNSURE_BYTES = 1 << 15  # of the end: under TLS the socket may have had some of it, in a record that is not whole yet


def worth_waking(before: int, seconds: float) -> int:
    """How many bytes to be woken for, if it was `before` and took so long: twice as many, or half."""
    return min(MOST_BYTES, before * 2) if seconds < WAKE_S else max(LEAST_BYTES, before // 2)


def tapped(answer: aiohttp.ClientResponse) -> Tap | None:
    """The rest of a body for a thread to take; None if it has to come by way of the event loop.

    The server may be silent as long as the request allows.
    """
    protocol = answer.connection.protocol if answer.connection else None
    if protocol is None or protocol.read_timeout is None:
        return None
    return Tap.of(answer, silence_s=protocol.read_timeout)


async def batches(answer: aiohttp.ClientResponse, clock: Callable[[], float]) -> AsyncGenerator[list[bytes], None]:
    """All that the server sends, in lists of some BATCH_BYTES. Raises UpstreamError, after what came before it."""
    mark = _LowMark(answer, clock)
    left = answer.content_length or 0
    batch: list[bytes] = []
    size = 0
    try:
        mark.set(left)
        async for chunk, _ in answer.content.iter_chunks():
            left -= len(chunk)
            mark.set(left)
            batch.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except NETWORK as error:
        yield batch
        raise translated(error, answer.url) from error
    yield batch


class _LowMark:
    """How many bytes must have come on the connection of an answer before the event loop hears of them."""

    def __init__(self, answer: aiohttp.ClientResponse, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._worth = FIRST_BYTES
        self._at = clock()
        transport = answer.connection.transport if answer.connection else None  # None: all is here already
        self._socket = transport.get_extra_info("socket") if transport else None
        self._mark = 1

    def set(self, left: int) -> None:
        """`left` bytes of the body are still to come."""
        now = self._clock()
        self._worth, self._at = worth_waking(self._worth, now - self._at), now
        mark = max(1, min(self._worth, left - _UNSURE_BYTES))
        if mark != self._mark and self._socket is not None:
            self._mark = mark
            with suppress(OSError):  # it is closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
