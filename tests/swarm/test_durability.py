"""What a node keeps when its disk is full and when it makes room: never a wrong file, and no piece comes twice."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.disk import NoSmallDisk, enlarge, small_disk
from fixtures.node import running_node
from fixtures.site import path_of, weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.node import NodeProcess
    from fixtures.proxy import ProxyProcess
    from fixtures.upstream import FakeIndex
    from fixtures.wheels import Dist

MIB = 1 << 20
PIECE_BYTES = MIB


def visible(node: NodeProcess, dist: Dist) -> list[Path]:
    """The files under which installers would find the artifact."""
    return list((node.home / "artifacts" / "files").rglob(dist.sha256))


async def piece(node: NodeProcess, dist: Dist, index: int) -> bytes:
    """What a peer gets that asks the node for a piece."""
    url = f"{node.url}/swarm/v1/artifacts/{dist.sha256}/pieces/{index}"
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
        return await answer.read()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MiB."""
    try:
        with small_disk(tmp_path / "small", 20):
            yield tmp_path / "small"
    except NoSmallDisk as refused:
        pytest.skip(f"no small disk can be had here: {refused}")


async def test_a_full_disk_shows_no_half_of_a_file_and_what_came_is_not_fetched_again(
    tmp_path: Path, small: Path, index: FakeIndex, origin: ProxyProcess
) -> None:
    dist = weights("alpha", 40 * MIB)
    index.add(dist)
    async with (
        running_node(small, origin.url) as cramped,
        running_node(tmp_path / "roomy", origin.url) as roomy,
    ):
        failed, whole = await asyncio.gather(
            cramped.get(path_of(dist)), roomy.get(path_of(dist)), return_exceptions=True
        )
        assert isinstance(failed, aiohttp.ClientError)
        assert whole == dist.sha256
        assert visible(cramped, dist) == []
        kept = cramped.pieces(dist.sha256)
        assert 0 < kept < 40
        await asyncio.to_thread(enlarge, small, 200)
        assert await cramped.get(path_of(dist)) == dist.sha256
        status = await cramped.status()
    assert status["origin_bytes"] + status["peer_bytes_down"] == len(dist.data)


async def test_what_is_evicted_while_a_peer_takes_it_arrives_whole_and_is_gone_after(
    tmp_path: Path, index: FakeIndex, origin: ProxyProcess
) -> None:
    old, new = weights("old", 12 * MIB), weights("new", 12 * MIB)
    index.add(old, new)
    tight = {"ENVAGENT_ARTIFACTS_LIMIT": "20MB", "ENVAGENT_UPLOAD_RATE": "250kB"}  # so a piece takes three seconds
    async with running_node(tmp_path / "node", origin.url, environ=tight) as node:
        assert await node.get(path_of(old)) == old.sha256
        url = f"{node.url}/swarm/v1/artifacts/{old.sha256}/pieces/0"
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
            begun = await answer.content.readexactly(1)
            assert await node.get(path_of(new)) == new.sha256
            assert (visible(node, old), len(visible(node, new))) == ([], 1)
            rest = await answer.read()
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            await piece(node, old, 1)
    assert hashlib.sha256(begun + rest).digest() == hashlib.sha256(old.data[:PIECE_BYTES]).digest()


async def test_a_node_takes_an_artifact_again_that_its_only_holder_has_evicted(
    tmp_path: Path, index: FakeIndex, origin: ProxyProcess
) -> None:
    old, new = weights("old", 12 * MIB), weights("new", 12 * MIB)
    index.add(old, new)
    async with (
        running_node(tmp_path / "tight", origin.url, environ={"ENVAGENT_ARTIFACTS_LIMIT": "20MB"}) as tight,
        running_node(tmp_path / "other", origin.url) as other,
    ):
        assert [await tight.get(path_of(dist)) for dist in (old, new)] == [old.sha256, new.sha256]
        assert await other.get(path_of(old)) == old.sha256
        status = await other.status()
    assert visible(tight, old) == []
    assert (status["origin_bytes"], status["peer_bytes_down"]) == (len(old.data), 0)
