"""Install: `uv pip install` of a tree of 60 packages, five levels deep, with an empty client cache every time.

Direct, through a proxy that has nothing, and through the same proxy once more. Upstream is at the end of a line that
all transfers share, once near and fast, once as a cluster's way out to the internet is. uv, proxy and upstream share
this machine, which is against the proxy: direct has it for itself. What uv needs without any network is shown beside
them, for no proxy can do better than that.
With `--live` the index is the public one (the product's default), with the pinned packages of bench/live.txt.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from envproxy.config import load as load_config

from . import corpus
from .compare import Finding, at_most, memory, worst
from .contenders import envproxy, simple, upstream
from .plan import Plan, Result
from .server import HOST, Command, Server, finished
from .upstream import COUNTS

LIVE = Path(__file__).parent / "live.txt"


@dataclass(frozen=True, slots=True)
class Line:
    """The way to upstream: seconds until an answer begins, bytes per second that all transfers share."""

    label: str
    latency_s: float
    rate: float


LINES = (Line("1 Gbit/s, 20 ms", 0.020, 125e6), Line("400 Mbit/s, 40 ms", 0.040, 50e6))


@dataclass(frozen=True, slots=True)
class Errand:
    """What to install from where; `far` is our own upstream process, None for the public index."""

    label: str
    index_url: str
    packages: Sequence[str]
    far: Server | None


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of uv alone and of each way, of CPU that the proxy took, and what it asked upstream while warm."""

    alone_s: float
    direct_s: float
    cold_s: float
    warm_s: float
    cold_cpu_s: float
    warm_cpu_s: float
    warm_requests: int
    peak_bytes: int


async def measure(plan: Plan) -> Result:
    """The synthetic tree; the live one too if asked."""
    result = Result("install: 60 packages, 100 MB, five levels deep")
    for line in LINES:
        async with upstream(plan.place("far"), ["tree"], latency_s=line.latency_s, rate=line.rate) as far:
            errand = Errand(f"{line.label}: ", f"{far.url}/simple/", [corpus.ROOT], far)
            result.findings += _findings(
                errand, [await _round(plan, errand, number) for number in range(plan.rounds)]
            )
    if plan.live:
        public = load_config(None, environ={}).pypi.upstreams["pypi"].url
        errand = Errand("live: ", public, LIVE.read_text().split(), None)
        result.findings += _findings(errand, [await _round(plan, errand, number) for number in range(plan.rounds)])
    return result


async def install(plan: Plan, origin: Command, packages: Sequence[str]) -> float:
    """Seconds that uv takes to install `packages` into an empty place, knowing nothing; `origin` are its options."""
    place = plan.place("client")
    uv = Path(sys.executable).with_name("uv")
    argv: Command = [
        uv, "pip", "install", "--quiet", "--no-config", "--python", sys.executable, *origin,
        "--cache-dir", place / "cache", "--target", place / "site", *packages,
    ]  # fmt: skip
    # Certificates and forward proxies of this site matter to the public index only; uv's own settings never.
    env = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    await asyncio.to_thread(os.sync)  # what the last one wrote is not for this one to wait for
    loop = asyncio.get_running_loop()
    began = loop.time()
    await finished(argv, log=place / "uv.log", env=env | {"NO_PROXY": HOST})
    took = loop.time() - began
    shutil.rmtree(place)
    return took


async def _round(plan: Plan, errand: Errand, number: int) -> Round:
    """Direct and proxied, first the one, then the other way round."""
    direct_first = number % 2 == 0
    direct_s = await install(plan, ["--default-index", errand.index_url], errand.packages) if direct_first else 0.0
    async with envproxy(plan.place("envproxy"), errand.far.url if errand.far else None) as ours:
        started_cpu_s = ours.cpu_s()
        cold_s = await install(plan, ["--default-index", simple(ours)], errand.packages)
        cold_cpu_s, before = ours.cpu_s(), await _count_requests(errand.far)
        warm_s = await install(plan, ["--default-index", simple(ours)], errand.packages)
        warm_cpu_s, after = ours.cpu_s(), await _count_requests(errand.far)
        peak_bytes = ours.peak_bytes()
    if not direct_first:
        direct_s = await install(plan, ["--default-index", errand.index_url], errand.packages)
    alone_s = await _alone(plan, errand) if errand.far else 0.0
    return Round(
        alone_s,
        direct_s,
        cold_s,
        warm_s,
        cold_cpu_s - started_cpu_s,
        warm_cpu_s - cold_cpu_s,
        after - before,
        peak_bytes,
    )


async def _alone(plan: Plan, errand: Errand) -> float:
    """What is left when every wheel is in a folder."""
    wheels = plan.place("wheels")
    for project in corpus.tree():
        for filename, body in project.bodies.items():
            if filename.endswith(".whl"):
                (wheels / filename).write_bytes(b"".join(body))
    took = await install(plan, ["--no-index", "--find-links", wheels], errand.packages)
    shutil.rmtree(wheels)
    return took


async def _count_requests(far: Server | None) -> int:
    """How much upstream was asked so far, if it is ours."""
    if far is None:
        return 0
    async with aiohttp.ClientSession() as session, session.get(far.url + COUNTS) as got:
        return sum((await got.json()).values())


def _findings(errand: Errand, rounds: Sequence[Round]) -> list[Finding]:
    def column(pick: Callable[[Round], float]) -> tuple[float, ...]:
        return tuple(pick(one) for one in rounds)

    direct, label = column(lambda one: one.direct_s), errand.label
    findings = [
        Finding(f"{label}cold proxy", "s", column(lambda one: one.cold_s), direct, "direct", target=at_most(1.15)),
        Finding(f"{label}warm proxy", "s", column(lambda one: one.warm_s), direct, "direct", target=at_most(0.5)),
        worst(f"{label}cold proxy, its CPU time", "s", column(lambda one: one.cold_cpu_s)),
        worst(f"{label}warm proxy, its CPU time", "s", column(lambda one: one.warm_cpu_s)),
        memory(f"{label}peak memory", [one.peak_bytes for one in rounds]),
    ]
    if errand.far:
        asked = column(lambda one: float(one.warm_requests))
        findings.insert(0, Finding(f"{label}no network", "s", column(lambda one: one.alone_s), direct, "direct"))
        findings.append(worst(f"{label}warm proxy, upstream requests", "", asked, at_most(0.0)))
    return findings
