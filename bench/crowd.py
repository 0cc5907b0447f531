"""Many clients that want the same file at the same moment, each on a connection of its own.

Plain sockets that throw the bytes away: the clients must cost little, for they share the machine with what they
measure. The first byte counted is the first of the body.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

PATIENCE_S = 300.0
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Crowd:
    """What the clients saw: seconds from each one's connecting to its first byte, and from the start to the end."""

    first_bytes_s: tuple[float, ...]
    total_s: float

    @property
    def first_byte_s(self) -> float:
        """The median client's first byte."""
        return median(self.first_bytes_s)


class Client(asyncio.BufferedProtocol):
    """GETs one file and forgets it."""

    def __init__(self, path: str, host: str) -> None:
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[int] = loop.create_future()
        self.began = loop.time()
        self.first_byte_at = 0.0
        self._now = loop.time
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        self._head = b""
        self._size = 0
        self._buffer = bytearray(_BUFFER_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def get_buffer(self, sizehint: int) -> bytearray:
        """The one buffer, over and over."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count; only what belongs to the head is looked at."""
        if not self.first_byte_at:
            self._head += bytes(memoryview(self._buffer)[:nbytes])
            nbytes = len(self._head.partition(b"\r\n\r\n")[2])
            if not nbytes:
                return
            self.first_byte_at = self._now()
        self._size += nbytes

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closes when the file is whole."""
        if exc is not None:
            self.done.set_exception(exc)
        elif not self._head.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(f"not a file: {self._head[:200]!r}"))
        else:
            self.done.set_result(self._size)


async def crowd(url: str, clients: int, *, size: int) -> Crowd:
    """All at once. Raises RuntimeError unless every client got `size` bytes."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one() -> float:
        assert parts.hostname is not None
        assert parts.port is not None
        _, client = await loop.create_connection(lambda: Client(parts.path, parts.netloc), parts.hostname, parts.port)
        if (got := await client.done) != size:
            raise RuntimeError(f"a client got {got} of {size} bytes of {url}")
        return client.first_byte_at - client.began

    async with asyncio.timeout(PATIENCE_S):
        first_bytes = await asyncio.gather(*(one() for _ in range(clients)))
    return Crowd(tuple(first_bytes), loop.time() - began)
