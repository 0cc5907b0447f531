"""Sends one immutable artifact to a client: from the store by sendfile, or from a download while it arrives.

Both ways honour single ranges, If-Range, If-None-Match and HEAD (RFC 9110), carry the digest as a strong ETag and
never a Content-Encoding. An error may come after the first byte: whoever turns errors into answers must reset the
connection then, so that a client sees truncation, never poison.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from aiohttp import web

from .download import Download
from .ranges import Span, Unsatisfiable, requested

_SMALL_BYTES = 64 * 1024  # below this one read and one write beat the set-up of sendfile


@dataclass(frozen=True, slots=True)
class Representation:
    """What is sent: `etag` is quoted, None while the digest is unknown; `headers` have the Cache-Control, too."""

    etag: str | None
    headers: Mapping[str, str]
    content_type: str = "application/octet-stream"


def etag_of(sha256: str) -> str:
    """The strong validator of an artifact."""
    return f'"{sha256}"'


async def send_blob(
    request: web.Request, path: Path, what: Representation, *, within: tuple[int, int] | None = None
) -> web.StreamResponse:
    """Send a stored blob, or its bytes `within` [start, stop). Raises FileNotFoundError if it was just evicted."""
    if what.etag is not None and _unchanged(request, what.etag):
        return web.Response(status=304, headers=_validators(what))
    blob, size = await asyncio.to_thread(_open, path)
    first, last = within or (0, size)
    with blob:
        answer = _head(request, what, total=last - first)
        if isinstance(answer, web.Response):
            return answer
        response, span = answer
        await response.prepare(request)
        if request.method != "HEAD":
            start, stop = (first + span.start, first + span.stop) if span else (first, last)
            await _send_open_file(request, response, blob, Span(start, stop, size))
    await response.write_eof()
    return response


async def send_bytes(request: web.Request, data: bytes, what: Representation) -> web.StreamResponse:
    """Send something small that is in memory."""
    answer = _head(request, what, total=len(data))
    if isinstance(answer, web.Response):
        return answer
    response, span = answer
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(data[span.start : span.stop] if span else data)
    await response.write_eof()
    return response


class Arriving(Protocol):
    """An artifact that can be read while it comes, as a `Download` can."""

    async def opened(self) -> int | None:
        """See `Download.opened`."""

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """See `Download.chunks`."""


async def send_download(request: web.Request, download: Arriving, what: Representation) -> web.StreamResponse:
    """Send an artifact that is still arriving. Raises `EnvproxyError`, possibly after some bytes were sent."""
    total = await download.opened()
    if request.method == "HEAD":
        return describe(request, what, total=total)
    answer = _head(request, what, total=total)
    if isinstance(answer, web.Response):
        return answer
    response, span = answer
    async with aclosing(download.chunks(span.start, span.stop) if span else download.chunks()) as chunks:
        async for chunk in chunks:
            if not response.prepared:  # so late that an error can still be told by its status
                await response.prepare(request)
            await response.write(chunk)
    await response.prepare(request)
    await response.write_eof()
    return response


class Growing(Protocol):
    """An artifact that lies in a file while it comes, with gaps."""

    async def opened(self) -> int:
        """Its size in bytes, once that is known."""

    def reading(self) -> AbstractAsyncContextManager[BinaryIO]:
        """The file, for the time of a block."""

    def spans(self, start: int, stop: int) -> AsyncGenerator[Span, None]:
        """Parts of [start, stop) that may be sent, in order, each as soon as it may."""


async def send_growing(request: web.Request, artifact: Growing, what: Representation) -> web.StreamResponse:
    """Send an artifact by sendfile while it comes. Raises `EnvproxyError`, possibly after some bytes were sent."""
    total = await artifact.opened()
    answer = _head(request, what, total=total)
    if isinstance(answer, web.Response):
        return answer
    response, part = answer
    start, stop = (part.start, part.stop) if part else (0, total)
    async with artifact.reading() as file, aclosing(artifact.spans(start, stop)) as spans:
        async for span in spans:
            if not response.prepared:  # so late that an error can still be told by its status
                await response.prepare(request)
            await _send_open_file(request, response, file, span)
    await response.prepare(request)
    await response.write_eof()
    return response


async def send_unverified(
    request: web.Request, download: Download, what: Representation, *, within: tuple[int, int]
) -> web.StreamResponse:
    """Send bytes `within` [start, stop) as they come, to who can verify them. Raises as `send_download`."""
    first, last = within
    if request.method == "HEAD":
        return describe(request, what, total=last - first)
    answer = _head(request, what, total=last - first)
    if isinstance(answer, web.Response):
        return answer
    response, span = answer
    start, stop = (first + span.start, first + span.stop) if span else (first, last)
    await response.prepare(request)
    async with aclosing(download.unverified(start, stop)) as chunks:
        async for chunk in chunks:
            await response.write(chunk)
    await response.write_eof()
    return response


def describe(request: web.Request, what: Representation, *, total: int | None) -> web.StreamResponse:
    """The answer to HEAD for an artifact of `total` bytes (None: not known) that is not here yet."""
    answer = _head(request, what, total=total)
    return answer if isinstance(answer, web.Response) else answer[0]


async def _send_open_file(request: web.Request, response: web.StreamResponse, blob: BinaryIO, span: Span) -> None:
    if span.length <= _SMALL_BYTES:
        await response.write(await asyncio.to_thread(_read, blob, span))
        return
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    try:
        await asyncio.get_running_loop().sendfile(transport, blob, span.start, span.length)
    except ConnectionError:
        transport.abort()  # sendfile leaves it open, and others ask it whether the client is there
        raise


def _head(
    request: web.Request, what: Representation, *, total: int | None
) -> tuple[web.StreamResponse, Span | None] | web.Response:
    """The response to fill and the bytes to fill it with (None: all), or a whole answer (304, 416)."""
    if what.etag is not None and _unchanged(request, what.etag):
        return web.Response(status=304, headers=_validators(what))
    response = web.StreamResponse(headers=_validators(what))
    response.content_type = what.content_type
    if total is None:
        return response, None
    response.headers["Accept-Ranges"] = "bytes"
    try:
        part = _part(request, what, total)
    except Unsatisfiable:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{total}", "Accept-Ranges": "bytes"})
    if part is not None:
        response.set_status(206)
        response.headers["Content-Range"] = part.content_range
    response.content_length = part.length if part else total
    return response, part


def _part(request: web.Request, what: Representation, total: int) -> Span | None:
    if request.method != "GET":  # a range means nothing to any other method (RFC 9110, 14.2)
        return None
    return requested(request.headers.get("Range"), request.headers.get("If-Range"), etag=what.etag, total=total)


def _validators(what: Representation) -> dict[str, str]:
    return dict(what.headers) if what.etag is None else {**what.headers, "ETag": what.etag}


def _unchanged(request: web.Request, etag: str) -> bool:
    sent = request.headers.get("If-None-Match")
    return sent is not None and (sent.strip() == "*" or etag in sent)


def _open(path: Path) -> tuple[BinaryIO, int]:
    blob = path.open("rb")
    return blob, blob.seek(0, 2)


def _read(blob: BinaryIO, span: Span) -> bytes:
    return os.pread(blob.fileno(), span.length, span.start)
