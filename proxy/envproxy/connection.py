"""A client's connection: refuses what is no HTTP, or too much of it, as every other refusal of this proxy looks.

aiohttp answers whatever its parser stumbles over with 400 in plain text. Here a request target beyond its bound is
414 (RFC 9110, 15.5.15), header fields beyond theirs are 431 (RFC 6585, 5), the rest is 400, all as problem documents,
and the connection ends. What the client is still sending is read and dropped for a while: closing a socket with
unread bytes resets it, and the client would lose the answer (RFC 9112, 9.6).

Requests that can be parsed take the ordinary way, at no cost: nothing here runs before there is an error.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from .logs import gist
from .problems import of_status

# RFC 9112, 3 recommends 8000 bytes for a request line at least. The two bounds differ because a parse error tells
# nothing but the bound that was broken.
TARGET_BYTES: Final = 8192
FIELD_BYTES: Final = 16384
FIELDS: Final = 128

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024


class Runner(web.AppRunner):
    """Runs an application on connections of this kind; `settings` are those of aiohttp's runner."""

    def __init__(self, app: web.Application, **settings: Any) -> None:  # noqa: ANN401 - whatever aiohttp takes
        bounds: dict[str, Any] = {"max_line_size": TARGET_BYTES, "max_field_size": FIELD_BYTES, "max_headers": FIELDS}
        super().__init__(app, access_log=None, **bounds, **settings)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **self._kwargs,
        )


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """See the module."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be parsed; other errors that come here are not ours to word."""
        answer = super().handle_error(request, status, exc, message)  # which logs it
        if not isinstance(exc, HttpProcessingError):
            return answer
        rest = _Rest()
        self.set_parser(rest)  # type: ignore[arg-type]  # one of WebSockets by its type, but only fed
        return _Refusal(of_unparsable(exc), rest, request.transport)


def of_unparsable(error: HttpProcessingError) -> web.Response:
    """What a client is told about a request that the parser refused with `error`."""
    if isinstance(error, LineTooLong):
        if error.args[1] == TARGET_BYTES:
            return of_status(414, detail=f"the request target is longer than {TARGET_BYTES} bytes")
        return of_status(431, detail=f"a header field is longer than {FIELD_BYTES} bytes")
    if error.message == "Too many headers received":
        return of_status(431, detail=f"the request has more than {FIELDS} header fields")
    return of_status(400, detail=f"this is not valid HTTP/1.1: {gist(error)}")


class _Rest:
    """Takes what still arrives on a connection that is about to end; `over` when it ended, or sent too much."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._left = LINGER_BYTES

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Drop `data`; whether that was too much, and nothing of it."""
        self._left -= len(data)
        if self._left < 0:
            self.over.set()
        return self.over.is_set(), b""

    def feed_eof(self) -> None:
        """The connection ended."""
        self.over.set()


class _Refusal(web.Response):
    """An answer that ends the connection, but not before the client had time to read it."""

    def __init__(self, answer: web.Response, rest: _Rest, transport: asyncio.Transport | None) -> None:
        super().__init__(status=answer.status, reason=answer.reason, body=answer.body, headers=answer.headers)
        self.force_close()
        self._rest = rest
        self._transport = transport

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the answer and the end of it, then wait for the client to close: `LINGER_S` seconds at most."""
        await super().write_eof(data)
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write_eof()
        try:
            async with asyncio.timeout(LINGER_S):
                await self._rest.over.wait()
        except TimeoutError:
            return
