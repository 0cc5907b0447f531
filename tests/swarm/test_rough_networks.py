"""Networks that are cut, parted, lossy, or slow between two halves: everybody ends with the right bytes.

On machines of their own (`fixtures.namespaces`), for minutes: `make test-swarm`. The proxy is on machine 0, node i on
machine i + 1.
"""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING

import pytest

from fixtures.node import SWARM
from fixtures.site import site, site_with, weights

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.namespaces import Network

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]

MIB = 1 << 20
QUICK = {**SWARM, "swarm.lease": "5s"}
AS_SHIPPED = {"ENVAGENT_PEER_TIMEOUT": "2s"}
FIVE = {"size": 5, "mbit": 100}
TWO_ZONES = {"size": 9, "mbit": 200, "far": (5, 6, 7, 8), "trunk_mbit": 20}


@pytest.mark.parametrize("net", [FIVE], indirect=True)
async def test_nodes_that_lose_the_network_go_on_when_it_is_back(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        await here.has_part(0, 0.25)
        for machine in (1, 2):
            net.cut(machine)
        reached = await asyncio.gather(*asking[2:])
        for machine in (1, 2):
            net.connect(machine)
        healed = await asyncio.gather(*asking[:2])
        ratio = await here.origin_ratio()
    assert reached + healed == [here.dist.sha256] * 4
    assert ratio <= 1.5


@pytest.mark.parametrize("net", [FIVE], indirect=True)
async def test_nodes_that_cannot_reach_the_proxy_any_more_get_the_rest_from_those_that_can(
    tmp_path: Path, net: Network
) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        await asyncio.gather(*(here.has_part(node, 0.1) for node in range(4)))
        for machine in (1, 2):
            net.part(machine, 0)
        got = await asyncio.gather(*asking)
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * 4
    assert ratio <= 1.5


@pytest.mark.parametrize("net", [FIVE], indirect=True)
async def test_halves_that_are_parted_from_each_other_go_on_when_they_are_one_again(
    tmp_path: Path, net: Network
) -> None:
    across = list(product((1, 2), (0, 3, 4)))
    async with site(tmp_path, net, 128 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        await asyncio.gather(*(here.has_part(node, 0.1) for node in range(4)))
        for one, other in across:
            net.part(one, other)
        reached = await asyncio.gather(*asking[2:])
        for one, other in across:
            net.heal(one, other)
        healed = await asyncio.gather(*asking[:2])
        ratio = await here.origin_ratio()
    assert reached + healed == [here.dist.sha256] * 4
    assert ratio <= 1.5


@pytest.mark.parametrize("percent", [1, 5])
@pytest.mark.parametrize("net", [FIVE], indirect=True)
async def test_links_that_lose_packets_cost_no_copies(tmp_path: Path, net: Network, percent: int) -> None:
    net.lose(percent)
    async with site(tmp_path, net, 32 * MIB, AS_SHIPPED, QUICK) as here:
        got = await asyncio.gather(*(here.get(node) for node in range(4)))
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * 4
    assert ratio <= 1.2


@pytest.mark.parametrize("net", [TWO_ZONES], indirect=True)
async def test_one_copy_crosses_a_slow_line_between_two_zones(tmp_path: Path, net: Network) -> None:
    zones = {node: "near" if node < 4 else "far" for node in range(8)}
    async with site_with(tmp_path, net, [weights("alpha", 32 * MIB)], AS_SHIPPED, QUICK, zones) as here:
        before = net.crossed()
        got = await asyncio.gather(*(here.get(node) for node in range(8)))
        crossed = [after - first for after, first in zip(net.crossed(), before, strict=True)]
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * 8
    assert ratio <= 1.05
    assert max(crossed) <= 1.2 * len(here.dist.data)
