"""HTTP as the swarm speaks it: msgpack messages to the directory, pieces from the proxy and from peers.

Timeouts are on progress: a peer that sends nothing for `peer_timeout_s` is left for another, however much it sent
before. What the network does wrong becomes an error of `envproxy.errors`. Nothing is retried or decided here.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeVar

import aiohttp
from yarl import URL

from envproxy import __version__
from envproxy.engine.failures import NETWORK, translated
from envproxy.engine.freshness import retry_after
from envproxy.errors import (
    BadUpstreamBody,
    DigestMismatch,
    EnvproxyError,
    NoSuchThing,
    Oversized,
    PolicyRefused,
    Unauthorized,
    UpstreamError,
)
from envproxy.swarm.messages import (
    MEDIA_TYPE,
    NODE_HEADER,
    TICKET_HEADER,
    Beat,
    Beaten,
    Given,
    Have,
    Hello,
    Message,
    Report,
    Want,
    Welcome,
    decode,
    encode,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from envproxy.swarm.messages import Peer

CONNECT_S = 2.5  # a full line drops the first packet of a connection, too; it is sent again after one second
PROXY_SILENCE_S = 20.0  # it may wait for its own upstream
DIRECTORY_SILENCE_S = 10.0  # it never waits longer than it was asked to, and without it there are peers to go on with
HOW_TO_JOIN = "swarm-secret (ENVAGENT_SWARM_SECRET) is to be the proxy's swarm.secret, or that of this node's tenant"
_ROOT = "/swarm/v1"
_PROBLEM = "application/problem+json"
_PROBLEM_BYTES = 16 * 1024
_OF_UPSTREAM = {error.kind() for error in (UpstreamError, BadUpstreamBody, Oversized)}

M = TypeVar("M", bound=Message)


class OriginFailed(UpstreamError):
    """The proxy is there and says so itself: its upstream does not give what was asked for."""


class Wire:
    """Connections of one agent for the time of a block. `proxy` is an origin, `secret` says of which tenant it is.

    `tls` is for peers alone: with which certificate they are asked, and whose they must have.
    """

    def __init__(
        self, node: str, proxy: str, secret: str, *, peer_timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._tls: ssl.SSLContext | bool = tls or True
        self._peer_timeout_s = peer_timeout_s
        self._node = node
        self._proxy = proxy.rstrip("/")
        self._bearer = {"Authorization": f"Bearer {secret}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"User-Agent": f"envagent/{__version__}", NODE_HEADER: self._node},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 18,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    # --- the directory; everything raises UpstreamError, NoSuchThing, PolicyRefused, Unauthorized ------------

    async def hello(self, message: Hello) -> Welcome:
        """Come, or come back."""
        return await self._post("hello", message, Welcome)

    async def beat(self, message: Beat) -> Beaten:
        """Say that this agent lives, and what is new."""
        return await self._post("beat", message, Beaten)

    async def want(self, message: Want) -> Given:
        """Ask for pieces of an artifact; waits up to its `wait_s`."""
        return await self._post("want", message, Given)

    async def report(self, message: Report) -> None:
        """Tell of faults of peers."""
        async with self._request("POST", f"{self._proxy}{_ROOT}/report", body=message):
            pass

    # --- pieces --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def from_proxy(self, sha256: str, piece: int, offset: int) -> AsyncIterator[aiohttp.ClientResponse]:
        """A piece of the proxy's, from byte `offset` of it on. Raises as the directory does."""
        url = _piece(self._proxy, sha256, piece)
        async with self._part(url, offset, headers=self._bearer, silence_s=PROXY_SILENCE_S) as answer:
            yield answer

    @asynccontextmanager
    async def from_peer(
        self, peer: Peer, sha256: str, piece: int, offset: int
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A piece of a peer's, from byte `offset` of it on. Raises as the directory does."""
        self._check_certified(peer)
        url, ticket = _piece(peer.address, sha256, piece), {TICKET_HEADER: peer.ticket} if peer.ticket else {}
        silence_s = self._peer_timeout_s
        async with self._part(url, offset, headers=ticket, silence_s=silence_s, tls=self._tls) as answer:
            yield answer

    async def have(self, peer: Peer, sha256: str) -> Have | None:
        """What a peer has of an artifact; None if it has nothing, or does not say."""
        ticket = {TICKET_HEADER: peer.ticket} if peer.ticket else {}
        url = f"{peer.address}{_ROOT}/artifacts/{sha256}"
        try:
            self._check_certified(peer)
            silence_s = self._peer_timeout_s
            async with self._request("GET", url, headers=ticket, silence_s=silence_s, tls=self._tls) as answer:
                return decode(await answer.read(), Have)
        except EnvproxyError:
            return None

    def _check_certified(self, peer: Peer) -> None:
        """Raises UpstreamError: with certificates nobody is asked who has none."""
        if self._tls is not True and not peer.address.startswith("https://"):
            raise UpstreamError(f"{peer.node} has no certificate", cause="connect")

    @asynccontextmanager
    async def _part(
        self, url: str, offset: int, *, headers: dict[str, str], silence_s: float, tls: ssl.SSLContext | bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        ranged = {"Range": f"bytes={offset}-"} if offset else {}
        both = {**headers, **ranged}
        async with self._request("GET", url, headers=both, silence_s=silence_s, tls=tls) as answer:
            if (answer.status == 206) != bool(offset):
                raise BadUpstreamBody(f"{answer.host} sent another part of a piece than was asked for")
            yield answer

    async def _post(self, what: str, message: Message, kind: type[M]) -> M:
        url = f"{self._proxy}{_ROOT}/{what}"
        async with self._request("POST", url, body=message, silence_s=DIRECTORY_SILENCE_S) as answer:
            return decode(await answer.read(), kind)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        *,
        body: Message | None = None,
        headers: dict[str, str] | None = None,
        silence_s: float = PROXY_SILENCE_S,
        tls: ssl.SSLContext | bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "enter the block first"
        message = {**self._bearer, "Content-Type": MEDIA_TYPE} if body is not None else {}
        try:
            async with self._session.request(
                method,
                url,
                data=encode(body) if body is not None else None,
                headers={**(headers or {}), **message, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s),
                allow_redirects=False,
                ssl=tls,
            ) as answer:
                await _refuse(answer)
                yield answer
        except NETWORK as error:
            raise translated(error, URL(url)) from error


def _piece(origin: str, sha256: str, piece: int) -> str:
    return f"{origin}{_ROOT}/artifacts/{sha256}/pieces/{piece}"


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    """Raise what a status means."""
    said = f"{answer.host} answered {answer.status}: {answer.reason}"
    match answer.status:
        case 200 | 204 | 206:
            return
        case 401:
            raise Unauthorized(said, hint=HOW_TO_JOIN)
        case 403:
            raise PolicyRefused(said)
        case 404:
            raise NoSuchThing(said)
        case status:
            kind = await _kind_of(answer)
            if kind == DigestMismatch.kind():
                raise DigestMismatch(said)
            raise (OriginFailed if kind in _OF_UPSTREAM else UpstreamError)(
                said,
                cause="5xx" if status >= 500 else "4xx",
                answered=status,
                retry_after_s=retry_after(answer.headers.get("Retry-After")),
            )


async def _kind_of(answer: aiohttp.ClientResponse) -> str:
    """The `type` of the problem that is the answer (RFC 9457), "" if it is something else."""
    kind = None
    if answer.content_type == _PROBLEM:
        with suppress(ValueError):
            document = json.loads(await answer.content.read(_PROBLEM_BYTES))
            kind = document.get("type") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else ""
