"""N nodes that want one artifact at once: a swarm, a star of plain HTTP from the proxy, and libtorrent.

All three bring the same artifact over links with a rate, each machine with one of its own (network namespaces, tbf).
The lower bound is that of Kumar and Ross (2006) for equal links: size / rate. A star needs N times that. CPU time is
also measured on loopback, where no emulated network is charged to the processes. Where namespaces are not allowed
only that is measured, which is said.

A proxy that has just started leases little until its agents have said what they have; that is over before it begins.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from envproxy.swarm.directory import Rules
from fixtures.namespaces import Network, Refused, network
from fixtures.node import SECRET, SWARM, running_nodes
from fixtures.proxy import proxy_process
from fixtures.site import Site, fetched, path_of, site, weights
from fixtures.upstream import FakeIndex

from .compare import MEMORY_LIMIT_MB, Finding, at_most, worst
from .contenders import Missing
from .plan import Plan, Result
from .server import Server, free_port
from .torrent import torrent

SIZE = 64 << 20
MBIT = {1: 100, 4: 100, 8: 100, 16: 25, 32: 25}
"""The links by the number of nodes: all of them together move less than 100 MB a second, which two cores can do."""
LARGEST_STAR = 8  # a larger one takes minutes, and N times the bound
LEECHERS = 3
LARGE = 192 << 20
TORRENT_PORT = 6881
ORIGIN = at_most(1.02)
BOUND = at_most(1.5)
CPU_S_PER_GB = at_most(3.5)
AS_SHIPPED = {"ENVAGENT_PEER_TIMEOUT": "2s"}
SETTINGS = {**SWARM, "swarm.lease": "5s"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way of getting it: seconds until the last had it, copies that left the origin, CPU time of nodes per GB."""

    seconds: float
    origin: float
    cpu_s_per_gb: float
    memory_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """All ways, on the same links; 0 for a star that is too large, None for libtorrent where it is missing."""

    swarm: Way
    star_s: float
    libtorrent: Way | None


async def measure(plan: Plan) -> Result:
    """On loopback, then every N, as often as there are rounds."""
    result = Result("swarm: one artifact for N nodes at once")
    size = LARGE >> 4 if plan.quick else LARGE
    result.findings += _on_loopback([await _loopback(plan, size, result) for _ in range(plan.rounds)])
    for count in list(MBIT)[:3] if plan.quick else MBIT:
        mbit, size = (400, 16 << 20) if plan.quick else (MBIT[count], SIZE)
        try:
            rounds = [await _round(plan, count, size, mbit, result) for _ in range(plan.rounds)]
        except Refused as refused:
            result.notes.append(f"not measured: {refused}")
            break
        result.findings += _findings(count, rounds, bound_s=size * 8 / (mbit * 1e6))
        result.notes.append(f"N={count}: {size >> 20} MiB, links of {mbit} Mbit/s")
    return result


async def _round(plan: Plan, count: int, size: int, mbit: int, result: Result) -> Round:
    place = plan.place(f"swarm-{count}")
    with network(count + 1, mbit=mbit) as net:
        async with site(place, net, size, AS_SHIPPED, SETTINGS) as here:
            await asyncio.sleep(Rules().settle_s)
            servers = [Server(node.name, node.url, node.process.pid, 0.0) for node in here.nodes]
            before = sum(server.cpu_s() for server in servers)
            swarm_s = await _timed(here, count)
            spent = sum(server.cpu_s() for server in servers) - before
            origin = await here.origin_ratio()
            memory = max(server.peak_bytes() for server in servers)
            star_s = await _timed(here, count, here.proxy.url) if count <= LARGEST_STAR else 0.0
            data = here.dist.data
        libtorrent = await _torrent(place, data, result, net=net)
    return Round(Way(swarm_s, origin, spent / (count * size / 1e9), memory / 1e6), star_s, libtorrent)


async def _timed(here: Site, count: int, url: str = "") -> float:
    """Seconds until the last client had it, from its node or from a URL; all of them must have the right bytes."""
    clients = await asyncio.gather(*(here.client(node, here.dists, url) for node in range(count)))
    began = time.perf_counter()
    _check(list(chain(*await asyncio.gather(*map(fetched, clients)))), here.dist.sha256)
    return time.perf_counter() - began


