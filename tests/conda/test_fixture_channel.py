"""The fixture channel does what it says: every form and misbehaviour that other tests rely on is real."""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import zstandard
from blockbuster import blockbuster_ctx
from rattler.index import index_fs

from fixtures.channel import FakeChannel
from fixtures.conda_packages import chain, cpu_and_cuda, make_conda
from fixtures.faults import Cut, Status, WrongBytes
from fixtures.repodata import SHARD_INDEX, SHARDS_ONLY, Style, channel_files, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

ALPHA = make_conda("alpha")
OLD_ALPHA = make_conda("alpha", "0.9", form=".tar.bz2")
NATIVE = make_conda("native", subdir="linux-64")


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx():
        yield


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as fake:
        fake.add(ALPHA, OLD_ALPHA, NATIVE)
        yield fake


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def get(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(url, headers=named) as response:
        return response.status, response.headers, await response.read()


async def repodata(client: aiohttp.ClientSession, channel: FakeChannel, subdir: str = "noarch") -> dict[str, Any]:
    _, _, body = await get(client, f"{channel.url}/{subdir}/repodata.json")
    return json.loads(body)


async def shard_index(client: aiohttp.ClientSession, channel: FakeChannel) -> dict[str, Any]:
    _, _, body = await get(client, f"{channel.url}/noarch/{SHARD_INDEX}")
    return unpacked(body)


async def test_flat_repodata_lists_every_package_of_the_subdir_in_its_section(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    assert await repodata(client, channel) == {
        "info": {"subdir": "noarch"},
        "packages": {OLD_ALPHA.filename: OLD_ALPHA.record},
        "packages.conda": {ALPHA.filename: ALPHA.record},
        "removed": [],
        "repodata_version": 1,
    }
    assert list((await repodata(client, channel, "linux-64"))["packages.conda"]) == [NATIVE.filename]


async def test_the_compressed_twins_say_the_same(channel: FakeChannel, client: aiohttp.ClientSession) -> None:
    channel.style = Style(forms=("json", "zst", "bz2"))
    flat, zst, bzip = [
        (await get(client, f"{channel.url}/noarch/repodata.json{ending}"))[2] for ending in ("", ".zst", ".bz2")
    ]
    assert zstandard.ZstdDecompressor().decompress(zst) == bz2.decompress(bzip) == flat


async def test_shards_are_named_by_their_digest_and_hold_the_records_of_one_name(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    index = await shard_index(client, channel)
    assert list(index["shards"]) == ["alpha"]
    url = f"{channel.url}/noarch/{index['info']['shards_base_url']}{index['shards']['alpha'].hex()}.msgpack.zst"
    _, _, body = await get(client, url)
    assert hashlib.sha256(body).digest() == index["shards"]["alpha"]
    shard = unpacked(body)
    assert set(shard["packages"]) | set(shard["packages.conda"]) == {OLD_ALPHA.filename, ALPHA.filename}
    assert shard["packages.conda"][ALPHA.filename]["sha256"] == bytes.fromhex(ALPHA.sha256)


async def test_the_shards_agree_with_those_of_rattlers_own_indexer(tmp_path: Path) -> None:
    packages = [*chain(2), *cpu_and_cuda(), make_conda("_libgcc_mutex", "1!2.0+x", form=".tar.bz2")]
    await asyncio.to_thread(written, tmp_path, {package.path: package.data for package in packages})
    await asyncio.to_thread((tmp_path / "noarch").mkdir, exist_ok=True)
    await index_fs(tmp_path)
    theirs = await asyncio.to_thread(tree, tmp_path)
    ours = channel_files(packages, SHARDS_ONLY)
    assert records_by_name(ours) == records_by_name(theirs, without={"indexed_timestamp"})


def written(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def records_by_name(files: Mapping[str, bytes], without: set[str] = frozenset()) -> dict[str, Any]:
    """What the shards of noarch say, however they are packed."""
    index = unpacked(files[f"noarch/{SHARD_INDEX}"])
    found: dict[str, Any] = {}
    for name, digest in index["shards"].items():
        shard = unpacked(files[f"noarch/shards/{digest.hex()}.msgpack.zst"])
        found[name] = {
            filename: {key: value for key, value in record.items() if key not in without}
            for section in ("packages", "packages.conda")
            for filename, record in shard[section].items()
        }
    return found


async def test_packages_are_their_bytes_with_ranges_and_a_validator(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    url = f"{channel.url}/{ALPHA.path}"
    status, headers, body = await get(client, url)
    assert (status, body) == (200, ALPHA.data)
    assert (await get(client, url, If_None_Match=headers["ETag"]))[0] == 304
    assert (await get(client, url, Range="bytes=-10"))[::2] == (206, ALPHA.data[-10:])
    assert (await get(client, url, Range="bytes=5-9", If_Range='"other"'))[0] == 200


async def test_ranges_validators_and_lengths_may_be_missing(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    channel.style = Style(ranges=False, validators=False, lengths=False)
    status, headers, _ = await get(client, f"{channel.url}/{ALPHA.path}", Range="bytes=-10")
    assert status == 200
    assert not {"ETag", "Content-Length", "Accept-Ranges"} & set(headers)


async def test_cache_control_is_for_what_changes(channel: FakeChannel, client: aiohttp.ClientSession) -> None:
    channel.style = Style(cache_control="max-age=60")
    for path, expected in [("noarch/repodata.json", "max-age=60"), (ALPHA.path, None)]:
        _, headers, _ = await get(client, f"{channel.url}/{path}")
        assert headers.get("Cache-Control") == expected


@pytest.mark.parametrize(
    ("forms", "there"),
    [
        (("json",), {"repodata.json"}),
        (("json", "zst"), {"repodata.json", "repodata.json.zst"}),
        (("shards",), {SHARD_INDEX}),
    ],
    ids=["json", "zst", "shards-only"],
)
async def test_a_channel_has_only_the_forms_of_its_style(
    channel: FakeChannel, client: aiohttp.ClientSession, forms: tuple[str, ...], there: set[str]
) -> None:
    channel.style = Style(forms=forms)
    asked = ("repodata.json", "repodata.json.zst", "repodata.json.bz2", SHARD_INDEX)
    found = {path for path in asked if (await get(client, f"{channel.url}/noarch/{path}"))[0] == 200}
    assert found == there


@pytest.mark.parametrize(
    ("at", "prefix"),
    [("absolute", "http://127.0.0.1:{port}/demo/noarch/"), ("root-relative", "/demo/noarch/"),
     ("off-host", "http://127.0.0.1:{files_port}/demo/noarch/")],
    ids=["absolute", "root-relative", "off-host"],
)  # fmt: skip
async def test_repodata_and_shards_say_where_packages_and_shards_are(
    channel: FakeChannel, client: aiohttp.ClientSession, at: str, prefix: str
) -> None:
    channel.style = Style(packages_at=at, shards_at=at)
    expected = prefix.format(port=channel.port, files_port=channel.files_port)
    flat, sharded = await repodata(client, channel), await shard_index(client, channel)
    assert (flat["info"]["base_url"], flat["repodata_version"]) == (expected, 2)
    assert (sharded["info"]["base_url"], sharded["info"]["shards_base_url"]) == (expected, expected)
    status, _, _ = await get(client, f"http://127.0.0.1:{channel.port}{channel.shard_path('noarch', 'alpha')}")
    assert status == 200


async def test_a_removed_package_leaves_the_index_and_stays_downloadable_a_vanished_one_does_not(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    channel.remove(ALPHA)
    flat = await repodata(client, channel)
    assert (flat["removed"], flat["packages.conda"]) == ([ALPHA.filename], {})
    assert (await get(client, f"{channel.url}/{ALPHA.path}"))[0] == 200
    channel.vanish(ALPHA)
    assert (await repodata(client, channel))["removed"] == []
    assert (await get(client, f"{channel.url}/{ALPHA.path}"))[0] == 404


async def test_noarch_is_there_even_if_empty_unless_the_style_says_otherwise(client: aiohttp.ClientSession) -> None:
    async with FakeChannel() as channel:
        channel.add(NATIVE)
        assert (await repodata(client, channel))["packages.conda"] == {}
        channel.style = Style(noarch=False)
        assert (await get(client, f"{channel.url}/noarch/repodata.json"))[0] == 404


async def test_an_unknown_path_may_be_403(channel: FakeChannel, client: aiohttp.ClientSession) -> None:
    assert (await get(client, f"{channel.url}/osx-64/repodata.json"))[0] == 404
    channel.style = replace(channel.style, unknown_is=403)
    assert (await get(client, f"{channel.url}/osx-64/repodata.json"))[0] == 403


async def test_any_file_may_be_put_anywhere(channel: FakeChannel, client: aiohttp.ClientSession) -> None:
    channel.put("notices.json", b'{"notices": []}')
    channel.put("noarch/repodata.json", b"")
    assert (await get(client, f"{channel.url}/notices.json"))[2] == b'{"notices": []}'
    assert (await get(client, f"{channel.url}/noarch/repodata.json"))[::2] == (200, b"")


async def test_a_token_is_asked_for_in_the_path_and_not_on_the_second_port(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    channel.require_token("opensesame")
    assert (await get(client, f"{channel.url}/{ALPHA.path}"))[0] == 401
    assert (await get(client, f"{channel.tokened_url('wrong')}/{ALPHA.path}"))[0] == 401
    assert (await get(client, f"{channel.tokened_url('opensesame')}/{ALPHA.path}"))[0] == 200
    assert (await get(client, f"{channel.off_host_url}/{ALPHA.path}"))[0] == 200


async def test_a_label_is_a_channel_whose_name_has_slashes(client: aiohttp.ClientSession) -> None:
    async with FakeChannel(name="demo/label/rc") as channel:
        channel.add(ALPHA)
        assert channel.url.endswith("/demo/label/rc")
        assert (await get(client, f"{channel.url}/{ALPHA.path}"))[0] == 200


async def test_two_channels_with_the_same_packages_serve_the_same_bytes(
    channel: FakeChannel, client: aiohttp.ClientSession
) -> None:
    async with FakeChannel() as mirror:
        mirror.add(ALPHA, OLD_ALPHA, NATIVE)
        for path in ("noarch/repodata.json.zst", f"noarch/{SHARD_INDEX}", ALPHA.path):
            one, other = [(await get(client, f"{site.url}/{path}"))[2] for site in (channel, mirror)]
            assert one == other


async def test_faults_spoil_the_paths_they_name(channel: FakeChannel, client: aiohttp.ClientSession) -> None:
    channel.fail(f"*/{SHARD_INDEX}", Status(503), times=1)
    channel.fail("*.conda", WrongBytes(), times=1)
    channel.fail("*.conda", Cut(after=10))
    assert (await get(client, f"{channel.url}/noarch/{SHARD_INDEX}"))[0] == 503
    assert (await get(client, f"{channel.url}/noarch/{SHARD_INDEX}"))[0] == 200
    assert hashlib.sha256((await get(client, f"{channel.url}/{ALPHA.path}"))[2]).hexdigest() != ALPHA.sha256
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(client, f"{channel.url}/{ALPHA.path}")


def test_a_style_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="packages_at='elsewhere' is not one of"):
        Style(packages_at="elsewhere")
