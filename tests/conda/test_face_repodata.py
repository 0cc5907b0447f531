"""Repodata as clients get it: one snapshot, verified, relative, refreshed behind their backs."""

from __future__ import annotations

import asyncio
import bz2
import json
from hashlib import sha256
from typing import TYPE_CHECKING

import msgpack
import pytest
import zstandard

from envproxy.engine import known
from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import chain, make_conda
from fixtures.faults import Delay, Hang, RawBody, Status
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, JSON_ONLY, SHARD_INDEX, SHARDS_ONLY, Style, compressed, unpacked
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A_PAGE = RawBody(b"<html><body>Sign in to continue</body></html>", "text/html")
BZ2_ONLY = Style(forms=("bz2",))
every_style = pytest.mark.parametrize(
    "style",
    [Style(), FLAT_ONLY, JSON_ONLY, BZ2_ONLY, SHARDS_ONLY],
    ids=["all", "flat", "json", "bz2", "shards"],
)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(3))
        yield channel


@every_style
async def test_every_channel_has_shards_and_both_flat_forms(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    gone = make_conda("gone")
    upstream.add(gone)
    upstream.remove(gone)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        flat = json.loads((await visitor.get("noarch/repodata.json")).body)
        packed = (await visitor.get("noarch/repodata.json.zst")).body
        assert sorted(flat["packages.conda"]) == [f"link-0{n}-1.0-0.conda" for n in (1, 2, 3)]
        assert flat["removed"] == ["gone-1.0-0.conda"]
        assert json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(packed)) == flat
        assert sorted((await visitor.index()).shards) == ["gone", "link-01", "link-02", "link-03"]
        shard = await visitor.shard("link-02")
        record = flat["packages.conda"]["link-02-1.0-0.conda"]
        digests = {name: bytes.fromhex(record[name]) for name in ("sha256", "md5")}
        assert shard["packages.conda"] == {"link-02-1.0-0.conda": {**record, **digests}}
        assert (await visitor.shard("gone"))["removed"] == ["gone-1.0-0.conda"]


@pytest.mark.parametrize("at", ["absolute", "root-relative", "off-host"])
@pytest.mark.parametrize("forms", [("shards",), ("json", "zst")], ids=["shards", "flat"])
async def test_what_upstream_says_of_places_is_made_relative_and_followed(
    upstream: FakeChannel, tmp_path: Path, at: str, forms: tuple[str, ...]
) -> None:
    upstream.style = Style(forms=forms, packages_at=at, shards_at=at, info={"novelty": 7})
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        info = (await visitor.index()).info
        assert (info["base_url"], info["shards_base_url"], info["novelty"]) == ("./", "./shards/", 7)
        assert "base_url" not in json.loads((await visitor.get("noarch/repodata.json")).body)["info"]
        assert "link-01-1.0-0.conda" in (await visitor.shard("link-01"))["packages.conda"]
        assert (await visitor.get("noarch/link-01-1.0-0.conda")).status == 200
    [package] = [seen for seen in upstream.requests if seen.path.endswith(".conda")]
    assert package.port == (upstream.files_port if at == "off-host" else upstream.port)


async def test_every_representation_has_its_own_etag_and_says_how_long_it_is_fresh(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.style = Style(cache_control="public, max-age=120")
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=FakeClock()) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        paths = [f"noarch/{file}" for file in (SHARD_INDEX, "repodata.json", "repodata.json.zst")]
        replies = [await visitor.get(path) for path in paths]
        etags = [reply.headers["ETag"] for reply in replies]
        assert etags == [f'"{sha256(reply.body).hexdigest()}"' for reply in replies]
        assert len(set(etags)) == 3
        assert {reply.headers["Cache-Control"] for reply in replies} == {"public, max-age=120"}
        for path, etag in zip(paths, etags, strict=True):
            assert (await visitor.get(path, if_none_match=etag)).status == 304
        assert (await visitor.get(paths[1], if_none_match=etags[0])).status == 200


