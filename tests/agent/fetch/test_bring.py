"""Files that a node of the swarm in this process brings: taken where they are, and fetched where it has none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from envagent.errors import FetchFailed
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.fetch import download
from envagent.fetch.network import Network
from envagent.fetch.sources import Sources
from envproxy.errors import UpstreamError
from fixtures.fetching import NoTime, Told, locked
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy

ALPHA = make_wheel("alpha", "1.0", payload_size=3_000_000)
PATH = f"/pypi/main/files/alpha/{ALPHA.sha256}/{ALPHA.filename}"


@dataclass
class Node:
    """Has what `data` is under ALPHA's digest, nothing if that is None, or fails."""

    home: Path
    data: bytes | None = ALPHA.data
    error: UpstreamError | None = None
    asked: list[str] = field(default_factory=list)

    async def bring(self, path: str, sha256: str, received: Callable[[int], None]) -> bool:
        self.asked.append(path)
        if self.error:
            raise self.error
        if self.data is None:
            return False
        await asyncio.to_thread(self._put, self.data, sha256)
        received(len(self.data))
        return True

    def _put(self, data: bytes, sha256: str) -> None:
        (self.home / "bytes").write_bytes(data)
        Artifacts(self.home / "artifacts").adopt(self.home / "bytes", sha256)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(ALPHA)
        yield index


async def fetched(node: Node, artifacts: Artifacts, upstream: FakeIndex, proxy: str, clock: FakeClock) -> Told:
    """What was told while ALPHA was fetched, which then is here."""
    told = Told()
    package = locked(ALPHA, upstream.file_url(ALPHA.filename))
    async with Network(proxy, bring=node.bring) as network:
        sources = Sources(proxy, fallback=False)
        paths = await download([package], artifacts, sources, network, report=told, patience=NoTime(clock))
    assert await asyncio.to_thread(paths[ALPHA.sha256].read_bytes) == ALPHA.data
    assert told.bytes == len(ALPHA.data)
    return told


async def test_what_a_node_brought_is_taken_where_it_is(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    node = Node(tmp_path)
    told = await fetched(node, artifacts, upstream, proxy.url, clock)
    assert node.asked == [PATH]
    assert told.here == ["alpha"]
    assert upstream.count("GET", "*.whl") == 0
    assert artifacts.has_verified(ALPHA.sha256)
    assert list((tmp_path / "artifacts" / "arriving").iterdir()) == []


async def test_what_an_earlier_download_left_is_not_counted_beside_it(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    (tmp_path / "artifacts" / "arriving" / ALPHA.sha256).write_bytes(ALPHA.data[:1000])
    await fetched(Node(tmp_path), artifacts, upstream, proxy.url, clock)
    assert list((tmp_path / "artifacts" / "arriving").iterdir()) == []


async def test_what_a_node_does_not_have_comes_as_bytes(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    told = await fetched(Node(tmp_path, data=None), artifacts, upstream, proxy.url, clock)
    assert told.troubles == []
    assert upstream.count("GET", "*.whl") == 1


async def test_a_lock_with_another_size_than_the_file_has_is_told_both(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    size = len(ALPHA.data)
    package = replace(locked(ALPHA, upstream.file_url(ALPHA.filename)), size=size + 1)
    async with Network(proxy.url, bring=Node(tmp_path).bring) as network:
        sources = Sources(proxy.url, fallback=False)
        with pytest.raises(FetchFailed, match=f"the proxy has {size} bytes, the lock names {size + 1}"):
            await download([package], artifacts, sources, network, report=Told(), patience=NoTime(clock))


async def test_a_node_that_fails_is_asked_again_after_a_pause(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    node = Node(tmp_path, error=UpstreamError("the proxy cannot be reached", cause="connect"))

    class Recovering(NoTime):
        async def _pause(self, seconds: float) -> None:
            node.error = None
            await super()._pause(seconds)

    told = Told()
    package = locked(ALPHA, upstream.file_url(ALPHA.filename))
    async with Network(proxy.url, bring=node.bring) as network:
        sources = Sources(proxy.url, fallback=False)
        await download([package], artifacts, sources, network, report=told, patience=Recovering(clock))
    assert node.asked == [PATH, PATH]
    assert told.troubles == [(ALPHA.filename, "the proxy cannot be reached")]


async def test_upstream_is_not_asked_of_a_node(
    tmp_path: Path, artifacts: Artifacts, upstream: FakeIndex, clock: FakeClock
) -> None:
    node = Node(tmp_path)
    await fetched(node, artifacts, upstream, "", clock)
    assert node.asked == []
