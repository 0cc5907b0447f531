"""The directory over HTTP, for agents: messages in msgpack, and pieces of artifacts (docs/swarm.md).

A piece goes to whoever has its lease; to others as far as the allowance goes. A lease whose transfer breaks off is
free again at once, so nobody waits for a node that was killed. Errors are problem documents, as on every face.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from envproxy.engine.download import Download
from envproxy.engine.send import Representation, etag_of, send_blob, send_unverified
from envproxy.errors import NoSuchThing, Overasked, TooLarge

from .admission import Admission
from .allowance import Allowance
from .desk import Desk
from .directory import Directory
from .messages import MEDIA_TYPE, NODE_HEADER, Beat, Hello, M, Message, Report, Want, decode, encode
from .pieces import Cut, Pieces
from .report import SwarmReporter, Why

BODY_BYTES: Final = 4 * 1024 * 1024  # more than the largest message: 5,000 holdings
_PIECE: Final = r"/swarm/v1/artifacts/{sha256:[0-9a-f]{64}}/pieces/{piece:\d{1,6}}"
_HEADERS: Final = {"Cache-Control": "no-store"}


class SwarmRoutes:
    """The handlers; `desk` answers the messages. `monotonic` counts seconds for the allowance."""

    def __init__(
        self,
        desk: Desk,
        directory: Directory,
        pieces: Pieces,
        admission: Admission,
        allowance: Allowance,
        *,
        reporter: SwarmReporter,
        monotonic: Callable[[], float],
    ) -> None:
        self.desk = desk
        self._directory = directory
        self._pieces = pieces
        self._admission = admission
        self._allowance = allowance
        self._reporter = reporter
        self._monotonic = monotonic

    def add_to(self, app: web.Application) -> None:
        """Register the URLs."""
        app.router.add_post("/swarm/v1/hello", self.hello, name="swarm.hello")
        app.router.add_post("/swarm/v1/beat", self.beat, name="swarm.beat")
        app.router.add_post("/swarm/v1/want", self.want, name="swarm.want")
        app.router.add_post("/swarm/v1/report", self.report, name="swarm.report")
        app.router.add_get(_PIECE, self.piece, name="piece", allow_head=False)

    async def hello(self, request: web.Request) -> web.Response:
        """An agent comes."""
        tenant = self._tenant(request)
        return _answer(await self.desk.hello(await _message(request, Hello), tenant))

    async def beat(self, request: web.Request) -> web.Response:
        """An agent lives."""
        tenant = self._tenant(request)
        return _answer(await self.desk.beat(await _message(request, Beat), tenant))

    async def want(self, request: web.Request) -> web.Response:
        """An agent wants an artifact."""
        tenant = self._tenant(request)
        return _answer(await self.desk.want(await _message(request, Want), tenant))

    async def report(self, request: web.Request) -> web.Response:
        """An agent's peers failed."""
        tenant = self._tenant(request)
        await self.desk.report(await _message(request, Report), tenant)
        return web.Response(status=204)

    async def piece(self, request: web.Request) -> web.StreamResponse:
        """One piece of an artifact that the agent was admitted to by a `Want`."""
        tenant, node = self._tenant(request), request.headers.get(NODE_HEADER, "")
        sha256, piece = request.match_info["sha256"], int(request.match_info["piece"])
        admitted, cut = self.desk.admitted(sha256, tenant), self._pieces.known(sha256)
        if not admitted or cut is None or not cut.hashed >> piece & 1:
            raise NoSuchThing(
                f"there is no piece {piece} of {sha256} here", hint="send a Want for the artifact first"
            )
        for access in admitted:
            if await self._directory.touch(access.key, node, piece, tenant=tenant, keep=True):
                break
        else:
            self._allow(cut, piece)
            return await self._send(request, cut, piece, admitted[0].path, "unleased")
        try:
            return await self._send(request, cut, piece, access.path, "leased")
        except BaseException:
            await self._directory.touch(access.key, node, piece, tenant=tenant, keep=False)
            raise

    def _allow(self, cut: Cut, piece: int) -> None:
        start, stop = cut.layout.span(piece)
        wait_s = self._allowance.take(stop - start, self._monotonic())
        if wait_s:
            self._reporter.turned_away()
            raise Overasked(
                "too many pieces are fetched without a lease", retry_after_s=wait_s, hint="ask for a lease by a Want"
            )

    async def _send(self, request: web.Request, cut: Cut, piece: int, path: str, why: Why) -> web.StreamResponse:
        response = await self._send_from(request, cut, piece, path)
        self._reporter.sent(why, response.content_length or 0)
        return response

    async def _send_from(self, request: web.Request, cut: Cut, piece: int, path: str) -> web.StreamResponse:
        what = Representation(etag_of(cut.hashes[piece].hex()), _HEADERS)
        within = cut.layout.span(piece)
        for _ in range(2):
            found = await self._pieces.open(cut, path)
            if isinstance(found, Download):
                return await send_unverified(request, found, what, within=within)
            try:
                return await send_blob(request, found, what, within=within)
            except FileNotFoundError:  # evicted a moment ago
                continue
        raise Overasked(f"{cut.sha256} is evicted as fast as it comes", retry_after_s=5.0, hint="raise store.limit")

    def _tenant(self, request: web.Request) -> str:
        return self._admission.tenant(request.headers.get("Authorization"))


async def _message(request: web.Request, kind: type[M]) -> M:
    """The message in the body. Raises ClientError, TooLarge."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES:
            raise TooLarge(f"a message has at most {BODY_BYTES} bytes", hint="announce in several messages")
    return decode(bytes(body), kind)


def _answer(message: Message) -> web.Response:
    return web.Response(body=encode(message), content_type=MEDIA_TYPE, headers=_HEADERS)
