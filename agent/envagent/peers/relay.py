"""What only the proxy can answer, asked of it with the node's own token and handed on as it comes.

A client of the node has no token of its own, and one that follows a redirect to the proxy is a stranger there. So the
question goes on, with the headers that decide about the answer, and the answer comes back with its status, its reason
and its bytes, in whatever coding they are. Invariant: of a client's credentials nothing leaves, and the node's token
is shown to the proxy alone: a redirect is handed on and not followed. Nothing is kept or retried here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web
from yarl import URL

from envagent.peers.mirror import USER
from envagent.peers.wire import CONNECT_S, PROXY_SILENCE_S
from envproxy.engine.credentials import Credentials
from envproxy.engine.failures import NETWORK, translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

ASKED = (
    "Accept",
    "Accept-Encoding",
    "Cache-Control",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Range",
    "User-Agent",
    "X-Expected-SHA256",
)
TOLD = (
    "Accept-Ranges",
    "Age",
    "Allow",
    "Cache-Control",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Last-Modified",
    "Location",
    "Retry-After",
    "Vary",
    "WWW-Authenticate",
    "X-Envmesh-Cache",
)
"""What goes on of a request, and of an answer: neither has anything about one connection in it (RFC 9110, 7.6.1)."""


class Relay:
    """Connections to the proxy, an origin, for the time of a block; `token` is what it wants to see, "" for none."""

    def __init__(self, proxy: str, token: str) -> None:
        self._proxy = proxy
        self._authorization = {"Authorization": Credentials.basic(proxy, USER, token).header} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=PROXY_SILENCE_S),
            skip_auto_headers=ASKED,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What the proxy says to a request without a body. Raises UpstreamError, possibly after some bytes."""
        async with self._asked(request) as said:
            response = web.StreamResponse(status=said.status, reason=said.reason, headers=_of(said.headers, TOLD))
            await response.prepare(request)
            async for chunk in _chunks(said):
                await response.write(chunk)
            await response.write_eof()
            return response

    @asynccontextmanager
    async def _asked(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "enter the block first"
        url = URL(self._proxy + request.rel_url.raw_path_qs, encoded=True)
        headers = {**_of(request.headers, ASKED), **self._authorization}
        try:
            said = await self._session.request(request.method, url, headers=headers, allow_redirects=False)
        except NETWORK as error:
            raise translated(error, url) from error
        try:
            yield said
        finally:
            said.release()


async def _chunks(said: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in said.content.iter_any():
            yield chunk
    except NETWORK as error:
        raise translated(error, said.url) from error


def _of(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
