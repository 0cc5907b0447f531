"""The composition of a node of the swarm: inventory, membership, downloads, what peers see and what clients see.

`build` makes one application for one port: peers find `server`, clients of this machine the faces of the proxy. What
lives long hangs on its cleanup contexts: background work ends first, then the directory hears that the node leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from envagent.errors import SourceUnreachable
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.network import Network
from envagent.peers.choose import Reputation
from envagent.peers.events import EventLog
from envagent.peers.face import Face, wanted_of
from envagent.peers.inventory import Inventory, Limits
from envagent.peers.membership import Identity, Membership, Publicity
from envagent.peers.metrics import NodeMetrics, Now
from envagent.peers.mirror import mirroring
from envagent.peers.pieces import Pieces
from envagent.peers.relay import Relay
from envagent.peers.server import PeerRoutes
from envagent.peers.status import Holder, Moving, NodeStatus
from envagent.peers.surroundings import Surroundings
from envagent.peers.swarm import Faults, Swarm
from envagent.peers.wire import Wire
from envproxy.app import PARTS, build
from envproxy.kinds import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from envagent.config import Config
    from envagent.peers.tls import Trust


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a node keeps what is its own, below the agent's data directory."""

    root: Path

    @property
    def node(self) -> Path:
        """The node's name, made once."""
        return self.root / "node"

    @property
    def public(self) -> Path:
        """Digests of what everybody may have."""
        return self.root / "public"

    @property
    def origins(self) -> Path:
        """What the proxy said of itself when it was asked last."""
        return self.root / "origins.json"

    @property
    def faces(self) -> Path:
        """The data of the agent's own cache engine."""
        return self.root / "faces"