def _check(got: list[str], sha256: str) -> None:
    if set(got) != {sha256}:
        raise RuntimeError("a download has other bytes than the artifact")


async def _torrent(place: Path, data: bytes, result: Result, *, net: Network | None = None) -> Way | None:
    """By libtorrent, on the machines of the network, or on loopback."""
    count = net.size if net else LEECHERS + 1
    ports = [f"{net.address(n)}:{TORRENT_PORT}" if net else f"127.0.0.1:{free_port()}" for n in range(count)]
    before = [net.inside(n) if net else () for n in range(count)]
    try:
        async with torrent(place / "torrent", data, ports, before) as peers:
            spent, began = peers.cpu_s(), time.perf_counter()
            _check(await peers.share(), hashlib.sha256(data).hexdigest())
            seconds, spent = time.perf_counter() - began, peers.cpu_s() - spent
            origin = await peers.sent_bytes() / len(data)
    except Missing as missing:
        if str(missing) not in result.notes:
            result.notes.append(str(missing))
        return None
    return Way(seconds, origin, spent / ((count - 1) * len(data) / 1e9))


async def _loopback(plan: Plan, size: int, result: Result) -> tuple[Way, Way | None]:
    """Three nodes and three peers of libtorrent, without any network between them."""
    place, dist = plan.place("swarm-loopback"), weights("alpha", size)
    (place / "proxy").mkdir()
    async with (
        FakeIndex() as upstream,
        proxy_process(place / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
        running_nodes(place, proxy.url, LEECHERS) as nodes,
    ):
        upstream.add(dist)
        await asyncio.sleep(Rules().settle_s)
        servers = [Server(node.name, node.url, node.process.pid, 0.0) for node in nodes]
        spent, began = sum(server.cpu_s() for server in servers), time.perf_counter()
        _check(list(await asyncio.gather(*(node.get(path_of(dist)) for node in nodes))), dist.sha256)
        seconds, spent = time.perf_counter() - began, sum(server.cpu_s() for server in servers) - spent
        origin = sum([(await node.status())["origin_bytes"] for node in nodes]) / len(dist.data)
        memory = max(server.peak_bytes() for server in servers)
    swarm = Way(seconds, origin, spent / (LEECHERS * len(dist.data) / 1e9), memory / 1e6)
    return swarm, await _torrent(place, dist.data, result)


def _on_loopback(rounds: list[tuple[Way, Way | None]]) -> list[Finding]:
    swarms = [swarm for swarm, _ in rounds]
    return [
        worst("loopback: most memory of a node", "MB", [one.memory_mb for one in swarms], MEMORY_LIMIT_MB),
        worst("loopback: CPU time of nodes per GB", "s", [one.cpu_s_per_gb for one in swarms], CPU_S_PER_GB),
        *_beside("loopback", swarms, [other for _, other in rounds if other]),
    ]


def _findings(count: int, rounds: list[Round], *, bound_s: float) -> list[Finding]:
    name, swarms = f"N={count}", [one.swarm for one in rounds]
    seconds, stars = tuple(one.seconds for one in swarms), tuple(one.star_s for one in rounds)
    target = BOUND if count >= 8 else None
    star = [Finding(f"{name}: until the last has it", "s", seconds, stars, "star")] if all(stars) else []
    return [
        worst(f"{name}: of the lower bound", "x", [one / bound_s for one in seconds], target),
        worst(f"{name}: copies that left the proxy", "x", [one.origin for one in swarms], ORIGIN),
        worst(f"{name}: most memory of a node", "MB", [one.memory_mb for one in swarms], MEMORY_LIMIT_MB),
        *star,
        *_beside(name, swarms, [one.libtorrent for one in rounds if one.libtorrent]),
    ]


def _beside(name: str, swarms: Sequence[Way], others: Sequence[Way]) -> list[Finding]:
    """The rows beside libtorrent's, if it was there in each round."""
    if len(others) != len(swarms):
        return []
    values: tuple[tuple[str, str, Callable[[Way], float]], ...] = (
        ("until the last has it", "s", lambda way: way.seconds),
        ("CPU time of nodes per GB", "s", lambda way: way.cpu_s_per_gb),
        ("copies that left the origin", "x", lambda way: way.origin),
    )
    return [
        Finding(f"{name}: {what}", unit, tuple(map(of, swarms)), tuple(map(of, others)), "libtorrent")
        for what, unit, of in values
    ]
