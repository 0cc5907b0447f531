"""An upstream that fails, or sends wrong bytes: a node says so as soon as the proxy does, and asks no oftener."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientError, ClientSession

from envproxy.errors import DigestMismatch
from envproxy.swarm.pieces import WRONG_S
from fixtures.faults import Fault, Status, WrongBytes
from fixtures.node import SECRET, SWARM, NodeProcess, running_node
from fixtures.proxy import proxy_process
from fixtures.swarm import Agent, Refused
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.collection import FakeFiles

ONE_PIECE, MANY_PIECES = 100_000, 20_000_000
MIB = 1 << 20


@pytest.mark.parametrize("size", [ONE_PIECE, MANY_PIECES], ids=["one piece", "many pieces"])
@pytest.mark.parametrize(
    ("fault", "most"), [(WrongBytes(), 1), (Status(403), 1), (Status(503), 2)], ids=["wrong bytes", "403", "503"]
)
async def test_a_node_fails_with_its_proxy_and_hammers_nobody(
    tmp_path: Path, size: int, fault: Fault, most: int
) -> None:
    dist = make_wheel("alpha", "1.0", payload_size=size)
    (tmp_path / "proxy").mkdir()
    async with (
        FakeIndex() as upstream,
        proxy_process(tmp_path / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
        running_node(tmp_path / "node", proxy.url) as node,
    ):
        upstream.add(dist)
        upstream.fail("*.whl", fault)
        status, body = await fetched(node, f"/pypi/main/files/alpha/{dist.sha256}/{dist.filename}")
        asked = upstream.count("GET", "*.whl")
    assert (status, body) in {(503, b""), (200, b"")}  # or cut, where some of it was sent
    assert 1 <= asked <= most


async def fetched(node: NodeProcess, path: str) -> tuple[int, bytes]:
    """The status and the whole body of a file, nothing instead of one that is not whole."""
    async with ClientSession() as session, session.get(f"{node.url}{path}") as answer:
        try:
            body = await answer.read()
        except ClientError:
            body = b""
        return answer.status, body if answer.status == 200 else b""


@pytest.mark.parametrize("size", [100_000, 12 * MIB], ids=["one piece", "many pieces"])
async def test_wrong_bytes_are_told_to_who_asks_until_upstream_is_asked_again(
    upstream: FakeFiles, clock: FakeClock, come, size: int
) -> None:
    right = b"right" * (size // 5)
    sha256 = upstream.put("wrong.bin", right)
    upstream.put("mirror.bin", right)
    upstream.fail("/files/wrong.bin", WrongBytes())
    agent = await come("node-1")

    await refused(agent, sha256, "/files/demo/wrong.bin")
    asked = upstream.count("GET", "/files/wrong.bin")
    await refused(agent, sha256, "/files/demo/wrong.bin")
    assert upstream.count("GET", "/files/wrong.bin") == asked

    assert (await agent.obtain(sha256, "/files/demo/mirror.bin")).leases

    upstream.clear_faults()
    clock.advance(WRONG_S)
    assert (await agent.obtain(sha256, "/files/demo/wrong.bin")).leases


async def refused(agent: Agent, sha256: str, path: str) -> None:
    """Take what is given until the proxy says that the bytes are wrong."""
    while True:
        try:
            for piece in (await agent.want(sha256, path)).leases:
                await agent.piece(sha256, piece)
        except Refused as error:
            if DigestMismatch.kind() in error.detail:
                return
        except ClientError:  # the piece was cut
            continue
