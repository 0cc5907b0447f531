"""Sends one immutable artifact to a client: from the store by sendfile, or from a download while it arrives.

Both ways honour single ranges, If-Range, If-None-Match and HEAD (RFC 9110), carry the digest as a strong ETag and
never a Content-Encoding. An error after the first byte resets the connection: a client sees truncation, never poison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from envproxy.errors import EnvproxyError

from .download import Download
from .ranges import Span, Unsatisfiable, requested

IMMUTABLE = "public, max-age=365000000, immutable"
_SMALL_BYTES = 64 * 1024  # below this one read and one write beat the set-up of sendfile


@dataclass(frozen=True, slots=True)
class Representation:
    """What is sent: `etag` is quoted, None while the digest is unknown; `headers` come on top of the usual ones."""

    etag: str | None
    headers: Mapping[str, str]
    content_type: str = "application/octet-stream"


def etag_of(sha256: str) -> str:
    """The strong validator of an artifact."""
    return f'"{sha256}"'


async def send_blob(request: web.Request, path: Path, what: Representation) -> web.StreamResponse:
    """Send a stored blob. Raises FileNotFoundError if it was evicted a moment ago."""
    if what.etag is not None and _unchanged(request, what.etag):
        return web.Response(status=304, headers=_validators(what))
    blob, size = await asyncio.to_thread(_open, path)
    try:
        answer = _head(request, what, total=size)
        if isinstance(answer, web.Response):
            return answer
        response, span = answer
        await _send_open_file(request, response, blob, span)
    finally:
        blob.close()
    return response


async def send_download(request: web.Request, download: Download, what: Representation) -> web.StreamResponse:
    """Send an artifact that is still arriving. Raises `EnvproxyError` if nothing was sent yet."""
    total = await download.opened()
    if total is None:
        response = web.StreamResponse(headers=_validators(what))
        response.content_type = what.content_type
        span = None
    else:
        answer = _head(request, what, total=total)
        if isinstance(answer, web.Response):
            return answer
        response, span = answer
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    await _relay(request, response, download, span)
    return response


async def _relay(request: web.Request, response: web.StreamResponse, download: Download, span: Span | None) -> None:
    start, stop = (span.start, span.stop) if span else (0, None)
    async with aclosing(download.chunks(start, stop)) as chunks:
        try:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(chunk)
        except EnvproxyError:
            if not response.prepared:
                raise
            _reset(request)
            return
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()


async def _send_open_file(request: web.Request, response: web.StreamResponse, blob: BinaryIO, span: Span) -> None:
    await response.prepare(request)
    if request.method == "HEAD" or span.length == 0:
        return
    if span.length <= _SMALL_BYTES:
        await response.write(await asyncio.to_thread(_read, blob, span))
    else:
        assert request.transport is not None
        await asyncio.get_running_loop().sendfile(request.transport, blob, span.start, span.length)
    await response.write_eof()


def _head(
    request: web.Request, what: Representation, *, total: int
) -> tuple[web.StreamResponse, Span] | web.Response:
    """The response to fill and the bytes to fill it with, or a whole answer (304, 416)."""
    if what.etag is not None and _unchanged(request, what.etag):
        return web.Response(status=304, headers=_validators(what))
    headers = request.headers
    try:
        part = requested(headers.get("Range"), headers.get("If-Range"), etag=what.etag, total=total)
    except Unsatisfiable:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{total}", "Accept-Ranges": "bytes"})
    response = web.StreamResponse(status=206 if part else 200, headers=_validators(what))
    response.content_type = what.content_type
    response.headers["Accept-Ranges"] = "bytes"
    span = part or Span(0, total, total)
    if part:
        response.headers["Content-Range"] = part.content_range
    response.content_length = span.length
    return response, span


def _validators(what: Representation) -> dict[str, str]:
    headers = {"Cache-Control": IMMUTABLE, **what.headers}
    if what.etag is not None:
        headers["ETag"] = what.etag
    return headers


def _unchanged(request: web.Request, etag: str) -> bool:
    sent = request.headers.get("If-None-Match")
    return sent is not None and (sent.strip() == "*" or etag in sent)


def _reset(request: web.Request) -> None:
    """Cut the connection so that no client can take the body for complete (RST, not a clean end)."""
    if request.transport is not None:
        request.transport.abort()


def _open(path: Path) -> tuple[BinaryIO, int]:
    blob = path.open("rb")
    return blob, blob.seek(0, 2)


def _read(blob: BinaryIO, span: Span) -> bytes:
    blob.seek(span.start)
    return blob.read(span.length)
