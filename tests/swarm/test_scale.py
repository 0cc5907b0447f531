"""Many nodes, many artifacts, late nodes: one copy leaves the proxy.

On machines of their own (`fixtures.namespaces`), for minutes: `make test-swarm`. The proxy is on machine 0, node i on
machine i + 1.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from fixtures.node import SWARM
from fixtures.site import site, site_with, weights

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.namespaces import Network
    from fixtures.wheels import Dist

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]

MIB = 1 << 20


def small_ones(count: int) -> list[Dist]:
    """Wheels of 10 to 300 KB."""
    return [weights(f"small{number}", Random(number).randrange(10_000, 300_000)) for number in range(count)]


@pytest.mark.parametrize(
    "net",
    [
        {"size": 2, "mbit": 100},
        {"size": 5, "mbit": 100},
        {"size": 9, "mbit": 100},
        {"size": 17, "mbit": 50},
        {"size": 33, "mbit": 25},
    ],
    indirect=True,
    ids=lambda net: f"N={net['size'] - 1}",
)
async def test_one_copy_leaves_the_proxy_however_many_ask(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 32 * MIB, {}, SWARM) as here:
        got = await asyncio.gather(*(here.get(node) for node in range(net.size - 1)))
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * (net.size - 1)
    assert ratio <= 1.05


@pytest.mark.parametrize("net", [{"size": 9, "mbit": 100}], indirect=True)
async def test_nodes_that_come_later_take_all_of_it_from_those_before_them(tmp_path: Path, net: Network) -> None:
    """One after the other: each asks when the one before it has a tenth."""
    async with site(tmp_path, net, 64 * MIB, {}, SWARM) as here:
        asking = []
        for node in range(8):
            asking.append(asyncio.create_task(here.get(node)))
            await here.has_part(node, 0.1)
        got = await asyncio.gather(*asking)
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * 8
    assert ratio <= 1.05


@pytest.mark.parametrize("net", [{"size": 17, "mbit": 50}], indirect=True)
async def test_fifty_artifacts_at_once_leave_the_proxy_once_each(tmp_path: Path, net: Network) -> None:
    dists = [weights("big", 12 * MIB), *small_ones(49)]
    async with site_with(tmp_path, net, dists, {}, SWARM) as here:
        got = await asyncio.gather(*(here.get_all(node, dists) for node in range(16)))
        ratio = await here.origin_ratio()
    assert got == [[dist.sha256 for dist in dists]] * 16
    assert ratio <= 1.05


@pytest.mark.parametrize("net", [{"size": 9, "mbit": 100}], indirect=True)
async def test_small_artifacts_leave_the_proxy_once_each_while_a_big_one_moves(tmp_path: Path, net: Network) -> None:
    big, small = weights("big", 64 * MIB), small_ones(100)
    async with site_with(tmp_path, net, [big, *small], {}, SWARM) as here:
        bulk = [asyncio.create_task(here.get(node)) for node in range(8)]
        await asyncio.gather(*(here.has_part(node, 0.02) for node in range(8)))
        got = await asyncio.gather(*(here.get_all(node, small) for node in range(8)))
        whole = await asyncio.gather(*bulk)
        ratio = await here.origin_ratio()
    assert got == [[dist.sha256 for dist in small]] * 8
    assert whole == [big.sha256] * 8
    assert ratio <= 1.05
