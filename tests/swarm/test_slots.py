"""Who may take how much of a node's uploads, and for how long."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, TCPConnector

from envagent.peers.slots import Slots
from envproxy.errors import UpstreamError
from fixtures.node import HOST, SECRET, SWARM, NodeProcess, running_node
from fixtures.proxy import proxy_process
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ONE_PIECE = make_wheel("alpha", "1.0", files={"alpha/weights.bin": Random(1).randbytes(8_000_000)})
PIECE = f"/swarm/v1/artifacts/{ONE_PIECE.sha256}/pieces/0"


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@asynccontextmanager
async def holder(home: Path, **environ: str) -> AsyncIterator[NodeProcess]:
    """A node that has the artifact."""
    (home / "proxy").mkdir()
    async with (
        FakeIndex() as upstream,
        proxy_process(home / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(ONE_PIECE)
        async with running_node(home / "node", proxy.url, environ=environ) as node:
            path = f"/pypi/main/files/alpha/{ONE_PIECE.sha256}/{ONE_PIECE.filename}"
            assert await node.get(path) == ONE_PIECE.sha256
            yield node


async def begun(node: NodeProcess, stack: ExitStack) -> int:
    """Ask for the piece on a connection of its own, and read nothing but the status."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (HOST, int(node.url.rpartition(":")[2])))
    await loop.sock_sendall(connection, f"GET {PIECE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return int((await loop.sock_recv(connection, 12)).split()[1])


async def test_one_address_never_has_all_slots(tmp_path: Path, sockets: ExitStack) -> None:
    async with holder(tmp_path) as node, ClientSession(connector=TCPConnector(local_addr=("127.0.0.2", 0))) as other:
        answers = [await begun(node, sockets) for _ in range(8)]
        async with other.get(node.url + PIECE) as answer:
            assert (answer.status, len(await answer.read())) == (200, len(ONE_PIECE.data))
    assert answers == [200] * 7 + [503]


async def test_a_head_of_a_piece_is_refused_and_counts_as_no_upload(tmp_path: Path) -> None:
    async with holder(tmp_path) as node, ClientSession() as session:
        async with session.head(node.url + PIECE) as answer:
            assert answer.status == 405
        assert (await node.status())["peer_bytes_up"] == 0


@pytest.mark.parametrize("rate", ["0", "1GB"], ids=["sendfile", "in chunks"])
async def test_a_peer_that_takes_nothing_loses_its_slot(tmp_path: Path, sockets: ExitStack, rate: str) -> None:
    async with holder(tmp_path, ENVAGENT_PEER_TIMEOUT="1s", ENVAGENT_UPLOAD_RATE=rate) as node:
        assert await begun(node, sockets) == 200
        while (await node.status())["uploads"]:
            pass


def test_a_slot_that_was_given_back_is_free_for_anybody() -> None:
    slots = Slots(1)
    with slots.one("192.0.2.7"):
        assert slots.busy == 1
        with pytest.raises(UpstreamError, match="all upload slots are taken"), slots.one("192.0.2.8"):
            pass
    with slots.one("192.0.2.8"):
        assert slots.busy == 1
    assert slots.busy == 0


def test_what_one_address_may_not_have_another_may() -> None:
    slots = Slots(8)
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(slots.one("192.0.2.7"))
        with pytest.raises(UpstreamError, match=r"192\.0\.2\.7 takes 7 pieces already"):
            stack.enter_context(slots.one("192.0.2.7"))
        stack.enter_context(slots.one("192.0.2.8"))
        assert slots.busy == 8
