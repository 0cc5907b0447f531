"""Nodes of a swarm as processes on loopback, with a real proxy: what arrives, how often it left the proxy, faults.

No lease and no peer is given up for slowness here (`fixtures.node`), so the counts do not depend on the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession

from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import TICKET_HEADER
from envproxy.swarm.tickets import Ticket, key_of, sign
from fixtures import imposter
from fixtures.node import SECRET, SWARM, NodeProcess, running_node, running_nodes
from fixtures.proxy import proxy_process, running_proxy
from fixtures.upstream import FakeIndex, Gate, Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fixtures.wheels import Dist

MIB = 1 << 20


def wheel(size: int, name: str = "alpha") -> Dist:
    return make_wheel(name, "1.0", files={f"{name}/weights.bin": Random(size).randbytes(size)})


def path_of(dist: Dist, index: str = "main") -> str:
    return f"/pypi/{index}/files/{dist.project}/{dist.sha256}/{dist.filename}"


async def statuses(nodes: Sequence[NodeProcess]) -> list[Any]:
    return list(await asyncio.gather(*(node.status() for node in nodes)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "proxy").mkdir()
    return tmp_path / "proxy"


async def test_one_copy_leaves_the_proxy_for_three_nodes_that_want_an_artifact_at_once(
    tmp_path: Path, home: Path
) -> None:
    dist = wheel(64 * MIB)
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(dist)
        async with running_nodes(tmp_path, proxy.url, 3) as nodes:
            got = await asyncio.gather(*(node.get(path_of(dist)) for node in nodes))
            found = await statuses(nodes)
            await nodes[0].stop()  # which writes the last second of its log
            traced = await nodes[0].said("trace", dist.sha256[:12])
    size = len(dist.data)
    assert got == [dist.sha256] * 3
    assert sum(one["origin_bytes"] for one in found) == size
    assert [one["origin_bytes"] + one["peer_bytes_down"] for one in found] == [size] * 3
    assert sum(one["peer_bytes_up"] for one in found) == 2 * size
    assert [(one["artifacts"], one["size"], one["moving"]) for one in found] == [(1, size, [])] * 3
    assert upstream.count("GET", f"*/{dist.filename}") == 1
    assert traced.count(" from ") >= Layout.of(size).count


async def test_an_index_that_misstates_a_size_costs_one_attempt(tmp_path: Path, home: Path) -> None:
    dist = wheel(MIB // 2)
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(dist)
        upstream.style = Style(sizes="wrong")
        async with running_nodes(tmp_path, proxy.url, 1) as [node]:
            async with ClientSession() as session, session.get(node.url + path_of(dist)) as answer:
                refusal = await answer.text()
            got = await node.get(path_of(dist))
    assert (answer.status, f"not the {len(dist.data) + 1} that were stated" in refusal) == (503, True)
    assert got == dist.sha256


async def test_a_small_artifact_leaves_the_proxy_once_and_a_node_that_comes_later_gets_it_from_a_peer(
    tmp_path: Path, home: Path
) -> None:
    dist = wheel(MIB // 2)
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(dist)
        async with running_nodes(tmp_path, proxy.url, 2) as nodes:
            got = [await node.get(path_of(dist)) for node in nodes]
            found = await statuses(nodes)
    assert got == [dist.sha256] * 2
    assert [(one["origin_bytes"], one["peer_bytes_down"]) for one in found] == [
        (len(dist.data), 0),
        (0, len(dist.data)),
    ]


async def test_a_node_that_was_killed_goes_on_with_the_pieces_that_it_has(tmp_path: Path, home: Path) -> None:
    dist = wheel(24 * MIB)
    released = asyncio.Event()
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(dist)
        upstream.fail(f"*/{dist.filename}", Gate(3 * MIB + MIB // 2, released), times=1)
        async with running_node(tmp_path / "node", proxy.url) as node:
            asking = asyncio.create_task(node.get(path_of(dist)))
            while node.pieces(dist.sha256) < 3:
                await asyncio.sleep(0.01)
            await node.kill()
            await asyncio.wait([asking])
            assert asking.exception() is not None
            assert not list((tmp_path / "node" / "artifacts" / "files").rglob(dist.sha256))
        here = node.pieces(dist.sha256)
        async with running_node(tmp_path / "node", proxy.url) as node:
            asking = asyncio.create_task(node.get(path_of(dist)))
            released.set()
            assert await asking == dist.sha256
            status = await node.status()
    assert status["origin_bytes"] == len(dist.data) - here * MIB


async def test_nodes_finish_after_their_proxy_was_killed_and_came_back(tmp_path: Path, home: Path) -> None:
    dist = wheel(24 * MIB)
    async with FakeIndex() as upstream:
        upstream.add(dist)
        upstream.fail(f"*/{dist.filename}", Gate(3 * MIB + MIB // 2, asyncio.Event()), times=1)
        async with (
            proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
            running_nodes(tmp_path, proxy.url, 2) as nodes,
        ):
            asking = [asyncio.create_task(node.get(path_of(dist))) for node in nodes]
            while not all(node.pieces(dist.sha256) == 3 for node in nodes):
                await asyncio.sleep(0.01)
            await proxy.kill()
            again = {**SWARM, "server.listen": proxy.url.removeprefix("http://")}
            async with proxy_process(home, upstream=upstream, settings=again, environ=SECRET):
                got = await asyncio.gather(*asking)
                found = await statuses(nodes)
    assert got == [dist.sha256] * 2
    assert all(one["pieces_wrong"] == 0 for one in found)


@pytest.mark.parametrize(
    "trick",
    [
        imposter.wrong_bytes,
        imposter.too_many_bytes,
        imposter.early_end,
        imposter.nothing_here,
        imposter.silence,
    ],
    ids=lambda trick: trick.__name__,
)
async def test_a_peer_that_does_not_give_what_it_says_is_left_for_the_proxy(
    tmp_path: Path, home: Path, trick: imposter.Trick
) -> None:
    dist = wheel(MIB // 2)
    async with (
        FakeIndex() as upstream,
        running_proxy(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
        running_node(tmp_path / "node", proxy.url, environ={"ENVAGENT_PEER_TIMEOUT": "1s"}) as node,
        imposter.Imposter("imposter", proxy.url, trick) as peer,
    ):
        upstream.add(dist)
        await peer.announce(dist.sha256, len(dist.data))
        got = await node.get(path_of(dist))
        status = await node.status()
    assert got == dist.sha256
    assert (status["origin_bytes"], status["peer_bytes_down"]) == (len(dist.data), 0)
    assert peer.asked >= 1
    lied = trick is imposter.wrong_bytes
    assert [one["is_banned"] for one in status["peers"]] == [lied]
    assert status["pieces_wrong"] == lied


async def test_a_node_finishes_from_peers_when_the_proxy_is_gone_for_good(tmp_path: Path, home: Path) -> None:
    dist = wheel(24 * MIB)
    slow = {"ENVAGENT_UPLOAD_RATE": "8MB"}
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
    ):
        upstream.add(dist)
        async with (
            running_node(tmp_path / "first", proxy.url, environ=slow) as first,
            running_node(tmp_path / "second", proxy.url) as second,
        ):
            assert await first.get(path_of(dist)) == dist.sha256
            asking = asyncio.create_task(second.get(path_of(dist)))
            while not second.pieces(dist.sha256) and not asking.done():
                await asyncio.sleep(0.01)
            await proxy.kill()
            got = await asking
            status = await second.status()
    assert got == dist.sha256
    assert (status["origin_bytes"], status["peer_bytes_down"]) == (0, len(dist.data))


async def test_what_is_private_is_given_to_peers_for_a_right_ticket_only(tmp_path: Path, home: Path) -> None:
    dist = wheel(MIB // 2)
    private = {
        **SWARM,
        "pypi.upstreams.pypi.username": "reader",
        "pypi.upstreams.pypi.password": "env:PASSWORD",
    }
    environ = {**SECRET, "PASSWORD": "of the upstream"}
    key = key_of(SECRET["SWARM_SECRET"], "default")
    async with (
        FakeIndex() as upstream,
        proxy_process(home, upstream=upstream, settings=private, environ=environ) as proxy,
    ):
        upstream.add(dist)
        upstream.require_basic("reader", "of the upstream")
        async with running_nodes(tmp_path, proxy.url, 2) as nodes, ClientSession() as session:
            assert [await node.get(path_of(dist)) for node in nodes] == [dist.sha256] * 2
            second = await nodes[1].status()
            url = f"{nodes[0].url}/swarm/v1/artifacts/{dist.sha256}/pieces/0"
            end = int(time.time()) + 200
            right = Ticket(dist.sha256, nodes[0].name, "default", end)
            wrong = [
                "",
                "nonsense",
                sign(Ticket(dist.sha256, nodes[1].name, "default", end), key),
                sign(Ticket("0" * 64, nodes[0].name, "default", end), key),
                sign(Ticket(dist.sha256, nodes[0].name, "other", end), key),
                sign(Ticket(dist.sha256, nodes[0].name, "default", 1), key),
                sign(right, key_of("another secret", "default")),
            ]
            refused = []
            for ticket in wrong:
                async with session.get(url, headers={TICKET_HEADER: ticket}) as answer:
                    refused.append(answer.status)
            async with session.get(url, headers={TICKET_HEADER: sign(right, key)}) as answer:
                given = hashlib.sha256(await answer.read()).hexdigest()
    assert second["peer_bytes_down"] == len(dist.data)
    assert refused == [404] * len(wrong)
    assert given == dist.sha256
