"""Cold: a file that nobody asked for yet, wanted by 1, 12 and 200 clients at the same moment.

Upstream is 20 ms away behind a line of 1 Gbit/s that all its clients share, as a site shares its uplink. Direct means
the same clients, the same upstream, no proxy. Every round asks for two files that nobody had, one each way, in turns.
A second upstream without any line shows what the proxy itself can take in.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Round:
    """The same crowd both ways, and how often upstream was asked for the proxied file."""

    direct: Crowd
    proxied: Crowd
    gets: int


async def measure(plan: Plan) -> Result:
    """All crowds over the line, then one client without it."""
    mb = plan.cold_bytes / 1e6
    result = Result(f"cold: one {mb:g} MB file, {LATENCY_S * 1e3:g} ms away over {RATE / 1e6:g} MB/s that all share")
    files = 2 * plan.rounds * len(CROWDS)
    async with (
        upstream(
            plan.place("far"), ["cold"], latency_s=LATENCY_S, rate=RATE, cold_files=files, cold_bytes=plan.cold_bytes
        ) as far,
        envproxy(plan.place("envproxy"), far.url) as ours,
    ):
        numbers = itertools.count()
        rounds = {
            clients: [await _round(plan, far, ours, clients, next(numbers)) for _ in range(plan.rounds)]
            for clients in CROWDS
        }
        for clients in CROWDS:
            result.findings += _findings(clients, rounds[clients], alone=rounds[CROWDS[0]])
        result.findings.append(memory("peak memory", [ours.peak_bytes()]))
    result.findings.append(await _without_a_line(plan))
    return result


async def _round(plan: Plan, far: Server, ours: Server, clients: int, number: int) -> Round:
    """The crowd takes file 2n direct and file 2n + 1 proxied, every other time the other way round.

    The proxy knows the page already, as it does when a client has just read it there.
    """
    there, here = f"{far.url}/simple/{corpus.COLD}/", f"{simple(ours)}{corpus.COLD}/"
    direct = await find_file(there, corpus.cold_name(2 * number))
    proxied = await find_file(here, corpus.cold_name(2 * number + 1))
    origin = await find_file(there, corpus.cold_name(2 * number + 1))
    order = [direct, proxied] if number % 2 == 0 else [proxied, direct]
    await asyncio.to_thread(os.sync)  # what was written before is not for these to wait for
    crowds = {url: await crowd(url, clients, size=plan.cold_bytes) for url in order}
    return Round(crowds[direct], crowds[proxied], await _count_gets(far, origin.removeprefix(far.url)))


async def _count_gets(far: Server, path: str) -> int:
    """How often upstream was asked for a file."""
    async with aiohttp.ClientSession() as session, session.get(far.url + COUNTS) as got:
        counts: dict[str, int] = await got.json()
        return counts.get(f"GET {path}", 0)


def _findings(clients: int, rounds: Sequence[Round], *, alone: Sequence[Round]) -> list[Finding]:
    who = f"{clients} client{'s' if clients > 1 else ''}"
    first, total = _ms(one.proxied.first_byte_s for one in rounds), _ms(one.proxied.total_s for one in rounds)
    direct_first = _ms(one.direct.first_byte_s for one in rounds)
    direct_total = _ms(one.direct.total_s for one in rounds)
    findings = [
        worst(f"{who}, upstream GETs", "", [float(one.gets) for one in rounds], at_most(1.0)),
        Finding(f"{who}, first byte", "ms", first, direct_first, "direct", Measure.ADDED, at_most(20.0)),
        Finding(f"{who}, all done", "ms", total, direct_total, "direct", Measure.RATIO, at_most(1.1)),
    ]
    if clients > 1:
        lone = _ms(one.direct.first_byte_s for one in alone)
        findings.append(Finding(f"{who}, first byte", "ms", first, lone, "1 client, direct", Measure.ADDED))
    return findings


def _ms(seconds: Iterable[float]) -> tuple[float, ...]:
    return tuple(one * 1e3 for one in seconds)


async def _without_a_line(plan: Plan) -> Finding:
    """How fast one cold file can come in when upstream is as fast as this machine: hashing, writing and syncing."""
    async with (
        upstream(plan.place("far"), ["cold"], cold_files=2 * plan.rounds, cold_bytes=plan.cold_bytes) as far,
        envproxy(plan.place("envproxy"), far.url) as ours,
    ):
        rounds = [await _round(plan, far, ours, 1, number) for number in range(plan.rounds)]
    proxied, direct = (
        tuple(plan.cold_bytes / one.total_s / 1e6 for one in crowds)
        for crowds in ([one.proxied for one in rounds], [one.direct for one in rounds])
    )
    return Finding("1 client, upstream on this machine", "MB/s", proxied, direct, "direct")
