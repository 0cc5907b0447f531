"""What an upstream answers: a page, "unchanged", "no such thing", or a body that is arriving.

Failures are not among them: they are raised.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

import aiohttp

from envproxy.errors import BadUpstreamBody

from .failures import NETWORK, file_of, translated
from .tap import Tap

READ_BYTES = 64 * 1024  # at a time, per connection; with 50 downloads at once this is what bounds memory
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole body with what upstream said about it; `url` is the final one, after redirects."""

    body: bytes
    url: str
    content_type: str | None
    etag: str | None
    last_modified: str | None
    cache_control: str | None
    age: str | None


@dataclass(frozen=True, slots=True)
class NotModified:
    """What we have is still right (304)."""

    cache_control: str | None
    age: str | None


@dataclass(frozen=True, slots=True)
class Absent:
    """Upstream says that there is no such thing (404, 410)."""


@dataclass(slots=True)
class Body:
    """A body that is arriving: it starts at byte `start` of a whole of `total` bytes (None: not stated).

    `validator` is what an If-Range may name (RFC 9110, 13.1.5): a strong ETag, else the Last-Modified date.
    """

    start: int
    total: int | None
    validator: str | None
    _response: aiohttp.ClientResponse
    _sent: Callable[[int], None]
    _silence_s: float

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, sent: Callable[[int], None], *, silence_s: float) -> Body:
        """The body of a 200 or a 206; `sent` is told how many bytes came. Raises `BadUpstreamBody`.

        A server that sends nothing for `silence_s` has failed.
        """
        start, total = 0, response.content_length
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if match is None:
                raise BadUpstreamBody(f"{response.host} sent a part of {file_of(response.url)} without saying which")
            start, total = int(match[1]), None if match[2] == "*" else int(match[2])
        etag = response.headers.get("ETag", "W/")
        validator = response.headers.get("Last-Modified") if etag.startswith("W/") else etag
        return cls(start, total, validator, response, sent, silence_s)

    async def chunks(self, *, most: int | None = READ_BYTES) -> AsyncGenerator[bytes, None]:
        """The bytes as they come; raises `UpstreamError` when they stop before their end.

        A chunk has at most `most` bytes, or, if that is None, all that came meanwhile: a copy less. What arrived with
        the break and was not read by then is lost with the connection.
        """
        content = self._response.content
        try:
            async for chunk in content.iter_any() if most is None else content.iter_chunked(most):
                self._sent(len(chunk))
                yield chunk
        except NETWORK as error:
            raise translated(error, self._response.url) from error

    async def taken_by(self, take: Callable[[Iterator[memoryview]], None]) -> bool:
        """Have `take` go through the bytes in a thread, straight from the socket; whether that can be done (tap.py).

        Each part is to be used before the next is asked for, which raises `UpstreamError` where the server fails or
        ends early. What `take` raises passes.
        """
        tap = Tap.of(self._response, silence_s=self._silence_s)
        if tap is None:
            return False
        with tap:
            length = tap.length
            try:
                await tap.run(lambda: take(tap.batches()))
            finally:
                self._sent(length - tap.left)
        return True


@dataclass(frozen=True, slots=True)
class Incoming:
    """A whole body that is arriving, with what upstream said about it."""

    body: Body
    etag: str | None
    last_modified: str | None
    cache_control: str | None
    age: str | None

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, body: Body) -> Incoming:
        """The headers of a 200 beside its body."""
        headers = response.headers
        return cls(
            body,
            etag=headers.get("ETag"),
            last_modified=headers.get("Last-Modified"),
            cache_control=headers.get("Cache-Control"),
            age=headers.get("Age"),
        )
