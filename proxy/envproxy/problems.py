"""Turns whatever a handler raises into the answer that installers can show: the one place that does.

The body is a problem document (RFC 9457), which uv prints; the same sentence is the reason phrase, for pip prints
nothing else. Retry-After is a number, for poetry reads it as one. An error after the first byte cannot be told any
more: the connection is reset, and a client sees truncation, never an end that looks clean.

Unexpected exceptions are logged here, once, with their traceback, and tell the client nothing of our insides.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from envproxy.errors import EnvproxyError, Overasked, Unauthorized, UpstreamError
from envproxy.logs import redact
from envproxy.middleware import CLIENT_GONE

MEDIA_TYPE: Final = "application/problem+json"

_REASON_LIMIT: Final = 200  # characters: some clients and proxies give a status line no more than 256
_NOT_IN_REASON = re.compile(r"[^\x21-\x7e]+")
_NO_LINGER: Final = struct.pack("ii", 1, 0)

_log = logging.getLogger(__name__)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every exception but redirects and cancellation; sits right inside `middleware.observe`."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = of_http(error)
    except EnvproxyError as error:
        if error.status >= 500:
            _log.warning("%s: %s", error.title, error.message, extra={"path": request.rel_url.raw_path})
        answer = of_error(error)
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the client gets an answer
        if isinstance(error, ConnectionError) and _client_gone(request):
            return web.Response(status=CLIENT_GONE)
        _log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        answer = of_status(500, detail="The proxy failed on this request; its log says why.")
    if request.writer.output_size > 0:
        reset(request)
    return answer


def of_error(error: EnvproxyError) -> web.Response:
    """One of our own errors as an answer."""
    headers = {}
    if isinstance(error, UpstreamError | Overasked):
        headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Basic realm="envmesh"'
    return _answer(
        error.status, kind=error.kind(), title=error.title, detail=error.message, hint=error.hint, headers=headers
    )


def of_http(error: web.HTTPException) -> web.Response:
    """A refusal by aiohttp itself (no such route, method not allowed, body too large), with its headers."""
    headers = {name: value for name, value in error.headers.items() if name not in ("Content-Type", "Content-Length")}
    said = (error.text or error.reason).removeprefix(f"{error.status}: ")
    return of_status(error.status, detail=said, headers=headers)


def of_status(status: int, *, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem that is nothing more than its status (RFC 9457, 4.2.1: about:blank)."""
    return _answer(status, kind="about:blank", title=HTTPStatus(status).phrase, detail=detail, headers=headers)


def reset(request: web.Request) -> None:
    """Cut the connection by RST: a FIN would look like the clean end of a body that has no length (HTTP/1.0)."""
    transport = request.transport
    if transport is None:
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _answer(
    status: int, *, kind: str, title: str, detail: str, hint: str = "", headers: Mapping[str, str] | None
) -> web.Response:
    said = _presentable(detail)
    document = {"type": kind, "title": title, "status": status, "detail": said}
    if hint:
        document["hint"] = _presentable(hint)
    return web.Response(
        status=status,
        reason=_reason(said) or None,
        body=msgspec.json.encode(document),
        content_type=MEDIA_TYPE,
        # Not "public": where reading takes a token, no shared cache may tell others what is absent (RFC 9111, 3.5).
        headers={"Cache-Control": "max-age=60" if status == 404 else "no-store", **(headers or {})},
    )


def _presentable(text: str) -> str:
    """Without credentials, and without the lone surrogates that stand for bytes of a URL that are no UTF-8."""
    return redact(text).encode("utf-8", "backslashreplace").decode()


def _reason(message: str) -> str:
    """The message as a reason phrase (RFC 9112, 4): printable ASCII on one line."""
    ascii_only = message.encode("ascii", "replace").decode()
    return _NOT_IN_REASON.sub(" ", ascii_only).strip()[:_REASON_LIMIT]


def _client_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