@pytest.mark.parametrize("file", [SHARD_INDEX, "repodata.json.zst", "repodata.json", "link-01-1.0-0.conda", "shard"])
async def test_head_and_ranges_tell_the_same_as_get(upstream: FakeChannel, tmp_path: Path, file: str) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        digest = (await visitor.index()).shards["link-01"]
        path = f"noarch/shards/{digest}.msgpack.zst" if file == "shard" else f"noarch/{file}"
        await visitor.get(path)
        await proxy.settled()
        whole = await visitor.get(path)
        head = await visitor.get(path, method="HEAD")
        varying = {"Date"}
        assert (head.status, head.body) == (200, b"")
        assert {k: v for k, v in head.headers.items() if k not in varying} == {
            k: v for k, v in whole.headers.items() if k not in varying
        }
        tail = await visitor.get(path, range="bytes=-10", if_range=whole.headers["ETag"])
        assert (tail.status, tail.body) == (206, whole.body[-10:])
        assert (await visitor.get(path, range="bytes=5-9")).body == whole.body[5:10]
        assert (await visitor.get(path, range="bytes=5-9", if_range='"other"')).body == whole.body
        assert (await visitor.get(path, range=f"bytes={len(whole.body)}-")).status == 416


async def test_a_shard_is_immutable_and_named_by_its_digest(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = FLAT_ONLY
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for digest in (await visitor.index()).shards.values():
            reply = await visitor.get(f"noarch/shards/{digest}.msgpack.zst")
            assert sha256(reply.body).hexdigest() == digest
            assert "immutable" in reply.headers["Cache-Control"]


async def test_a_swapped_shard_is_refused_and_not_kept(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = SHARDS_ONLY
    path = upstream.shard_path("noarch", "link-01")
    other = compressed(b"\x80")
    upstream.fail(path, RawBody(other, "application/zstd"), times=1)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        digest = (await visitor.index()).shards["link-01"]
        refused = await visitor.get(f"noarch/shards/{digest}.msgpack.zst")
        assert (refused.status, "are not what" in refused.says) == (503, True)
        assert (await visitor.shard("link-01"))["packages.conda"]
        assert await proxy.parts.artifacts.size(sha256(other).hexdigest()) is None


@pytest.mark.parametrize(
    "shard",
    [
        {"packages": [1]},
        {"packages": {"alpha-1.0-0.conda": 3}},
        {"v3": [1]},
        {"v3": {"whl": [1]}},
        {"removed": [1, "x"]},
        {"packages": {"alpha-1.0-0.conda": {"odd": msgpack.ExtType(5, b"x")}}},
    ],
    ids=["packages", "a record", "v3", "a form of v3", "removed", "an extension type"],
)
async def test_shards_that_cannot_be_flat_repodata_are_a_failure_of_upstream(
    upstream: FakeChannel, tmp_path: Path, shard: dict[str, object]
) -> None:
    upstream.style = SHARDS_ONLY
    body = compressed(msgpack.packb(shard))
    index = {"info": {"subdir": "noarch"}, "shards": {"alpha": sha256(body).digest()}}
    upstream.put(f"noarch/{SHARD_INDEX}", compressed(msgpack.packb(index)))
    upstream.put(f"noarch/{sha256(body).hexdigest()}.msgpack.zst", body)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        reply = await visitor.get("noarch/repodata.json")
        assert (reply.status, reply.headers["Retry-After"].isdigit()) == (503, True)


async def test_a_shard_that_upstream_has_lost_is_a_failure_not_an_absence(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.style = SHARDS_ONLY
    upstream.fail("*/shards/*", Status(404))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        digest = (await visitor.index()).shards["link-01"]
        assert (await visitor.get(f"noarch/shards/{digest}.msgpack.zst")).status == 503
        assert (await visitor.get(f"noarch/shards/{'0' * 64}.msgpack.zst")).status == 404


@pytest.mark.parametrize("fault", [Status(503), Status(500), Status(401), Status(429), A_PAGE], ids=repr)
async def test_a_failing_upstream_is_never_an_absence(
    upstream: FakeChannel, tmp_path: Path, fault: Status | RawBody
) -> None:
    upstream.fail("*", fault)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for path in (SHARD_INDEX, "repodata.json.zst", "repodata.json", "run_exports.json", "link-01-1.0-0.conda"):
            reply = await visitor.get(f"noarch/{path}")
            assert (reply.status, reply.headers["Retry-After"].isdigit()) == (503, True), path
        assert await proxy.parts.catalog.totals() == {}


async def test_what_upstream_does_not_have_is_absent(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for path in (
            f"osx-64/{SHARD_INDEX}",
            "osx-64/repodata.json",
            "noarch/current_repodata.json",
            "noarch/repodata.json.bz2",
            "noarch/nothing-1.0-0.conda",
            "notices.json",
        ):
            assert (await visitor.get(path)).status == 404, path


async def test_a_location_without_noarch_is_said_to_be_no_channel(upstream: FakeChannel, tmp_path: Path) -> None:
    for package in chain(3):
        upstream.vanish(package)
    upstream.style = Style(noarch=False)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        reply = await visitor.get("noarch/repodata.json")
        assert (reply.status, reply.says) == (
            404,
            "channel demo has no noarch upstream, so it is no channel (CEP 26)",
        )


async def test_a_shard_index_that_cannot_be_used_gives_way_to_shards_made_here(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.fail(f"*/{SHARD_INDEX}", A_PAGE)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert "link-01-1.0-0.conda" in (await visitor.shard("link-01"))["packages.conda"]


async def test_broken_zst_gives_way_to_json(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = FLAT_ONLY
    upstream.put("noarch/repodata.json.zst", compressed(b'{"packages": {}}')[:-3])
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert "link-01-1.0-0.conda" in (await visitor.shard("link-01"))["packages.conda"]


@pytest.mark.parametrize("style", [FLAT_ONLY, SHARDS_ONLY], ids=["flat", "shards"])
async def test_a_change_appears_after_the_refresh_that_somebody_caused(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        before = await visitor.index()
        upstream.add(make_conda("link-01", "2.0"))
        clock.advance(3600)
        stale = await visitor.get(f"noarch/{SHARD_INDEX}")
        assert (stale.headers["X-Envmesh-Cache"], stale.headers["Cache-Control"]) == ("stale", "no-cache")
        await proxy.settled()
        after = await visitor.index()
        assert after.shards["link-02"] == before.shards["link-02"]
        assert "link-01-2.0-0.conda" in (await visitor.shard("link-01"))["packages.conda"]


@pytest.mark.parametrize("style", [FLAT_ONLY, SHARDS_ONLY], ids=["flat", "shards"])
async def test_a_shard_stays_for_a_week_after_its_last_index(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        old = (await visitor.index()).shards["link-01"]
        path = f"noarch/shards/{old}.msgpack.zst"
        first = (await visitor.get(path)).body
        for version, days in (("2.0", 3), ("3.0", 7)):
            upstream.add(make_conda("link-01", version))
            clock.advance(days * 24 * 3600)
            await visitor.index(cache_control="no-cache")
            assert old not in (await visitor.index()).shards.values()
            assert (await visitor.get(path)).body == first
        upstream.add(make_conda("link-01", "4.0"))
        clock.advance(2 * 24 * 3600)
        await visitor.index(cache_control="no-cache")
        assert (await visitor.get(path)).status == 404


async def test_who_asks_for_news_gets_what_is_there_if_they_do_not_come(
    upstream: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "ASK_WAIT_S", 0.0)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        before = await visitor.get(f"noarch/{SHARD_INDEX}")
        news = asyncio.Event()
        upstream.add(make_conda("newer"))
        upstream.fail("*", Delay(news))
        reply = await visitor.get(f"noarch/{SHARD_INDEX}", cache_control="no-cache")
        assert (reply.body, reply.headers["X-Envmesh-Cache"]) == (before.body, "hit")
        news.set()
        await proxy.settled()
        assert "newer" in (await visitor.index()).shards


async def test_a_client_never_waits_for_a_refresh(upstream: FakeChannel, tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        paths = [f"noarch/{file}" for file in (SHARD_INDEX, "repodata.json.zst", "repodata.json")]
        before = [(await visitor.get(path)).body for path in paths]
        clock.advance(3600)
        upstream.fail("*", Hang())
        assert [(await visitor.get(path)).body for path in paths] == before
        await upstream.arrived(f"/demo/noarch/{SHARD_INDEX}", times=2)


async def test_many_first_clients_cost_upstream_one_request(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        replies = await asyncio.gather(*(visitor.get(f"noarch/{SHARD_INDEX}") for _ in range(20)))
        assert {reply.status for reply in replies} == {200}
        assert upstream.count("GET", f"*/{SHARD_INDEX}") == 1


async def test_an_unchanged_file_is_asked_for_by_its_etag(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = FLAT_ONLY
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        before = await visitor.get(f"noarch/{SHARD_INDEX}")
        clock.advance(3600)
        after = await visitor.get(f"noarch/{SHARD_INDEX}", cache_control="no-cache")
        assert (after.body, after.headers["X-Envmesh-Cache"]) == (before.body, "revalidated")
    [_, second] = [seen for seen in upstream.requests if seen.path.endswith(".json.zst")]
    assert second.headers["If-None-Match"]


@every_style
async def test_a_restart_loses_nothing_and_needs_no_upstream(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    paths = [f"noarch/{SHARD_INDEX}", "noarch/repodata.json.zst", "noarch/repodata.json"]
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        before = [(await visitor.get(path)).body for path in paths]
        shard = await visitor.shard("link-01")
        assert (await visitor.get(f"linux-64/{SHARD_INDEX}")).status == 404
    await upstream.stop()
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert [(await visitor.get(path)).body for path in paths] == before
        assert await visitor.shard("link-01") == shard
        assert (await visitor.get(f"linux-64/{SHARD_INDEX}")).status == 404


@every_style
async def test_what_was_evicted_is_made_again(upstream: FakeChannel, tmp_path: Path, style: Style) -> None:
    upstream.style = style
    paths = [f"noarch/{SHARD_INDEX}", "noarch/repodata.json.zst", "noarch/repodata.json"]
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        before = [unpacked_or_plain((await visitor.get(path)).body) for path in paths]
        shard = await visitor.shard("link-01")
        store = proxy.parts.store
        for blob in await asyncio.to_thread(lambda: list(store.walk())):
            await asyncio.to_thread(store.delete, blob.sha256)
        after = [unpacked_or_plain((await visitor.get(path)).body) for path in paths]
        assert [without_time(document) for document in after] == [without_time(document) for document in before]
        assert await visitor.shard("link-01") == shard


async def test_shards_never_means_none(upstream: FakeChannel, tmp_path: Path) -> None:
    settings = {**upstream.settings, "conda.channels.demo.shards": "never"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(f"noarch/{SHARD_INDEX}")).status == 404
        assert (await visitor.get("noarch/repodata.json.zst")).status == 200
        assert (await visitor.get("noarch/link-01-1.0-0.conda")).status == 200
    assert upstream.count("GET", f"*/{SHARD_INDEX}") == 0


async def test_shards_always_means_our_own(upstream: FakeChannel, tmp_path: Path) -> None:
    settings = {**upstream.settings, "conda.channels.demo.shards": "always"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.shard("link-01"))["packages.conda"]
    assert upstream.count("GET", "*.msgpack.zst") == 0


async def test_files_beside_packages_are_passed_on_as_they_are_or_refused(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    files = {
        "noarch/run_exports.json.zst": compressed(b'{"packages": {}}'),
        "noarch/patch_instructions.json": b'{"patch_instructions_version": 1}',
        "noarch/link-01-1.0-0.conda.sigs": b'[{"mediaType": "bundle"}]',
        "channeldata.json": b'{"packages": {}}',
        "notices.json": b'{"notices": []}',
    }
    for path, body in files.items():
        upstream.put(path, body)
    upstream.put("noarch/run_exports.json", b"<html></html>")
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert {path: (await visitor.get(path)).body for path in files} == files
        assert (await visitor.get("noarch/run_exports.json")).status == 503
        upstream.put("noarch/run_exports.json", b'{"packages": {}}')
        assert (await visitor.get("noarch/run_exports.json")).status == 200


def packed_as(path: str, body: bytes) -> bytes:
    return {".zst": compressed, ".bz2": bz2.compress}.get(path[path.rindex(".") :], bytes)(body)


def unpacked_as(path: str, body: bytes) -> bytes:
    undo = {".zst": zstandard.decompress, ".bz2": bz2.decompress}
    return undo.get(path[path.rindex(".") :], bytes)(body)


@pytest.mark.parametrize(
    "file",
    ["current_repodata.json", "current_repodata.json.zst", "repodata_from_packages.json.bz2", "run_exports.json"],
)
async def test_a_file_that_is_passed_on_leads_no_client_away(
    upstream: FakeChannel, tmp_path: Path, file: str
) -> None:
    rest = b'"packages": {"a-1-0.tar.bz2": {"url": "https://other.example.org/a"}},  "novelty":[1,\t2]'
    info = b'"info":{"base_url":"https://cdn.example.org/x/", "subdir": "noarch"}'
    path = f"noarch/{file}"
    upstream.put(path, packed_as(file, b"{" + info + b", " + rest + b"}"))
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        reply = await visitor.get(path)
        document = json.loads(unpacked_as(file, reply.body))
        assert document == {"info": {"subdir": "noarch"}, **json.loads(b"{" + rest + b"}")}
        assert reply.headers["ETag"] == f'"{sha256(reply.body).hexdigest()}"'
        clock.advance(3600)
        again = await visitor.get(path, cache_control="no-cache")
        assert (again.body, again.headers["X-Envmesh-Cache"]) == (reply.body, "revalidated")
    assert [bool(seen.headers.get("If-None-Match")) for seen in upstream.requests if file in seen.path] == [
        False,
        True,
    ]
    await upstream.stop()
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(path)).body == reply.body


@pytest.mark.parametrize(("at", "status"), [("here", 200), ("absolute", 404)])
async def test_bzip2_is_passed_on_only_where_it_leads_no_client_away(
    upstream: FakeChannel, tmp_path: Path, at: str, status: int
) -> None:
    upstream.style = Style(forms=("json", "bz2"), packages_at=at)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get("noarch/repodata.json.bz2")).status == status
        assert (await visitor.get("noarch/link-01-1.0-0.conda")).status == 200


async def test_a_label_is_a_channel_below_its_channel(tmp_path: Path) -> None:
    async with FakeChannel(name="demo/label/rc") as upstream:
        upstream.add(make_conda("candidate"))
        async with (
            running_proxy(tmp_path, settings=upstream.settings) as proxy,
            visiting(f"{proxy.channel()}/label/rc") as visitor,
        ):
            assert list((await visitor.index()).shards) == ["candidate"]
            assert (await visitor.get("noarch/candidate-1.0-0.conda")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("noarch/unknown.txt", 404),
        ("noarch/shards/short.msgpack.zst", 400),
        ("Noarch/repodata.json", 400),
        ("noarch/bad name-1-0.conda", 400),
        ("noarch/a-1.conda", 400),
        ("label/.../noarch/repodata.json", 400),
        ("unknown.json", 404),
    ],
)
async def test_names_with_odd_characters_reach_no_upstream(
    upstream: FakeChannel, tmp_path: Path, path: str, status: int
) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(path)).status == status
    assert upstream.requests == []


async def test_a_channel_that_is_not_configured_is_named(upstream: FakeChannel, tmp_path: Path) -> None:
    async with (
        running_proxy(tmp_path, settings=upstream.settings) as proxy,
        visiting(proxy.channel("dmeo")) as visitor,
    ):
        reply = await visitor.get("noarch/repodata.json")
        assert (reply.status, reply.says) == (404, "there is no channel 'dmeo' here")


def unpacked_or_plain(body: bytes) -> object:
    if body.startswith(b"{"):
        return json.loads(body)
    text = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return json.loads(text) if text.startswith(b"{") else unpacked(body)


def without_time(document: object) -> object:
    """A generation that is made again says when."""
    assert isinstance(document, dict)
    return {**document, "info": {k: v for k, v in document["info"].items() if k != "created_at"}}
