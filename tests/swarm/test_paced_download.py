"""A download in a swarm so large that its directory sets a pace: it asks seldom, and gets over a lost answer."""

from __future__ import annotations

import asyncio
import itertools
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from envagent.fetch.artifacts import Artifacts
from envagent.peers.choose import Reputation
from envagent.peers.downloader import Download
from envagent.peers.events import EventLog
from envagent.peers.inventory import Inventory, Limits
from envagent.peers.membership import Identity, Membership, Publicity
from envagent.peers.pieces import Pieces
from envagent.peers.surroundings import Surroundings, Wanted
from envagent.peers.wire import Wire
from envproxy.errors import UpstreamError
from envproxy.swarm.messages import Given, Hello, Want
from fixtures.swarm import SECRET, digest

if TYPE_CHECKING:
    from pathlib import Path

    from envproxy.swarm.desk import Desk
    from fixtures.collection import FakeFiles
    from fixtures.proxy import LocalProxy

BIG = Random(1).randbytes(24 << 20)
CROWD = 150  # each of whose questions is taken to cost half a millisecond
TIMER_S = 0.001  # what the event loop may wake too early


class LossyWire(Wire):
    """Loses the answer after the second that sets a pace. `paces` are what the node knew after each question."""

    def __init__(self, proxy: str) -> None:
        super().__init__("node", proxy, SECRET, peer_timeout_s=60.0)
        self.paces: list[float] = []
        self.asked = 0.0
        self.lost = False

    async def want(self, message: Want) -> Given:
        if not (message.count or message.moving):  # it only tells that all is here
            return await super().want(message)
        self.asked = monotonic()
        given = await super().want(message)
        if not self.lost and sum(pace > 0 for pace in self.paces) == 2:
            self.lost = True
            self.paces.append(self.paces[-1])
            raise UpstreamError("the connection broke", cause="connect")
        self.paces.append(given.pace_s)
        return given


async def crowd(desk: Desk, sha256: str) -> None:
    """Many nodes want another file."""
    me = "crowd-0"
    directory = (
        await desk.hello(Hello(node=me, epoch=1, address=f"http://{me}.example.org:8418"), "default")
    ).directory
    for number in range(CROWD):
        want = Want(
            node=f"crowd-{number}",
            epoch=1,
            directory=directory,
            sha256=sha256,
            path="/files/demo/other.bin",
            wait_s=0.0,
        )
        await desk.want(want, "default")


def surroundings(wire: Wire, home: Path) -> Surroundings:
    """What a node has around a download (blocking)."""
    publicity = Publicity(home / "public")
    inventory = Inventory(Artifacts(home / "artifacts"), home / "partial", Limits(), home / "store" / "in-use")
    me = Identity("node", 1, "http://node.example.org:8418")
    membership = Membership(me, wire, publicity, whole=inventory.whole, busy=lambda: 0)
    pieces = Pieces(
        wire,
        Reputation(),
        EventLog(home / "events", monotonic),
        zone="",
        random=Random(1),
        clock=monotonic,
        fault=lambda sha256, piece, node, wrong: None,
    )
    return Surroundings(wire, membership, publicity, inventory, pieces, Random(1), monotonic, itertools.count(1))


async def test_a_paced_download_finishes_and_asks_no_sooner_than_it_is_told(
    tmp_path: Path, proxy: LocalProxy, upstream: FakeFiles
) -> None:
    sha256 = upstream.put("big.bin", BIG)
    assert proxy.parts.swarm
    await crowd(proxy.parts.swarm.desk, upstream.put("other.bin", b"what the others want"))
    async with LossyWire(proxy.url) as wire:
        around = await asyncio.to_thread(surroundings, wire, tmp_path / "node")
        download = Download(Wanted(sha256, "/files/demo/big.bin"), around)
        began = monotonic()
        await download.run()
    data = await asyncio.to_thread((await download.whole()).read_bytes)
    assert digest(data) == sha256
    assert wire.lost
    assert wire.asked - began > sum(wire.paces[:-1]) - TIMER_S * len(wire.paces)
