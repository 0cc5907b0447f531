"""Nodes that are killed, stopped or started again in the middle of an artifact: the others finish, and so do they.

On machines of their own (`fixtures.namespaces`), for minutes: `make test-swarm`. The proxy is on machine 0, node i on
machine i + 1.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from envproxy.swarm.layout import Layout
from fixtures.node import SWARM
from fixtures.site import site

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.namespaces import Network

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]

MIB = 1 << 20
QUICK = {**SWARM, "swarm.lease": "5s"}
AS_SHIPPED = {"ENVAGENT_PEER_TIMEOUT": "2s"}


@pytest.mark.parametrize("net", [{"size": 9, "mbit": 100}], indirect=True)
async def test_nodes_that_are_killed_one_after_another_hold_up_nobody(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(8)]
        for part, victim in ((0.25, 0), (0.5, 1)):
            await here.has_part(victim, part)
            await here.nodes[victim].kill()
        got = await asyncio.gather(*asking)
    assert got[2:] == [here.dist.sha256] * 6


@pytest.mark.parametrize("net", [{"size": 5, "mbit": 100}], indirect=True)
async def test_a_peer_that_is_stopped_in_the_middle_is_left_for_others(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 64 * MIB, AS_SHIPPED, QUICK) as here:
        asking = [asyncio.create_task(here.get(node)) for node in range(4)]
        await here.has_part(0, 0.25)
        here.nodes[0].process.send_signal(signal.SIGSTOP)
        others = await asyncio.gather(*asking[1:])
        here.nodes[0].process.send_signal(signal.SIGCONT)
        stopped = await asking[0]
    assert [*others, stopped] == [here.dist.sha256] * 4


@pytest.mark.parametrize("net", [{"size": 3, "mbit": 100}], indirect=True)
async def test_a_node_that_is_killed_fetches_a_fifth_of_what_it_had_again_at_most(
    tmp_path: Path, net: Network
) -> None:
    """What is under way when it is killed is lost, but no more; three fifths of the artifact are on its disk."""
    async with site(tmp_path, net, 160 * MIB, AS_SHIPPED, QUICK) as here:
        asking = asyncio.create_task(here.get(0))
        await here.has_part(0, 0.6)
        await here.nodes[0].kill()
        assert await asking == ""
        before = net.received(1)
        piece_bytes = Layout.of(len(here.dist.data)).piece_bytes
        kept = here.nodes[0].pieces(here.dist.sha256) * piece_bytes
        here.nodes[0] = await here.start(0)
        got = await here.get(0)
        after = net.received(1) - before
    assert got == here.dist.sha256
    assert kept >= 0.8 * before
    # What is kept may have the last piece in it, of which there is little.
    assert after <= 1.05 * (len(here.dist.data) - kept + piece_bytes)
