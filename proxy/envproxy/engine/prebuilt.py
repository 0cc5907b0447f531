"""Answers whose head is ready-made bytes, for what is sent thousands of times a second.

Building a response object, its header map and its status line costs aiohttp as much as routing and parsing the
request together. A page's head changes once a second (Date, and the max-age that is left), so it is rendered once a
second and written with the body in one piece. Only for keep-alive HTTP/1.1: everybody else gets an ordinary response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_PIECE_BYTES = 512 * 1024  # what asyncio's transport may copy for a slow client; nearly every page is smaller


def render_head(status: int, headers: Mapping[str, str], *, now: float) -> bytes:
    """The head of an answer (RFC 9112, 4 and 5) with its Date; `now` is in seconds since the epoch.

    Raises ValueError for a header that would end the head early.
    """
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += (f"{name}: {value}" for name, value in headers.items())
    lines += (f"Date: {formatdate(now, usegmt=True)}", "Server: envproxy", "", "")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header value has a line break in it")
    return "\r\n".join(lines).encode("latin-1")


def suits(request: web.BaseRequest) -> bool:
    """Whether a request may be answered with a `Prebuilt`."""
    return request.version == HttpVersion11 and request.keep_alive


class Prebuilt(web.StreamResponse):
    """A whole answer: `head` from `render_head`, and the body that it announces (b"" for HEAD and 304)."""

    def __init__(self, status: int, head: bytes, body: bytes, *, cache: str) -> None:
        """`cache` is what the access log shows as the cache's result; what is sent stands in `head`.

        `when_sent` is called when it is, or when the client turned out to be gone.
        """
        super().__init__(status=status)
        self.headers["X-Envmesh-Cache"] = cache
        self._head = head
        self._payload = body
        self._to: web.BaseRequest | None = None
        self._is_sent = False
        self.when_sent: Callable[[], None] = _nothing

    @property
    def body_length(self) -> int:
        """Bytes written, head included (as aiohttp counts it); 0 before that."""
        return len(self._head) + len(self._payload) if self._is_sent else 0

    @property
    def content_length(self) -> int:
        """Bytes of the body as sent."""
        return len(self._payload)

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        raise AttributeError("the head is rendered already")

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing to prepare but to remember where to write; called by aiohttp."""
        self._keep_alive = True
        self._to = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write it all; called by aiohttp. Raises ConnectionResetError if the client is gone."""
        assert self._to is not None, "prepare() comes first"
        try:
            await self._write(self._to)
            self._is_sent = True
        finally:
            # Called once and let go: who waits holds this answer too, and a cycle would be left to the collector.
            when_sent, self.when_sent = self.when_sent, _nothing
            when_sent()

    async def _write(self, to: web.BaseRequest) -> None:
        transport = to.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if not self._payload:
            transport.write(self._head)
        elif len(self._payload) <= _PIECE_BYTES:
            transport.writelines((self._head, self._payload))
            await to.writer.drain()
        else:
            await self._write_in_pieces(transport, to.writer)

    async def _write_in_pieces(self, transport: asyncio.WriteTransport, writer: AbstractStreamWriter) -> None:
        transport.write(self._head)
        body = memoryview(self._payload)
        for start in range(0, len(body), _PIECE_BYTES):
            transport.write(body[start : start + _PIECE_BYTES])
            await writer.drain()


def _nothing() -> None:
    """Nobody wants to know."""
