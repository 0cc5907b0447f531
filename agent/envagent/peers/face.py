"""What clients on this machine see: the proxy's faces on localhost, whose pinned files come through the swarm.

Pages and repodata are answered by the agent's own cache engine, whose upstream is the proxy. A file whose SHA-256 the
request names is taken from this node or the swarm. What only the proxy can answer (where upstream things come from,
files that may change) it is asked for (relay.py). Invariant: all of this is for this machine alone, since it is
answered with the node's own rights, unless the operator says otherwise: in a cluster the clients of a node are pods,
which have addresses of their own. Others on the network find the URLs of `server`, and what probes and
Prometheus ask.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from envagent.peers.server import ROOT
from envagent.peers.surroundings import Wanted
from envproxy.engine.send import Representation, etag_of, send_blob, send_growing
from envproxy.errors import NoSuchThing, PolicyRefused, Unauthorized
from envproxy.middleware import CACHE_HEADER
from envproxy.pypi.routes import IMMUTABLE

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from envagent.peers.relay import Relay
    from envagent.peers.swarm import Swarm

_PINNED = re.compile(r"/pypi/[^/]+/files/[^/]+/(?P<sha256>[0-9a-f]{64})/[^/]+(?<!\.metadata)")
_DEMANDED = re.compile(r"/(?:conda|files)/.+")
_ONLY_PROXY = re.compile(r"/api/origins|/pypi/[^/]+/origins/[^/]+/|/files/.+")
_FACES = re.compile(r"/(?:pypi|conda|files)/.+|/api/origins")
_OBSERVED = frozenset({"/healthz", "/readyz", "/metrics"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
EXPECTED_HEADER = "X-Expected-SHA256"


def wanted_of(path: str, demanded: str | None) -> Wanted | None:
    """The artifact that a path of a face names with its digest; `demanded` is the digest in a header."""
    if match := _PINNED.fullmatch(path):
        return Wanted(match["sha256"], path)
    if demanded and _DIGEST.fullmatch(demanded) and _DEMANDED.fullmatch(path):
        return Wanted(demanded, path)
    return None


def visible(path: str, remote: str | None, *, for_network: bool) -> bool:
    """Whether a client with the address `remote` finds a path that is none of `server`'s."""
    if path in _OBSERVED or (for_network and _FACES.fullmatch(path)):
        return True
    return remote is not None and ip_address(remote.partition("%")[0]).is_loopback


class Face:
    """A middleware before the cache engine; `origins` is the proxy's answer of /api/origins.

    `for_network` opens the faces, and nothing else, to whoever reaches the port. With `peers_by_tls` the URLs of
    `server` are found over TLS only, where both sides have shown a certificate.
    """

    def __init__(
        self, swarm: Swarm, relay: Relay, origins: bytes, *, for_network: bool = False, peers_by_tls: bool = False
    ) -> None:
        self._swarm = swarm
        self._relay = relay
        self._origins = origins
        self._for_network = for_network
        self._peers_by_tls = peers_by_tls

    def middleware(self) -> Middleware:
        """As aiohttp takes it."""

        @web.middleware
        async def face(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answer(request, handler)

        return face

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path.startswith(f"{ROOT}/"):
            if self._peers_by_tls and not request.secure:
                raise NoSuchThing("peers come with a certificate, to another port")
            return await handler(request)
        if not visible(path, request.remote, for_network=self._for_network):
            raise NoSuchThing("this is for the agent's own machine")
        if path == "/api/origins":
            return web.Response(body=self._origins, content_type="application/json")
        wanted = wanted_of(path, request.headers.get(EXPECTED_HEADER))
        if wanted is not None and request.method == "GET":
            try:
                return await self._send(request, wanted)
            except (NoSuchThing, PolicyRefused, Unauthorized):
                if request.writer.output_size > 0:
                    raise
        if _ONLY_PROXY.fullmatch(path):
            return await self._relay.answer(request)
        return await handler(request)

    async def _send(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        """The artifact, from here or while it comes."""
        path = await self._swarm.find(wanted.sha256)
        headers = {CACHE_HEADER: "hit" if path else "miss", "Cache-Control": f"private, {IMMUTABLE}"}
        what = Representation(etag_of(wanted.sha256), headers)
        if path is not None:
            try:
                return await send_blob(request, path, what)
            except FileNotFoundError:  # it was evicted a moment ago
                pass
        return await send_growing(request, self._swarm.download(wanted), what)
