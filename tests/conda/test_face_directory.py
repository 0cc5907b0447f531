"""A channel in a directory is an upstream like any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, SHARD_INDEX, SHARDS_ONLY, Style, channel_files
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from pathlib import Path

ALPHA = make_conda("alpha")


def channel(root: Path, style: Style, *more: object) -> Path:
    for path, body in channel_files([ALPHA, *more], style).items():  # type: ignore[list-item]
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
    return root


@pytest.mark.parametrize("style", [FLAT_ONLY, SHARDS_ONLY], ids=["flat", "shards"])
async def test_a_directory_is_a_channel(tmp_path: Path, style: Style) -> None:
    root = channel(tmp_path / "a channel", style)
    settings = {"conda.channels.demo.url": str(root)}
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        assert list((await visitor.index()).shards) == ["alpha"]
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data
        assert (await visitor.get(f"linux-64/{SHARD_INDEX}")).status == 404
        channel(root, style, make_conda("beta"))
        clock.advance(3600)
        assert list((await visitor.index(cache_control="no-cache")).shards) == ["alpha", "beta"]


async def test_head_of_a_file_that_a_directory_has_but_does_not_list(tmp_path: Path) -> None:
    root = channel(tmp_path / "channel", FLAT_ONLY)
    (root / "noarch/unlisted-1.0-0.conda").write_bytes(b"some bytes")
    settings = {"conda.channels.demo.url": str(root)}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        head = await visitor.get("noarch/unlisted-1.0-0.conda", method="HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, "10")
        assert (await visitor.get("noarch/nothing-1.0-0.conda", method="HEAD")).status == 404


async def test_a_directory_that_is_gone_is_a_failure_not_an_empty_channel(tmp_path: Path) -> None:
    root = channel(tmp_path / "channel", FLAT_ONLY)
    settings = {"conda.channels.demo.url": str(root)}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        await asyncio.to_thread(root.rename, tmp_path / "elsewhere")
        assert (await visitor.get(f"noarch/{SHARD_INDEX}")).status == 503


async def test_repodata_cannot_point_out_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "secret-1.0-0.conda").write_bytes(b"not yours")
    root = channel(tmp_path / "channel", FLAT_ONLY)
    body = b'{"info": {"base_url": "../../"}, "packages.conda": {"secret-1.0-0.conda": {"name": "secret"}}}'
    (root / "noarch/repodata.json.zst").unlink()
    (root / "noarch/repodata.json").write_bytes(body)
    settings = {"conda.channels.demo.url": str(root)}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get("noarch/secret-1.0-0.conda")).status == 503
