"""Cold: a file that nobody asked for yet, wanted by 1, 12 and 200 clients at the same moment.

Upstream is 20 ms away behind a line of 1 Gbit/s that all its clients share, as a site shares its uplink. Direct means
the same clients, the same upstream, no proxy. Every round asks for two files that nobody had, one each way, in turns.
A second upstream without any line shows what the proxy itself can take in.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp

from . import corpus
from .compare import Finding, Measure, at_most, memory, worst
from .contenders import envproxy, find_file, simple, upstream
from .crowd import Crowd, crowd
from .plan import Plan, Result
from .server import Server
from .upstream import COUNTS

CROWDS = (1, 12, 200)
LATENCY_S = 0.020
RATE = 125_000_000.0  # 1 Gbit/s


async def measure(plan: Plan) -> Result:
    """All crowds over the line, then one client without it."""
    mb = plan.cold_bytes / 1e6
    result = Result(f"cold: one {mb:g} MB file, {LATENCY_S * 1e3:g} ms away over {RATE / 1e6:g} MB/s that all share")
    async with (
        upstream(
            plan.place("far"), ["cold"], latency_s=LATENCY_S, rate=RATE,
            cold_files=2 * plan.rounds * len(CROWDS), cold_bytes=plan.cold_bytes,
        ) as far,
        envproxy(plan.place("envproxy"), far.url) as ours,
    ):  # fmt: skip
        numbers = iter(range(2 * plan.rounds * len(CROWDS)))
        alone: tuple[Crowd, ...] = ()
        for clients in CROWDS:
            pairs = [
                await _pair(plan, far, ours, clients, (next(numbers), next(numbers))) for _ in range(plan.rounds)
            ]
            direct, proxied, gets = (tuple(column) for column in zip(*pairs, strict=True))
            alone = alone or direct
            result.findings.extend(_findings(clients, direct, proxied, gets, alone))
        result.findings.append(memory("peak memory", [ours.peak_bytes()]))
    result.findings.append(await _without_a_line(plan))
    return result


async def count_gets(far: Server, path: str) -> int:
    """How often upstream was asked for a file."""
    async with aiohttp.ClientSession() as session, session.get(far.url + COUNTS) as got:
        counts: dict[str, int] = await got.json()
        return counts.get(f"GET {path}", 0)


async def _pair(
    plan: Plan, far: Server, ours: Server, clients: int, numbers: tuple[int, int]
) -> tuple[Crowd, Crowd, float]:
    """One round: direct, proxied, and how often upstream was asked for the proxied one.

    The proxy knows the page already, as it does when a client has just read it there.
    """
    there, here = f"{far.url}/simple/{corpus.COLD}/", f"{simple(ours)}{corpus.COLD}/"
    direct_name, name = map(corpus.cold_name, numbers)
    direct, proxied = await find_file(there, direct_name), await find_file(here, name)
    order = [direct, proxied] if numbers[0] % 4 == 0 else [proxied, direct]
    await asyncio.to_thread(os.sync)  # what was written before is not for these to wait for
    crowds = {url: await crowd(url, clients, size=plan.cold_bytes) for url in order}
    asked = await count_gets(far, (await find_file(there, name)).removeprefix(far.url))
    return crowds[direct], crowds[proxied], float(asked)


def _findings(
    clients: int,
    direct: tuple[Crowd, ...],
    proxied: tuple[Crowd, ...],
    gets: tuple[float, ...],
    alone: tuple[Crowd, ...],
) -> list[Finding]:
    who = f"{clients} client{'s' if clients > 1 else ''}"
    first, first_direct, first_alone = (
        tuple(c.first_byte_s * 1e3 for c in crowds) for crowds in (proxied, direct, alone)
    )
    total, total_direct = (tuple(c.total_s * 1e3 for c in crowds) for crowds in (proxied, direct))
    findings = [
        worst(f"{who}, upstream GETs", "", gets, at_most(1.0)),
        Finding(f"{who}, first byte", "ms", first, first_direct, "direct", Measure.ADDED, at_most(20.0)),
        Finding(f"{who}, all done", "ms", total, total_direct, "direct", Measure.RATIO, at_most(1.1)),
    ]
    if clients > 1:
        findings.append(Finding(f"{who}, first byte", "ms", first, first_alone, "1 client, direct", Measure.ADDED))
    return findings


async def _without_a_line(plan: Plan) -> Finding:
    """How fast one cold file can come in when upstream is as fast as this machine: hashing, writing and syncing."""
    async with (
        upstream(plan.place("far"), ["cold"], cold_files=2 * plan.rounds, cold_bytes=plan.cold_bytes) as far,
        envproxy(plan.place("envproxy"), far.url) as ours,
    ):
        pairs = [await _pair(plan, far, ours, 1, (2 * n, 2 * n + 1)) for n in range(plan.rounds)]
    direct, proxied = (tuple(plan.cold_bytes / pair[i].total_s / 1e6 for pair in pairs) for i in (0, 1))
    return Finding("1 client, upstream on this machine", "MB/s", proxied, direct, "direct")
