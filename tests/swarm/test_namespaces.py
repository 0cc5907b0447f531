"""Nodes on machines of their own, with links that have a rate: the short ones of these scenarios, always run.

Those that take minutes are run by `make test-swarm`: test_scale, test_lost_nodes, test_rough_networks. Where network
namespaces are not allowed all are skipped. SHA-256 of all that arrives is compared, always.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fixtures.node import SWARM
from fixtures.site import site

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.namespaces import Network

MIB = 1 << 20


@pytest.mark.parametrize("net", [{"size": 4, "mbit": 400}], indirect=True)
async def test_machines_share_one_copy_and_show_their_faces_to_nobody_else(tmp_path: Path, net: Network) -> None:
    async with site(tmp_path, net, 12 * MIB, {}, SWARM) as here:
        got = await asyncio.gather(*(here.get(node) for node in range(3)))
        ratio = await here.origin_ratio()
        elsewhere = await here.get(0, f"http://{net.address(2)}:8418")
    assert got == [here.dist.sha256] * 3
    assert ratio == 1.0
    assert elsewhere == ""
