"""Somebody sets the proxy's clock: who is alive, and what is leased, goes by the time that has passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from envproxy.swarm.messages import Holding
from envproxy.swarm.tickets import admits
from fixtures.clock import FakeClock
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.swarm import SECRET, Agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.collection import FakeFiles

SMALL = b"small enough to be one piece"
PATH = "/files/demo/small.bin"
HOUR_S = 3600.0
EXPIRY_S = 15.0
SETTLED_S = 60.0


@dataclass
class Timed:
    """A proxy with a clock that can be set, and one that only goes on."""

    proxy: LocalProxy
    wall: FakeClock
    monotonic: FakeClock

    async def come(self, node: str) -> Agent:
        agent = Agent(self.proxy.url, node)
        await agent.hello()
        return agent


@pytest.fixture
async def timed(tmp_path: Path, upstream: FakeFiles) -> AsyncIterator[Timed]:
    wall, monotonic = FakeClock(), FakeClock()
    settings = {
        "files.demo.url": upstream.url,
        "files.corp.url": upstream.url,
        "files.corp.bearer": "env:CORP",
        "swarm.enabled": "true",
        "swarm.secret": "env:SWARM",
    }
    environ = {"SWARM": SECRET, "CORP": "corp-token"}
    async with running_proxy(tmp_path, settings=settings, environ=environ, clock=wall, monotonic=monotonic) as proxy:
        monotonic.advance(SETTLED_S)
        yield Timed(proxy, wall, monotonic)


async def test_a_clock_that_is_set_back_keeps_no_dead_node_alive(timed: Timed):
    agent = await timed.come("node-1")

    timed.wall.advance(-HOUR_S)
    timed.monotonic.advance(EXPIRY_S)

    assert await agent.beat() == "hello"


async def test_a_clock_that_is_set_forward_forgets_nobody(timed: Timed, upstream: FakeFiles):
    sha256 = upstream.put("small.bin", SMALL)
    agent, other = await timed.come("node-1"), await timed.come("node-2")
    await agent.obtain(sha256, PATH)

    timed.wall.advance(HOUR_S)

    assert await agent.beat() == ""
    second = await other.want(sha256, PATH, wait_s=0.0)
    assert (second.again, second.leases) == ("", [])


async def test_tickets_end_by_the_clock_that_peers_have(timed: Timed, upstream: FakeFiles):
    sha256 = upstream.put("small.bin", SMALL)
    holder, seeker = await timed.come("a"), await timed.come("b")
    await holder.beat(Holding(sha256=sha256, size=len(SMALL), private=True), artifacts=1)
    timed.wall.advance(HOUR_S)

    given = await seeker.obtain(sha256, "/files/corp/small.bin")

    [peer] = given.offers[0].peers
    assert admits(peer.ticket, holder.key, sha256=sha256, node="a", tenant="default", now=timed.wall())
