"""Shards of a channel that has none: the first time, when nothing changed, and when one name did.

Upstream is as fast as the machine, so what is measured is the work. A refresh that brings no news is measured twice:
upstream says so (304), or has no validators and sends the same bytes again. While the worker makes shards, a client
asks for /healthz every 5 ms: the slowest answer bounds how long the event loop was blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from envproxy.conda.shards import ShardIndex, read_index

from .compare import Finding, at_most, memory, worst
from .conda_contenders import INDEX, channel, envproxy, upstream, without_validators
from .conda_corpus import PLATFORM
from .plan import Plan, Result
from .server import Server

EVERY_S = 0.005
NEWS_S = 120.0  # how long a change may take until it is visible
ASK = {"Cache-Control": "no-cache"}


@dataclass(slots=True)
class Watch:
    """What was seen during a spell: the slowest answer in seconds, the largest worker in bytes."""

    slowest_s: float = 0.0
    largest: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds, bytes and counts of one proxy's life with the channel."""

    cpu_s: float
    wait_s: float
    watch: Watch
    unchanged_s: float
    same_again_s: float
    changed_s: float
    new_shards: int
    changed_cpu_s: float
    peak: int


@dataclass(slots=True)
class Shelf:
    """The directory that upstream serves: linux-64 leads to either of two states."""

    root: Path
    before: Path
    after: Path
    noarch: Path
    _turns: int = field(default=0)

    def prepare(self) -> None:
        """Show the state before the change."""
        self.root.mkdir(exist_ok=True)
        self._lead("noarch", self.noarch)
        self._lead(PLATFORM, self.before)

    def change(self) -> None:
        """Show the state after it, at once."""
        self._lead(PLATFORM, self.after)

    def _lead(self, subdir: str, to: Path) -> None:
        self._turns += 1
        link = self.root / f".{self._turns}"
        link.symlink_to(to)
        link.rename(self.root / subdir)


async def measure(plan: Plan, shelf: Shelf, result: Result) -> None:
    """A fresh proxy each round."""
    rounds = [await _round(plan, shelf) for _ in range(plan.rounds)]
    result.findings += _findings(rounds)


async def _round(plan: Plan, shelf: Shelf) -> Round:
    shelf.prepare()
    place = plan.place("shards")
    async with (
        upstream(place, shelf.root) as far,
        envproxy(place, far.url) as ours,
        aiohttp.ClientSession() as session,
    ):
        url = f"{channel(ours)}/{PLATFORM}/{INDEX}"
        async with _watching(ours) as watch:
            first, wait_s = await _timed(session, url)
        cpu_s = ours.ended_cpu_s()
        _, unchanged_s = await _timed(session, url, revalidated=True)
        async with without_validators(far):
            _, same_again_s = await _timed(session, url, revalidated=True)
        shelf.change()
        second, changed_s = await _news(session, url, first)
        return Round(
            cpu_s=cpu_s,
            wait_s=wait_s,
            watch=watch,
            unchanged_s=unchanged_s,
            same_again_s=same_again_s,
            changed_s=changed_s,
            new_shards=len(set(second.shards.values()) - set(first.shards.values())),
            changed_cpu_s=ours.ended_cpu_s() - cpu_s,
            peak=ours.peak_bytes(),
        )


async def _timed(session: aiohttp.ClientSession, url: str, *, revalidated: bool = False) -> tuple[ShardIndex, float]:
    """The index and how long it took. Raises RuntimeError if it should have been asked for upstream and was not."""
    began = asyncio.get_running_loop().time()
    async with session.get(url, headers=ASK if revalidated else {}) as got:
        got.raise_for_status()
        body = await got.read()
        seconds = asyncio.get_running_loop().time() - began
        if revalidated and got.headers["X-Envmesh-Cache"] != "revalidated":
            raise RuntimeError(f"the refresh of {url} was not one: {got.headers['X-Envmesh-Cache']}")
    return read_index(body), seconds


async def _news(session: aiohttp.ClientSession, url: str, last: ShardIndex) -> tuple[ShardIndex, float]:
    """The first index that differs from the last one, and how long it took to be there."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(NEWS_S):
        while True:
            async with session.get(url, headers=ASK) as got:
                got.raise_for_status()
                index = read_index(await got.read())
            if index.shards != last.shards:
                return index, asyncio.get_running_loop().time() - began
            await asyncio.sleep(EVERY_S)


@asynccontextmanager
async def _watching(ours: Server) -> AsyncIterator[Watch]:
    """Watch until the block ends. Raises what asking for /healthz raised."""
    watch = Watch()
    done = asyncio.Event()
    async with aiohttp.ClientSession(ours.url) as session, asyncio.TaskGroup() as tasks:
        await _alive(session)  # not counted: it opens the connection
        tasks.create_task(_watch(session, ours, watch, done))
        try:
            yield watch
        finally:
            done.set()


async def _watch(session: aiohttp.ClientSession, ours: Server, watch: Watch, done: asyncio.Event) -> None:
    while not done.is_set():
        watch.slowest_s = max(watch.slowest_s, await _alive(session))
        watch.largest = max(watch.largest, ours.workers_peak_bytes())
        await asyncio.sleep(EVERY_S)


async def _alive(session: aiohttp.ClientSession) -> float:
    """How long the proxy took to say that it is alive, in seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with session.get("/healthz") as got:
        await got.read()
    return loop.time() - began


def _findings(rounds: list[Round]) -> list[Finding]:
    return [
        worst("first shards, worker's CPU", "s", [one.cpu_s for one in rounds], at_most(5.0)),
        worst("first shards, worker's memory", "MB", [one.watch.largest / 1e6 for one in rounds], at_most(600.0)),
        worst("first shards, slowest /healthz", "ms", [one.watch.slowest_s * 1e3 for one in rounds], at_most(50.0)),
        worst("first shards, the client's wait", "s", [one.wait_s for one in rounds]),
        worst("refresh, nothing changed", "s", [one.unchanged_s for one in rounds], at_most(1.0)),
        worst("refresh, the same bytes again", "s", [one.same_again_s for one in rounds], at_most(1.0)),
        worst("refresh, one name changed: new shards", "", [one.new_shards for one in rounds], at_most(1.0)),
        worst("refresh, one name changed: CPU", "s", [one.changed_cpu_s for one in rounds]),
        worst("refresh, one name changed: visible", "s", [one.changed_s for one in rounds]),
        memory("peak memory of the proxy itself", [one.peak for one in rounds]),
    ]