class Node:
    """A node of the swarm in this event loop, listening on `bound`. Made inside the loop.

    With `trust` peers come to `peers_bound` instead.
    """

    def __init__(
        self,
        config: Config,
        bound: socket.socket,
        origins: bytes,
        *,
        trust: Trust | None = None,
        peers_bound: socket.socket | None = None,
    ) -> None:
        self.listener = bound
        self.peers_listener = peers_bound
        self.trust = trust
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._origins = origins
        self._paths = Paths(config.swarm)
        host, port = bound.getsockname()[:2]
        self.address = Address(host, port)
        self.identity = Identity(
            node=_name(self._paths.node),
            epoch=time.time_ns(),
            address=_origin(peers_bound or bound, config.proxy, "https" if trust else "http"),
            zone=config.zone,
            tenant=config.tenant,
        )
        self._wire = Wire(
            self.identity.node,
            config.proxy,
            config.swarm_secret,
            peer_timeout_s=config.peer_timeout,
            tls=trust.asking if trust else None,
        )
        self._relay = Relay(config.proxy, config.proxy_token)
        self._reputation = Reputation()
        self._events = EventLog(config.swarm_events, time.time)
        self._publicity = Publicity(self._paths.public)
        self._faults = Faults()
        self._random = random.Random()  # noqa: S311  # who is asked first is no secret
        self._pieces = Pieces(
            self._wire,
            self._reputation,
            self._events,
            zone=config.zone,
            random=self._random,
            clock=time.monotonic,
            fault=self._faults.note,
        )
        self._inventory = Inventory(
            Artifacts(config.artifacts),
            config.partial,
            Limits(config.artifacts_limit, config.min_free),
            config.store / "in-use",
        )
        self._membership = Membership(
            self.identity,
            self._wire,
            self._publicity,
            whole=self._inventory.whole,
            busy=lambda: self._routes.busy,
        )
        self._routes = PeerRoutes(
            self._inventory,
            self._membership,
            self._publicity,
            self._pieces.counts,
            self._events,
            rate=config.upload_rate,
            patience_s=config.peer_timeout,
            clock=time.monotonic,
            now=time.time,
        )

    @property
    def faces(self) -> str:
        """The origin that clients on this machine are given."""
        host = "127.0.0.1" if self.address.host == "0.0.0.0" else self.address.host  # noqa: S104  # not a bind
        return f"http://{Address(host, self.address.port)}"

    def application(self) -> web.Application:
        """What is served on the port."""
        config = self._config
        engine = mirroring(
            self._origins,
            config.proxy,
            config.proxy_token,
            data=self._paths.faces,
            listen=self.address,
            budget=config.artifacts_limit,
            min_free=config.min_free,
        )
        app = build(engine, component="agent")
        app[PARTS].metrics.show(NodeMetrics(self._pieces.counts, self._now))
        self._around = Surroundings(
            self._wire,
            self._membership,
            self._publicity,
            self._inventory,
            self._pieces,
            self._random,
            time.monotonic,
            itertools.count(1),
        )
        self._swarm = Swarm(self._around, app[PARTS].tasks)
        face = Face(
            self._swarm,
            self._relay,
            self._origins,
            for_network=config.clients == "network",
            peers_by_tls=self.trust is not None,
        )
        app.middlewares.append(face.middleware())
        self._routes.add_to(app)
        app.cleanup_ctx.append(self._living)
        return app

    def _now(self) -> Now:
        return Now(
            len(self._membership.known),
            len(self._swarm.downloads),
            self._routes.busy,
            bool(self._membership.directory),
        )

    async def bring(self, path: str, sha256: str, received: Callable[[int], None]) -> bool:
        """As `fetch.network.Bring`, from any event loop of this process."""
        wanted = wanted_of(path, sha256)
        if wanted is None:
            return False
        asking = asyncio.get_running_loop()

        def told(count: int) -> None:
            asking.call_soon_threadsafe(received, count)

        work = asyncio.run_coroutine_threadsafe(self._swarm.bring(wanted, told), self._loop)
        return await asyncio.wrap_future(work)

    def status(self) -> NodeStatus:
        """What is held and what moves, from whom (blocking)."""
        counts, welcome = self._pieces.counts, self._membership.welcome
        whole = self._inventory.whole()
        return NodeStatus(
            node=self.identity.node,
            address=self.identity.address,
            proxy=self._config.proxy,
            zone=self.identity.zone,
            tenant=welcome.tenant if welcome else "",
            directory=self._membership.directory,
            artifacts=len(whole),
            size=sum(whole.values()),
            moving=[self._moving(sha256) for sha256 in list(self._swarm.downloads)],
            uploads=self._routes.busy,
            origin_bytes=counts.origin_bytes,
            peer_bytes_down=counts.peer_bytes_down,
            peer_bytes_up=counts.peer_bytes_up,
            pieces_wrong=counts.pieces_wrong,
            back_to_source=counts.back_to_source,
            peers=[self._holder(node) for node in sorted({*counts.of, *self._membership.known})],
        )

    def _moving(self, sha256: str) -> Moving:
        download = self._swarm.downloads[sha256]
        holding = download.holding
        size, here = (holding.layout.size, holding.verified.bit_count()) if holding else (0, 0)
        return Moving(
            sha256, download.wanted.path, size, here, holding.layout.count if holding else 0, download.moving
        )

    def _holder(self, node: str) -> Holder:
        peer = self._membership.known.get(node)
        conduct = self._reputation.conduct.get(node)
        return Holder(
            node=node,
            address=peer.address if peer else "",
            zone=peer.zone if peer else "",
            taken_bytes=self._pieces.counts.of[node],
            failures=conduct.failures if conduct else 0,
            is_banned=any(banned == node for banned, _ in self._reputation.banned),
        )

    async def _living(self, app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(self._inventory.sweep, time.time())
            await stack.enter_async_context(self._wire)
            await stack.enter_async_context(self._relay)
            await self._membership.come()
            tasks = app[PARTS].tasks
            work: list[Coroutine[Any, Any, None]] = [
                self._membership.beat_often(),
                self._faults.report_often(self._around),
                self._events.write_often(),
                self._inventory.settle_often(),
                self._inventory.tidy_often(time.time),
            ]
            running = [tasks.spawn(one, name="background") for one in work]
            yield
            for task in [*running, *self._swarm.tasks]:
                task.cancel()
            await asyncio.gather(*running, *self._swarm.tasks, return_exceptions=True)
            await self._membership.leave()
            await asyncio.to_thread(self._events.write)


async def origins_of(config: Config) -> bytes:
    """What the proxy says of itself, else what it said last. Raises SourceUnreachable, AccessRefused."""
    kept = Paths(config.swarm).origins
    async with Network(config.proxy, config.proxy_token) as network:
        try:
            said = msgspec.json.encode(await network.origins())
        except SourceUnreachable:
            if not kept.exists():
                raise
            return kept.read_bytes()
    await asyncio.to_thread(_keep, kept, said)
    return said


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.replace(path)


def _name(path: Path) -> str:
    """The node's name: of its machine and its data directory, and so the same after a restart."""
    if not path.exists():
        host = "".join(letter for letter in socket.gethostname() if letter.isascii() and letter.isalnum())[:40]
        _keep(path, f"{host or 'node'}-{random.SystemRandom().getrandbits(32):08x}".encode())
    return path.read_text()


def _origin(bound: socket.socket, proxy: str, scheme: str) -> str:
    """Where peers reach a socket."""
    host, port = bound.getsockname()[:2]
    return f"{scheme}://{Address(_reachable(host, proxy), port)}"


def _reachable(host: str, proxy: str) -> str:
    """The address that peers are given: the one with which the proxy sees this machine, if all are listened on."""
    if host not in {"0.0.0.0", "::"}:  # noqa: S104  # not a bind
        return host
    place = proxy.partition("://")[2].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((place[0] or place[2], int(place[2]) if place[0] else 80))  # sends nothing
        return str(probe.getsockname()[0])
