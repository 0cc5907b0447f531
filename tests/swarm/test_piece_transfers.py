"""Single pieces over real connections: written, verified and counted, whoever gives up meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from envagent.peers.choose import Reputation
from envagent.peers.events import EventLog, read_events
from envagent.peers.holding import Holding, Incoming
from envagent.peers.pieces import Pieces
from envagent.peers.wire import Wire
from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PIECE = 1 << 20
DATA = Random(7).randbytes(2 * PIECE)
HASHES = [hashlib.sha256(DATA[:PIECE]).hexdigest(), hashlib.sha256(DATA[PIECE:]).hexdigest()]
SHA256 = hashlib.sha256(DATA).hexdigest()
URL = "/swarm/v1/artifacts/{sha256}/pieces/{piece}"


class Giver:
    """A server that has both pieces, and gives them as they are `there`; its URL is `origin`."""

    def __init__(self, there: bytes = DATA) -> None:
        self.origin = ""
        self.there = there
        self.connections: set[object] = set()

    async def give(self, request: web.Request) -> web.Response:
        assert request.transport
        self.connections.add(request.transport.get_extra_info("peername"))
        start = int(request.match_info["piece"]) * PIECE
        return web.Response(body=self.there[start : start + PIECE])


@asynccontextmanager
async def giving(giver: Giver) -> AsyncIterator[Giver]:
    app = web.Application()
    app.router.add_get(URL, giver.give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    giver.origin = f"http://{host}:{port}"
    try:
        yield giver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def pieces_of(proxy: Giver, log: EventLog, faults: list[tuple[str, int, str, str]]) -> AsyncIterator[Pieces]:
    async with Wire("node-1", proxy.origin, "the secret", peer_timeout_s=60.0) as wire:
        yield Pieces(
            wire,
            Reputation(),
            log,
            zone="",
            random=Random(1),
            clock=time.monotonic,
            fault=lambda *fault: faults.append(fault),
        )


def holding_in(folder: Path) -> Holding:
    return Holding(folder, SHA256, Layout(len(DATA), PIECE), "boot-1")


async def test_pieces_of_the_proxy_come_over_one_connection_and_make_the_artifact(tmp_path: Path) -> None:
    log, holding = EventLog(tmp_path / "events", time.time), holding_in(tmp_path)
    async with giving(Giver()) as proxy, pieces_of(proxy, log, []) as pieces:
        for index, sha256 in enumerate(HASHES):
            assert await pieces.from_proxy(holding, index, sha256)
    assert len(proxy.connections) == 1
    assert pieces.counts.origin_bytes == len(DATA)
    path = holding.finish()
    assert path is not None
    assert path.read_bytes() == DATA


async def test_a_peer_that_lies_is_told_of_and_the_next_one_is_asked(tmp_path: Path) -> None:
    faults: list[tuple[str, int, str, str]] = []
    log, holding = EventLog(tmp_path / "events", time.time), holding_in(tmp_path)
    async with giving(Giver(bytes(len(DATA)))) as liar, giving(Giver()) as friend:
        asked = [Peer(node="liar", address=liar.origin, zone=""), Peer(node="friend", address=friend.origin, zone="")]
        async with pieces_of(friend, log, faults) as pieces:
            assert not await pieces.from_peers(holding, 0, HASHES[0], asked[:1])
            assert await pieces.from_peers(holding, 0, HASHES[0], asked)
    assert faults == [(SHA256, 0, "liar", "bad_hash")]
    assert (pieces.counts.pieces_wrong, dict(pieces.counts.of)) == (1, {"friend": PIECE})


async def test_a_piece_that_was_verified_while_its_download_was_stopped_is_counted(tmp_path: Path) -> None:
    loop, verifying, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    class Slow(Holding):
        def keep(self, incoming: Incoming, sha256: str) -> bool:
            loop.call_soon_threadsafe(verifying.set)
            go_on.wait()
            return super().keep(incoming, sha256)

    log, holding = (
        EventLog(tmp_path / "events", time.time),
        Slow(tmp_path, SHA256, Layout(len(DATA), PIECE), "boot-1"),
    )
    async with giving(Giver()) as proxy, pieces_of(proxy, log, []) as pieces:
        moving = asyncio.create_task(pieces.from_proxy(holding, 1, HASHES[1]))
        await verifying.wait()
        moving.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await moving
    assert holding.verified == 0b10
    assert pieces.counts.origin_bytes == PIECE
    await asyncio.to_thread(log.write)
    assert [(event.what, event.piece) for event in read_events(tmp_path / "events")] == [("got", 1)]
