"""Many artifacts at once, small ones beside big ones, on loopback; test_scale has more of it on links with a rate."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from envagent.peers.pieces import PIECES_AT_ONCE
from fixtures.node import running_node, running_nodes
from fixtures.site import path_of, weights

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import ProxyProcess
    from fixtures.upstream import FakeIndex

MIB = 1 << 20
SMALL = [weights(f"small{number}", Random(number).randrange(10_000, 300_000)) for number in range(12)]


async def test_many_artifacts_that_four_nodes_want_at_once_leave_the_proxy_once_each(
    tmp_path: Path, index: FakeIndex, origin: ProxyProcess
) -> None:
    wanted = [weights("big", 12 * MIB), *SMALL]
    index.add(*wanted)
    async with running_nodes(tmp_path, origin.url, 4) as nodes:
        got = await asyncio.gather(*(node.get(path_of(dist)) for node in nodes for dist in wanted))
        found = [await node.status() for node in nodes]
    assert got == [dist.sha256 for dist in wanted] * 4
    assert sum(one["origin_bytes"] for one in found) <= 1.1 * sum(len(dist.data) for dist in wanted)
    assert all(index.count("GET", f"*/{dist.filename}") == 1 for dist in wanted)


async def test_small_artifacts_do_not_wait_for_big_ones_that_hardly_move(
    tmp_path: Path, index: FakeIndex, origin: ProxyProcess
) -> None:
    """Two holders give so slowly that as many pieces of the big ones are stuck as a node fetches at once."""
    big = [weights(f"big{number}", 12 * MIB) for number in range(6)]
    index.add(*SMALL, *big)
    crawling = {"ENVAGENT_UPLOAD_RATE": "1KB"}
    async with (
        running_node(tmp_path / "one", origin.url, environ=crawling) as one,
        running_node(tmp_path / "other", origin.url, environ=crawling) as other,
        running_node(tmp_path / "late", origin.url) as late,
    ):
        await asyncio.gather(
            *(one.get(path_of(dist)) for dist in big[:3]), *(other.get(path_of(dist)) for dist in big[3:])
        )
        stuck = [asyncio.create_task(late.get(path_of(dist))) for dist in big]
        while sum(len(moving["pieces"]) for moving in (await late.status())["moving"]) < PIECES_AT_ONCE:
            await asyncio.sleep(0.1)
        got = [await late.get(path_of(dist)) for dist in SMALL]
        await late.kill()
        await asyncio.wait(stuck)
    assert got == [dist.sha256 for dist in SMALL]
