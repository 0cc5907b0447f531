"""py-rattler gets the same environment through the proxy, whatever its upstream is: mirrors, a directory, a label."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import chain, make_conda
from fixtures.conda_pythons import PLATFORM
from fixtures.faults import Status
from fixtures.machine import Machine, installed
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, JSON_ONLY, SHARD_INDEX, SHARDS_ONLY, Style, channel_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


PACKAGES = [*chain(3), make_conda("native", subdir=PLATFORM)]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*PACKAGES)
        yield channel


@pytest.mark.parametrize("at", ["absolute", "root-relative", "off-host"])
async def test_a_client_never_leaves_the_proxy_wherever_upstream_says_that_things_are(
    upstream: FakeChannel, tmp_path: Path, at: str
) -> None:
    upstream.style = Style(packages_at=at, shards_at=at)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        channel = proxy.channel()
    assert {record["url"].partition("/noarch/")[0] for record in installed(prefix).values()} == {channel}
    assert not [seen for seen in upstream.requests if "rattler" in seen.headers.get("User-Agent", "")]


@pytest.mark.parametrize(
    "style", [Style(), FLAT_ONLY, JSON_ONLY, SHARDS_ONLY], ids=["all-forms", "flat", "json-only", "shards-only"]
)
async def test_when_one_mirror_is_down_the_next_one_serves(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    async with FakeChannel(style) as mirror:
        upstream.style = style
        mirror.add(*PACKAGES)
        await upstream.stop()
        async with running_proxy(tmp_path, settings=both(upstream, mirror)) as proxy:
            prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 3


@pytest.mark.parametrize("fault", [Status(503), Status(404)], ids=["failing", "lagging"])
async def test_a_package_that_one_mirror_does_not_give_comes_from_the_next(
    upstream: FakeChannel, tmp_path: Path, fault: Status
) -> None:
    upstream.fail("*.conda", fault)
    async with FakeChannel() as mirror:
        mirror.add(*PACKAGES)
        async with running_proxy(tmp_path, settings=both(upstream, mirror)) as proxy:
            prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        assert mirror.count("GET", "*/repodata*") == 0
    assert len(installed(prefix)) == 3


def both(one: FakeChannel, other: FakeChannel) -> dict[str, str]:
    return {f"conda.channels.{one.name}.url": f"{one.url},{other.url}"}


async def test_a_directory_is_a_channel(tmp_path: Path) -> None:
    directory = tmp_path / "channel"
    await asyncio.to_thread(written, directory, channel_files(PACKAGES))
    async with running_proxy(tmp_path, settings={"conda.channels.demo.url": str(directory)}) as proxy:
        prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 3


def written(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


@pytest.mark.parametrize("style", [Style(), JSON_ONLY], ids=["all-forms", "json-only"])
async def test_another_proxy_is_a_channel(upstream: FakeChannel, tmp_path: Path, style: Style) -> None:
    upstream.style = style
    near, far = tmp_path / "near", tmp_path / "far"
    await asyncio.to_thread(near.mkdir)
    await asyncio.to_thread(far.mkdir)
    async with running_proxy(far, settings=upstream.settings) as first:
        settings = {"conda.channels.demo.url": first.channel()}
        async with running_proxy(near, settings=settings) as second:
            prefix = await Machine(tmp_path / "one").create(second.channel(), "link-01")
    assert len(installed(prefix)) == 3


async def test_a_label_lies_below_its_channel(tmp_path: Path) -> None:
    async with FakeChannel(name="demo/label/rc") as label:
        label.add(*chain(3), make_conda("link-03", "2.0rc1"))
        async with running_proxy(tmp_path, settings=label.settings) as proxy:
            prefix = await Machine(tmp_path / "one").create(proxy.channel("demo/label/rc"), "link-03 >=2.0rc1")
    assert installed(prefix)["link-03"]["version"] == "2.0rc1"


async def test_a_client_that_rewrites_addresses_keeps_the_public_ones_in_its_records(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    public = "https://conda.example.org/demo"
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        machine = Machine(tmp_path / "one", mirrors={public: proxy.channel()})
        prefix = await machine.create(public, "link-01")
    assert {record["url"] for record in installed(prefix).values()} == {
        f"{public}/{package.path}" for package in chain(3)
    }


@pytest.mark.parametrize(("shards", "status"), [("always", 200), ("never", 404)])
async def test_shards_may_be_made_here_or_not_offered_whatever_upstream_has(
    upstream: FakeChannel, tmp_path: Path, shards: str, status: int
) -> None:
    settings = {**upstream.settings, "conda.channels.demo.shards": shards}
    async with running_proxy(tmp_path, settings=settings) as proxy, aiohttp.ClientSession() as session:
        async with session.get(f"{proxy.channel()}/noarch/{SHARD_INDEX}") as response:
            assert response.status == status
        prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 3
    assert upstream.count("*", f"*/{SHARD_INDEX}") == 0
