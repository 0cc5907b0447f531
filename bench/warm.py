"""Warm: what is in the cache, as fast as it goes out, beside the ceiling and the peers.

The page of numpy as JSON and gzipped, its 304, and a 16 MB wheel. The contenders take turns, and each round goes
through them in the other direction.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from . import ceiling as bare
from . import contenders
from .compare import Finding, Target, at_least, at_most, memory
from .contenders import ASK_PAGE, Contender, Missing
from .load import Load, is_installed, load
from .plan import Plan, Result
from .server import Server, finished

PAGE_CONNECTIONS, WHEEL_CONNECTIONS = 16, 8
PEERS = {"nginx": contenders.nginx, "devpi": contenders.devpi, "proxpi": contenders.proxpi}
_WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one contender serves what is being asked for."""

    server: Server
    url: str
    headers: Mapping[str, str]


Spells = Mapping[str, tuple[Load, ...]]
"""The loads of every contender, round by round."""


async def measure(plan: Plan) -> Result:
    """Everything that is warm. Needs wrk."""
    result = Result("warm: from the cache, under load")
    if not is_installed():
        result.notes.append("skipped: wrk is not installed: run sh bench/setup.sh as root")
        return result
    await _install_peers(plan, result)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(contenders.upstream(plan.place("far"), ["numpy"]))
        ours = await stack.enter_async_context(contenders.warm_envproxy(plan.place("envproxy"), far.url))
        page = await contenders.fetch(ours.page_url, ASK_PAGE)
        wheel = plan.scratch / "wheel"
        wheel.write_bytes((await contenders.fetch(ours.wheel_url, {})).body)
        ceiling = await stack.enter_async_context(contenders.ceiling(plan.place("ceiling"), page, wheel))
        everyone = {"envproxy": ours, "ceiling": ceiling}
        for name, start in PEERS.items():
            try:
                everyone[name] = await stack.enter_async_context(start(plan.place(name), far.url))
            except (Missing, RuntimeError, TimeoutError) as reason:
                result.notes.append(f"{name} is skipped: {reason}")
        await _page(plan, result, everyone)
        await _unchanged(plan, result, ours, ceiling.server, page.etag)
        await _wheel(plan, result, everyone)
        result.findings.append(memory("peak memory", [ours.server.peak_bytes()]))
    return result


async def in_turns(plan: Plan, stands: Mapping[str, Stand], *, connections: int) -> Spells:
    """Load each in turn, as many rounds as planned, after a moment to warm up."""
    for stand in stands.values():
        await load(stand.server, stand.url, connections=connections, seconds=_WARM_UP_S, headers=stand.headers)
    spells: dict[str, list[Load]] = {name: [] for name in stands}
    for number in range(plan.rounds):
        order = list(stands) if number % 2 == 0 else list(stands)[::-1]
        for name in order:
            stand = stands[name]
            spells[name].append(
                await load(
                    stand.server, stand.url, connections=connections, seconds=plan.load_s, headers=stand.headers
                )
            )
    return {name: tuple(loads) for name, loads in spells.items()}


async def _page(plan: Plan, result: Result, everyone: Mapping[str, Contender]) -> None:
    stands = {name: Stand(one.server, one.page_url, ASK_PAGE) for name, one in everyone.items()}
    spells = await in_turns(plan, stands, connections=PAGE_CONNECTIONS)
    for name in _others(spells):
        target = at_least(0.8) if name == "ceiling" else None
        result.findings.append(_throughput("page, requests", spells, name, target))
    result.findings.append(_cpu_per_request("page, CPU a request", spells))
    result.notes.extend(errors("page", spells))


async def _unchanged(plan: Plan, result: Result, ours: Contender, ceiling: Server, etag: str) -> None:
    asking = ASK_PAGE | {"If-None-Match": etag}
    stands = {
        "envproxy": Stand(ours.server, ours.page_url, asking),
        "ceiling": Stand(ceiling, ceiling.url + bare.UNCHANGED, asking),
    }
    spells = await in_turns(plan, stands, connections=PAGE_CONNECTIONS)
    result.findings.append(_throughput("304, requests", spells, "ceiling", at_least(0.8)))
    result.findings.append(_cpu_per_request("304, CPU a request", spells))
    result.notes.extend(errors("304", spells))


async def _wheel(plan: Plan, result: Result, everyone: Mapping[str, Contender]) -> None:
    stands = {name: Stand(one.server, one.wheel_url, {}) for name, one in everyone.items()}
    spells = await in_turns(plan, stands, connections=WHEEL_CONNECTIONS)
    result.findings.extend(of_a_file("wheel", spells))
    result.notes.extend(errors("wheel", spells))


def of_a_file(what: str, spells: Spells) -> Iterator[Finding]:
    """Throughput and CPU time a byte of envproxy against everybody else; the ceiling sets the bounds."""
    for name in _others(spells):
        is_ceiling = name == "ceiling"
        ours, theirs = (tuple(spell.mb_per_s for spell in spells[who]) for who in ("envproxy", name))
        target = at_least(0.95) if is_ceiling else None
        yield Finding(f"{what}, throughput", "MB/s", ours, theirs, name, target=target)
        ours, theirs = (tuple(spell.cpu_ms_per_gb for spell in spells[who]) for who in ("envproxy", name))
        target = at_most(1.1) if is_ceiling else None
        yield Finding(f"{what}, CPU a GB", "ms", ours, theirs, name, target=target)


def _others(spells: Spells) -> Sequence[str]:
    return [name for name in spells if name != "envproxy"]


def _throughput(what: str, spells: Spells, name: str, target: Target | None) -> Finding:
    ours, theirs = (tuple(spell.requests_per_s for spell in spells[who]) for who in ("envproxy", name))
    return Finding(what, "/s", ours, theirs, name, target=target)


def _cpu_per_request(what: str, spells: Spells) -> Finding:
    ours, theirs = (tuple(spell.cpu_us_per_request for spell in spells[who]) for who in ("envproxy", "ceiling"))
    return Finding(what, "us", ours, theirs, "ceiling")


def errors(what: str, spells: Spells) -> list[str]:
    """Who failed how often, for the notes."""
    return [
        f"{what}: {name} failed {failed} requests"
        for name, loads in spells.items()
        if (failed := sum(spell.errors for spell in loads))
    ]


async def _install_peers(plan: Plan, result: Result) -> None:
    script = Path(__file__).parent / "install.sh"
    uv = Path(sys.executable).with_name("uv")
    try:
        await finished(["sh", script, uv, sys.executable], log=plan.scratch / "install.log", env=os.environ)
    except RuntimeError as error:
        result.notes.append(f"bench/install.sh failed: {error}")
