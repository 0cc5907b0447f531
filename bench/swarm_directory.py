"""The directory under 500 agents that want one artifact of 2.5 GB in the same second, over HTTP on loopback.

The proxy is `envproxy serve` and has the artifact. The agents are simulated (swarm_agents.py), in one process on the
other core; pieces take the time that lines of 1 Gbit/s would, and no bytes of them move. Measured is what the
directory costs the proxy until the last agent has everything, and how long a question takes that waits for no news.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

import aiohttp
import msgspec
from aiohttp import web

from fixtures.node import SECRET, SWARM
from fixtures.proxy import proxy_process

from .compare import Finding, at_most, worst
from .plan import Plan, Result
from .server import HOST
from .swarm import ORIGIN
from .swarm_agents import Crowd, Outcome

AGENTS = 500
SIZE = 2_500_000_000
RATE = 125e6
CORE = at_most(1.0)
P99_MS = at_most(50.0)
NAME = "large.bin"


async def measure(plan: Plan) -> Result:
    """As often as there are rounds."""
    agents, size = (50, SIZE // 10) if plan.quick else (AGENTS, SIZE)
    result = Result(f"the directory under {agents} agents that want {size / 1e9} GB at once")
    file = plan.place("swarm-directory") / NAME
    with file.open("wb") as made:
        made.truncate(size)
    sha256 = await asyncio.to_thread(_sha256, file)
    outcomes = [await _round(plan, file, sha256, agents) for _ in range(plan.rounds)]
    result.findings += _findings(outcomes, bound_s=size / RATE)
    busiest = max(outcome.own_cpu_s / outcome.seconds for outcome in outcomes)
    result.notes.append(f"the process of the agents took {busiest:.2f} of a core")
    return result


def _findings(outcomes: list[Outcome], *, bound_s: float) -> list[Finding]:
    return [
        worst("what the proxy takes of a core", "x", [one.proxy_cpu_s / one.seconds for one in outcomes], CORE),
        *_questions([quantiles(one.latencies, n=100) for one in outcomes if len(one.latencies) > 1]),
        worst("questions a second", "", [one.wants / one.seconds for one in outcomes]),
        worst("copies that left the proxy", "x", [one.from_origin / one.pieces for one in outcomes], ORIGIN),
        worst("the last agent has it, of the lower bound", "x", [one.seconds / bound_s for one in outcomes]),
    ]


def _questions(percentiles: list[list[float]]) -> list[Finding]:
    """How long questions took; nothing for so few agents that all their questions may wait."""
    if not percentiles:
        return []
    return [
        worst("a question, the median", "ms", [one[49] * 1e3 for one in percentiles]),
        worst("a question, the slowest hundredth", "ms", [one[98] * 1e3 for one in percentiles], P99_MS),
    ]


async def _round(plan: Plan, file: Path, sha256: str, agents: int) -> Outcome:
    async with _upstream(file.parent) as url:
        settings = {**SWARM, "files.demo.url": url}
        async with proxy_process(plan.place("swarm-directory"), settings=settings, environ=SECRET) as proxy:
            path = f"/files/demo/{NAME}"
            async with aiohttp.ClientSession() as session, session.get(proxy.url + path) as answer:
                async for _ in answer.content.iter_any():
                    pass
            await proxy.settled()
            (secret,) = SECRET.values()
            size = file.stat().st_size
            return await _outcome(Crowd(proxy.url, proxy.process.pid, secret, sha256, path, size, agents, RATE))


async def _outcome(crowd: Crowd) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.swarm_agents", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate(msgspec.json.encode(crowd))
    if process.returncode:
        raise RuntimeError("the simulated agents failed")
    return msgspec.json.decode(said, type=Outcome)


@asynccontextmanager
async def _upstream(folder: Path) -> AsyncIterator[str]:
    """Serve a folder on loopback; its URL."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
