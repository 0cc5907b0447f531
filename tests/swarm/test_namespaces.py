"""Nodes on machines of their own, with links that have a rate: network namespaces, where those are allowed.

A short one is always run; those marked `swarm` take minutes and are run by `make test-swarm`. The proxy has the
artifact before anybody asks. SHA-256 of all that arrives is compared, always.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fixtures.namespaces import Network, Refused, network
from fixtures.node import SWARM
from fixtures.site import site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
QUICK = {**SWARM, "swarm.lease": "5s"}
AS_SHIPPED = {"ENVAGENT_PEER_TIMEOUT": "2s"}


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Network]:
    """So many machines, the proxy's among them, and so many Mbit/s for each."""
    size, mbit = request.param
    try:
        with network(size, mbit=mbit) as made:
            yield made
    except Refused as refused:
        pytest.skip(f"no network namespaces here: {refused}")


@pytest.mark.parametrize("net", [(4, 400)], indirect=True)
async def test_machines_share_one_copy_and_show_their_faces_to_nobody_else(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 12 * MIB, {}, SWARM) as here:
        got = await asyncio.gather(*(here.get(node) for node in range(3)))
        ratio = await here.origin_ratio()
        elsewhere = await here.get(0, f"http://{net.address(2)}:8418")
    assert got == [here.dist.sha256] * 3
    assert ratio == 1.0
    assert elsewhere == ""


@pytest.mark.swarm
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "net", [(2, 100), (5, 100), (9, 100), (17, 50)], indirect=True, ids=lambda net: f"N={net[0] - 1}"
)
async def test_one_copy_leaves_the_proxy_however_many_ask(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, {}, SWARM) as here:
        got = await asyncio.gather(*(here.get(node) for node in range(net.size - 1)))
        ratio = await here.origin_ratio()
    assert got == [here.dist.sha256] * (net.size - 1)
    assert ratio <= 1.05


@pytest.mark.swarm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("net", [(9, 100)], indirect=True)
async def test_nodes_that_are_killed_one_after_another_hold_up_nobody(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(8)]
        for pieces, victim in ((4, 0), (8, 1)):
            while here.nodes[victim].pieces(here.dist.sha256) < pieces and not asking[victim].done():
                await asyncio.sleep(0.05)
            await here.nodes[victim].kill()
        got = await asyncio.gather(*asking)
    assert got[2:] == [here.dist.sha256] * 6


@pytest.mark.swarm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("net", [(5, 100)], indirect=True)
async def test_nodes_that_lose_the_network_go_on_when_it_is_back(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        while here.nodes[0].pieces(here.dist.sha256) < 4:
            await asyncio.sleep(0.05)
        for machine in (1, 2):
            net.cut(machine)
        reached = await asyncio.gather(*asking[2:])
        for machine in (1, 2):
            net.cut(machine, connected=True)
        healed = await asyncio.gather(*asking[:2])
        ratio = await here.origin_ratio()
    assert reached + healed == [here.dist.sha256] * 4
    assert ratio <= 1.5


@pytest.mark.swarm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("net", [(5, 100)], indirect=True)
async def test_a_peer_that_is_stopped_in_the_middle_is_left_for_others(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        while here.nodes[0].pieces(here.dist.sha256) < 4:
            await asyncio.sleep(0.05)
        here.nodes[0].process.send_signal(19)  # SIGSTOP
        others = await asyncio.gather(*asking[1:])
        here.nodes[0].process.send_signal(18)  # SIGCONT
        stopped = await asking[0]
    assert [*others, stopped] == [here.dist.sha256] * 4
