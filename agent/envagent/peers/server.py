"""What peers may ask of this node: a piece, or which pieces of an artifact are here.

    GET /swarm/v1/artifacts/<sha256>/pieces/<n>     the piece, from a byte on with Range
    GET /swarm/v1/artifacts/<sha256>                `Have`

A piece can be had from the moment it is verified and written. Invariant: a private artifact is given only for a
ticket of this node's own tenant, made for this node; without one there is nothing here, which is also what is said.
Uploads are bounded in number and in bytes a second; whoever finds no slot free is sent away at once, to ask another.
A peer that takes no byte for a while is dropped, so nobody keeps a slot by not reading.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from envagent.peers.bucket import Bucket
from envagent.peers.slots import Slots
from envproxy.engine.flights import uninterrupted
from envproxy.engine.ranges import Span, Unsatisfiable, requested
from envproxy.errors import NoSuchThing
from envproxy.swarm import bitmap, tickets
from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import MEDIA_TYPE, NODE_HEADER, TICKET_HEADER, Have, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from envagent.peers.events import EventLog
    from envagent.peers.inventory import Inventory
    from envagent.peers.membership import Membership, Publicity
    from envagent.peers.pieces import Counts

ROOT = "/swarm/v1"
CHUNK_BYTES = 1 << 18
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class _Open:
    """An artifact that is open for reading: `held` is the set of pieces that are right."""

    fd: int
    layout: Layout
    held: int


class PeerRoutes:
    """The handlers. `rate` bounds all uploads together in bytes per second, 0 does not; `now` is of the epoch.

    A peer may take `patience_s` over the next byte.
    """

    def __init__(
        self,
        inventory: Inventory,
        membership: Membership,
        publicity: Publicity,
        counts: Counts,
        events: EventLog,
        *,
        rate: float,
        patience_s: float,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._inventory = inventory
        self._membership = membership
        self._publicity = publicity
        self._counts = counts
        self._events = events
        self._bucket = Bucket(rate, burst=max(rate, CHUNK_BYTES))
        self._is_bounded = rate > 0
        self._patience_s = patience_s
        self._clock = clock
        self._now = now
        self._slots = Slots(membership.identity.slots)

    @property
    def busy(self) -> int:
        """How many uploads run."""
        return self._slots.busy

    def add_to(self, app: web.Application) -> None:
        """Register the URLs, for GET alone: a HEAD would take a slot, and its share of the rate, for nothing."""
        artifact = f"{ROOT}/artifacts/{{sha256}}"
        app.router.add_get(f"{artifact}/pieces/{{piece}}", self.piece, name="swarm.piece", allow_head=False)
        app.router.add_get(artifact, self.have, name="swarm.have", allow_head=False)

    async def have(self, request: web.Request) -> web.Response:
        """Which pieces of an artifact are here."""
        sha256 = self._admitted(request)
        found = await self._open(sha256)
        os.close(found.fd)
        have = Have(size=found.layout.size, piece_bytes=found.layout.piece_bytes, held=bitmap.to_bytes(found.held))
        return web.Response(body=encode(have), content_type=MEDIA_TYPE)

    async def piece(self, request: web.Request) -> web.StreamResponse:
        """One piece, or what is left of it from a byte on."""
        sha256, index = self._admitted(request), _number(request.match_info["piece"])
        with self._slots.one(request.remote or ""):
            found = await self._open(sha256)
            try:
                if not found.held >> index & 1:
                    raise NoSuchThing(f"piece {index} of {sha256} is not here")
                return await self._send(request, sha256, index, found)
            finally:
                os.close(found.fd)

    def _admitted(self, request: web.Request) -> str:
        """The digest, if the asker may have the artifact. Raises NoSuchThing."""
        sha256 = request.match_info["sha256"]
        if not _SHA256.fullmatch(sha256):
            raise NoSuchThing("this is no SHA-256 in lower-case hex")
        if self._publicity.is_private(sha256) and not self._has_ticket(request, sha256):
            raise NoSuchThing(f"{sha256} is not here")
        return sha256

    def _has_ticket(self, request: web.Request, sha256: str) -> bool:
        welcome = self._membership.welcome
        return welcome is not None and tickets.admits(
            request.headers.get(TICKET_HEADER, ""),
            welcome.ticket_key,
            sha256=sha256,
            node=self._membership.identity.node,
            tenant=welcome.tenant,
            now=self._now(),
        )

    async def _open(self, sha256: str) -> _Open:
        found = await asyncio.to_thread(self._inventory.open, sha256)
        if found is None:
            raise NoSuchThing(f"{sha256} is not here")
        fd, holding = found
        if holding is not None:
            return _Open(fd, holding.layout, holding.verified)
        layout = Layout.of(os.fstat(fd).st_size)
        return _Open(fd, layout, layout.all)

    async def _send(self, request: web.Request, sha256: str, index: int, found: _Open) -> web.StreamResponse:
        start, stop = found.layout.span(index)
        part = _part(request, stop - start)
        response = web.StreamResponse(status=200 if part is None else 206)
        response.content_type = "application/octet-stream"
        if part is not None:
            start, stop = start + part.start, start + part.stop
            response.headers["Content-Range"] = part.content_range
        response.content_length = stop - start
        began = self._clock()
        _lose_patience(request.transport, self._patience_s)
        await response.prepare(request)
        await self._send_bytes(request, response, found.fd, start, stop)
        await response.write_eof()
        node = request.headers.get(NODE_HEADER, "?")[:64]
        self._counts.peer_bytes_up += stop - start
        self._events.note("sent", sha256, index, node, count=stop - start, seconds=self._clock() - began)
        return response

    async def _send_bytes(
        self, request: web.Request, response: web.StreamResponse, fd: int, start: int, stop: int
    ) -> None:
        """By sendfile where no rate is to be kept; else in chunks that are paid for."""
        transport = request.transport
        if self._is_bounded or transport is None:
            for position in range(start, stop, CHUNK_BYTES):
                count = min(stop - position, CHUNK_BYTES)
                await asyncio.sleep(self._bucket.take(count, self._clock()))
                await response.write(await uninterrupted(asyncio.to_thread(os.pread, fd, count, position)))
        elif stop > start:
            with os.fdopen(os.dup(fd), "rb") as file:
                await _sendfile(transport, file, start, stop - start)


def _lose_patience(transport: asyncio.Transport | None, seconds: float) -> None:
    """Let the connection break when bytes wait for so long and none is taken.

    The kernel sees each byte that is taken, also while sendfile(2) runs (TCP_USER_TIMEOUT: RFC 5482, and tcp(7)).
    """
    if transport is not None and not transport.is_closing():
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


async def _sendfile(transport: asyncio.Transport, file: object, start: int, count: int) -> None:
    if transport.is_closing():
        raise ConnectionResetError("the peer went away")
    try:
        await asyncio.get_running_loop().sendfile(transport, file, start, count)  # type: ignore[arg-type]
    except (ConnectionError, TimeoutError) as error:
        transport.abort()
        raise ConnectionResetError("the peer went away, or takes nothing") from error


def _part(request: web.Request, size: int) -> Span | None:
    try:
        return requested(request.headers.get("Range"), None, etag=None, total=size)
    except Unsatisfiable:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"}) from None


def _number(text: str) -> int:
    with suppress(ValueError):
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
    raise NoSuchThing("pieces have numbers")
