"""A client that has nothing solves an environment of 100 packages: from the flat channel, or through the proxy.

Upstream is the one of `cold`: 20 ms away, on a line of 1 Gbit/s. The proxy is near and has the channel already, as it
has for everybody but its first client; the row of that one says what it costs to be the first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .cold import LATENCY_S, RATE
from .compare import Finding, at_most, worst
from .conda_client import Solution
from .conda_contenders import channel, count, envproxy, upstream
from .conda_corpus import ROOT
from .conda_upstream import SENT
from .contenders import importing_bench
from .plan import Plan, Result
from .server import Server


@dataclass(frozen=True, slots=True)
class Cost:
    """What one solve took: seconds, and bytes of bodies that came to the client."""

    solution: Solution
    received: int


async def measure(plan: Plan, root: Path, result: Result) -> None:
    """Direct and proxied in turns, each with a fresh client."""
    place = plan.place("solve")
    async with upstream(place, root, latency_s=LATENCY_S, rate=RATE) as far, envproxy(place, far.url) as ours:
        first = await _through(plan, ours)
        direct: list[Cost] = []
        proxied: list[Cost] = []
        for number in range(plan.rounds):
            if number % 2:
                proxied.append(await _through(plan, ours))
            direct.append(await _directly(plan, far))
            if not number % 2:
                proxied.append(await _through(plan, ours))

    def both(of: Callable[[Cost], float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(map(of, proxied)), tuple(map(of, direct))

    _agree([first, *direct, *proxied])
    result.findings += [
        Finding("cold solve, bytes", "MB", *both(lambda one: one.received / 1e6), "direct", target=at_most(1 / 20)),
        Finding("cold solve, time", "s", *both(lambda one: one.solution.seconds), "direct", target=at_most(1 / 5)),
        worst("cold solve, the proxy's first client", "s", [first.solution.seconds]),
    ]
    result.notes.append(
        f"the environment has {len(first.solution.packages)} packages; upstream of the solve is "
        f"{LATENCY_S * 1e3:g} ms away, {RATE / 1e6:g} MB/s"
    )


async def _directly(plan: Plan, far: Server) -> Cost:
    before = await count(far.url + SENT, "bytes")
    solution = await _solve(plan, far.url)
    return Cost(solution, await count(far.url + SENT, "bytes") - before)


async def _through(plan: Plan, ours: Server) -> Cost:
    stats = f"{ours.url}/api/stats"
    before = await count(stats, "response_bytes")
    solution = await _solve(plan, channel(ours))
    return Cost(solution, await count(stats, "response_bytes") - before)


async def _solve(plan: Plan, url: str) -> Solution:
    """In a process of its own with an empty cache. Raises RuntimeError if it fails."""
    home = plan.place("client")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.conda_client", url, home / "cache", ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **importing_bench()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the solve from {url} failed: {err.decode()[-2000:]}")
    return msgspec.json.decode(out, type=Solution)


def _agree(costs: list[Cost]) -> None:
    """Raises RuntimeError if two clients got different environments."""
    if any(one.solution.packages != costs[0].solution.packages for one in costs):
        raise RuntimeError("the environments through the proxy and directly are not the same")
