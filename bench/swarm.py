"""N nodes that want one artifact at once, over links with a rate: a swarm beside a star of plain HTTP from the proxy.

Both get the artifact from the same warm envproxy, on machines of their own (network namespaces, tbf). The lower bound
is that of Kumar and Ross (2006) for equal links: size / rate. A star needs N times that. Where namespaces are not
allowed there is nothing to measure, which is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass

from fixtures.namespaces import Refused, network
from fixtures.node import SWARM
from fixtures.site import Site, site

from .compare import Finding, Measure, Target, at_most
from .plan import Plan, Result
from .server import Server

SIZE = 64 << 20
MBIT = 100
COUNTS = (1, 4, 8)
ORIGIN = at_most(1.02)
BOUND = at_most(1.5)
CPU_S_PER_GB = at_most(3.5)
MEMORY_MB = at_most(120.0)
AS_SHIPPED = {"ENVAGENT_PEER_TIMEOUT": "2s"}
SETTINGS = {**SWARM, "swarm.lease": "5s"}


@dataclass(frozen=True, slots=True)
class Round:
    """One round of N nodes: seconds until the last had it, copies that left the proxy, and what nodes spent."""

    swarm_s: float
    star_s: float
    origin: float
    cpu_s_per_gb: float
    memory_mb: float


async def measure(plan: Plan) -> Result:
    """Every N, as often as there are rounds."""
    result = Result("swarm: one artifact for N nodes at once")
    size, mbit = (16 << 20, 400) if plan.quick else (SIZE, MBIT)
    for count in COUNTS:
        try:
            rounds = [await _round(plan, count, size, mbit) for _ in range(plan.rounds)]
        except Refused as refused:
            result.notes.append(f"not measured: {refused}")
            return result
        result.findings += _findings(count, rounds, bound_s=size * 8 / (mbit * 1e6))
    result.notes.append(f"{size >> 20} MiB, links of {mbit} Mbit/s; times have the start of a Python in them")
    return result


async def _round(plan: Plan, count: int, size: int, mbit: int) -> Round:
    with network(count + 1, mbit=mbit) as net:
        async with site(plan.place(f"swarm-{count}"), net, size, AS_SHIPPED, SETTINGS) as here:
            servers = [Server(node.name, node.url, node.process.pid, 0.0) for node in here.nodes]
            before = sum(server.cpu_s() for server in servers)
            swarm_s = await _timed(here, [here.get(node) for node in range(count)])
            spent = sum(server.cpu_s() for server in servers) - before
            origin = await here.origin_ratio()
            star_s = await _timed(here, [here.get(node, here.proxy.url) for node in range(count)])
            memory = max(server.peak_bytes() for server in servers)
    return Round(swarm_s, star_s, origin, spent / (count * size / 1e9), memory / 1e6)


async def _timed(here: Site, downloads: list[Coroutine[None, None, str]]) -> float:
    """Seconds until the last one ended; all of them must have the right bytes."""
    began = time.perf_counter()
    got = await asyncio.gather(*downloads)
    if set(got) != {here.dist.sha256}:
        raise RuntimeError("a download has other bytes than the artifact")
    return time.perf_counter() - began


def _findings(count: int, rounds: list[Round], *, bound_s: float) -> list[Finding]:
    swarm = tuple(one.swarm_s for one in rounds)
    of_bound = tuple(one.swarm_s / bound_s for one in rounds)
    return [
        Finding(f"N={count}: until the last has it", "s", swarm, tuple(one.star_s for one in rounds), "star"),
        _worst(count, "of the lower bound", "x", of_bound, BOUND if count >= 8 else None),
        _worst(count, "copies that left the proxy", "x", tuple(one.origin for one in rounds), ORIGIN),
        _worst(count, "CPU time of nodes per GB", "s", tuple(one.cpu_s_per_gb for one in rounds), CPU_S_PER_GB),
        _worst(count, "most memory of a node", "MB", tuple(one.memory_mb for one in rounds), MEMORY_MB),
    ]


def _worst(count: int, what: str, unit: str, values: tuple[float, ...], target: Target | None) -> Finding:
    return Finding(f"N={count}: {what}", unit, values, measure=Measure.WORST, target=target)
