"""Repodata beyond its limit: a clear error, nothing kept, and everything else is served as before."""

from __future__ import annotations

import bz2
import json
from typing import TYPE_CHECKING

import msgpack
import pytest
import zstandard

from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.disk import partials
from fixtures.faults import HangAfter
from fixtures.proxy import running_proxy
from fixtures.repodata import SHARD_INDEX, Style
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 100_000
ALPHA = make_conda("alpha")
SETTINGS = {"conda.repodata-limit": str(LIMIT)}


def document(size: int) -> bytes:
    """Sound repodata of so many bytes."""
    frame = json.dumps({"info": {"subdir": "linux-64", "pad": ""}, "packages": {}}).encode()
    return frame.replace(b'"pad": "', b'"pad": "' + b"x" * (size - len(frame)))


def in_frames(body: bytes) -> bytes:
    """Compressed without its size, in a second frame: the first one says that it is small."""
    rest = zstandard.ZstdCompressor(write_content_size=False).compress(body[1:])
    return zstandard.compress(body[:1]) + rest


async def ask(tmp_path: Path, files: dict[str, bytes], *, style: Style = Style()) -> tuple[int, str]:  # noqa: B008
    """What a client is told of the shard index of linux-64, which has these files upstream."""
    async with FakeChannel(style) as upstream:
        upstream.add(ALPHA)
        for name, body in files.items():
            upstream.put(f"linux-64/{name}", body)
        settings = {**upstream.settings, **SETTINGS}
        async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
            reply = await visitor.get(f"linux-64/{SHARD_INDEX}")
            if reply.status == 200:
                return 200, ""
            assert await proxy.parts.catalog.totals() == {}
            assert partials(proxy.parts.store.root) == []
            assert list((await visitor.index()).shards) == ["alpha"]
            return reply.status, reply.says


FORMS = {
    "zst": ("repodata.json.zst", zstandard.compress),
    "zst in frames": ("repodata.json.zst", in_frames),
    "bz2": ("repodata.json.bz2", bz2.compress),
    "json": ("repodata.json", bytes),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lengths", [True, False], ids=["with a length", "chunked"])
async def test_repodata_beyond_its_limit_is_refused(tmp_path: Path, form: str, lengths: bool) -> None:
    filename, packed = FORMS[form]
    status, says = await ask(tmp_path, {filename: packed(document(LIMIT + 1))}, style=Style(lengths=lengths))
    assert (status, f"more than {LIMIT} bytes" in says) == (503, True), says


@pytest.mark.parametrize("form", FORMS)
async def test_repodata_at_its_limit_is_served(tmp_path: Path, form: str) -> None:
    filename, packed = FORMS[form]
    assert await ask(tmp_path, {filename: packed(document(LIMIT))}) == (200, "")


async def test_what_is_announced_as_too_large_is_not_waited_for(tmp_path: Path) -> None:
    async with FakeChannel() as upstream:
        upstream.put("linux-64/repodata.json", document(LIMIT + 1))
        upstream.fail("*/linux-64/repodata.json", HangAfter(10))
        settings = {**upstream.settings, **SETTINGS}
        async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
            assert (await visitor.get("linux-64/repodata.json")).status == 503


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(zstandard.compress(bytes(17_000_000)), id="a bomb"),
        pytest.param(bytes(17_000_000), id="as it comes"),
        pytest.param(zstandard.compress(msgpack.packb({"info": {}, "pad": bytes(17_000_000)})), id="sound but large"),
    ],
)
async def test_a_shard_index_beyond_its_limit_gives_way_to_shards_made_here(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "alone").mkdir()
    status, says = await ask(tmp_path / "alone", {SHARD_INDEX: index})
    assert (status, "more than 16777216 bytes" in says) == (503, True), says
    (tmp_path / "beside").mkdir()
    assert await ask(tmp_path / "beside", {SHARD_INDEX: index, "repodata.json": document(LIMIT)}) == (200, "")
