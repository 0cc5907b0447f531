"""Packages as clients get them: under the digest that repodata or the client states, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from envproxy.engine.catalog import Artifact, Catalog
from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.faults import Cut, Gate, Status, WrongBytes
from fixtures.patience import until
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, SHARD_INDEX, Style
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALPHA = make_conda("alpha")
PATH = "noarch/alpha-1.0-0.conda"
DEMAND = {"x_expected_sha256": ALPHA.sha256}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel(FLAT_ONLY) as channel:
        channel.add(ALPHA, make_conda("beta"))
        yield channel


async def test_a_package_comes_once_and_is_immutable(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        first = await visitor.get(PATH)
        second = await visitor.get(PATH)
        assert first.body == second.body == ALPHA.data
        assert first.headers["ETag"] == second.headers["ETag"] == f'"{ALPHA.sha256}"'
        assert "immutable" in second.headers["Cache-Control"]
        assert (await visitor.get(PATH, method="HEAD")).headers["Content-Length"] == str(len(ALPHA.data))
    assert upstream.count("GET", "*.conda") == 1


async def test_an_answer_that_a_demand_selects_says_so_to_caches_whatever_it_is(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        replies = [
            await visitor.get(PATH),
            await visitor.get(PATH, **DEMAND),
            await visitor.get(PATH, **DEMAND, if_none_match=f'"{ALPHA.sha256}"'),
            await visitor.get("noarch/none-1.0-0.conda", **DEMAND),
            await visitor.get(PATH, x_expected_sha256="0" * 64),
        ]
        assert [(reply.status, reply.headers["Vary"]) for reply in replies] == [
            (status, "X-Expected-SHA256") for status in (200, 200, 304, 404, 503)
        ]
        assert "Vary" not in (await visitor.get("noarch/repodata.json")).headers


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
async def test_both_package_forms_are_served(upstream: FakeChannel, tmp_path: Path, form: str) -> None:
    package = make_conda("gamma", form=form)
    upstream.add(package)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(package.path)).body == package.data


async def test_head_before_the_first_get_tells_what_repodata_says(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        head = await visitor.get(PATH, method="HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(ALPHA.data)))
        assert (head.headers["ETag"], head.headers["Accept-Ranges"]) == (f'"{ALPHA.sha256}"', "bytes")
        assert (await visitor.get(PATH, method="HEAD", if_none_match=f'"{ALPHA.sha256}"')).status == 304
        assert (await visitor.get(PATH, method="HEAD", x_expected_sha256="0" * 64)).status == 404
        assert (await visitor.get("noarch/nothing-1.0-0.conda", method="HEAD")).status == 404
        await proxy.settled()
        assert await proxy.parts.artifacts.size(ALPHA.sha256) is None
    assert upstream.count("GET", "*.conda") == 0


async def test_many_clients_cost_one_download(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        replies = await asyncio.gather(*(visitor.get(PATH) for _ in range(30)))
        assert {reply.body for reply in replies} == {ALPHA.data}
    assert upstream.count("GET", "*.conda") == 1


@pytest.mark.parametrize(
    "lie",
    [{"sha256": "0" * 64}, {"size": 7}, {"sha256": "abcd"}, {"sha256": None, "md5": "abcd"}],
    ids=["sha256", "size", "no sha256", "no md5"],
)
async def test_a_package_that_is_not_what_its_repodata_says_is_never_handed_out(
    upstream: FakeChannel, tmp_path: Path, lie: dict[str, object]
) -> None:
    upstream.add(ALPHA.lying(**lie))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH)).status == 503
        assert await proxy.parts.artifacts.size(ALPHA.sha256) is None
        assert (await visitor.get("noarch/beta-1.0-0.conda")).status == 200


@pytest.mark.parametrize("base", ["http://[::1", "ftp://conda.example.org/"])
async def test_a_base_url_that_leads_nowhere_is_a_failure_of_upstream(
    upstream: FakeChannel, tmp_path: Path, base: str
) -> None:
    upstream.style = Style(forms=("json",), info={"base_url": base})
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for method in ("GET", "HEAD"):
            reply = await visitor.get("noarch/unlisted-1.0-0.conda", method=method)
            assert (reply.status, reply.headers["Retry-After"].isdigit()) == (503, True)
        assert (await visitor.get(PATH)).status == 503


async def test_bytes_that_changed_on_the_way_are_never_handed_out(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.fail("*.conda", WrongBytes(), times=1)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH)).status == 503
        assert (await visitor.get(PATH)).body == ALPHA.data


async def test_a_cut_body_is_whole_for_the_client(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.fail("*.conda", Cut(after=len(ALPHA.data) // 2), times=1)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH)).body == ALPHA.data


async def test_a_client_that_states_the_digest_needs_no_repodata(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.fail("*repodata*", Status(403))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH)).status == 503
        reply = await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)
        assert reply.body == ALPHA.data


async def test_a_digest_that_is_here_is_no_other_package(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.fail("*repodata*", Status(403))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).body == ALPHA.data
        await proxy.settled()
        assert (await visitor.get("noarch/beta-1.0-0.conda", x_expected_sha256=ALPHA.sha256)).status == 503
        assert (await visitor.get("noarch/none-1.0-0.conda", x_expected_sha256=ALPHA.sha256)).status == 404


@pytest.mark.parametrize(
    ("repodata", "headers", "status"),
    [
        pytest.param(200, DEMAND, 503, id="by its digest"),
        pytest.param(403, DEMAND, 503, id="by its digest, without an index"),
        pytest.param(200, {}, 404, id="by what the index says"),
    ],
)
async def test_a_digest_that_is_arriving_is_no_other_package(
    upstream: FakeChannel, tmp_path: Path, repodata: int, headers: dict[str, str], status: int
) -> None:
    end = asyncio.Event()
    upstream.fail("*/alpha-*", Gate(after=10, event=end))
    if repodata != 200:
        upstream.fail("*repodata*", Status(repodata))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        if repodata == 200:
            await visitor.index()
        first = asyncio.create_task(visitor.get(PATH, **headers))
        await upstream.arrived("*/alpha-*")
        other = await visitor.get("noarch/beta-1.0-0.conda", x_expected_sha256=ALPHA.sha256)
        none = await visitor.get("noarch/none-1.0-0.conda", x_expected_sha256=ALPHA.sha256)
        assert (other.status, none.status) == (status, 404)
        end.set()
        assert (await first).body == ALPHA.data


async def test_clients_with_and_without_a_digest_share_one_download(upstream: FakeChannel, tmp_path: Path) -> None:
    end = asyncio.Event()
    upstream.fail("*/alpha-*", Gate(after=10, event=end))
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        await visitor.index()
        metrics = proxy.parts.metrics
        before = metrics.snapshot()["coalesced_waiters"]
        first = asyncio.create_task(visitor.get(PATH, **DEMAND))
        await upstream.arrived("*/alpha-*")
        others = [asyncio.create_task(visitor.get(PATH, **headers)) for headers in ({}, DEMAND, {}, DEMAND)]
        await until(lambda: metrics.snapshot()["coalesced_waiters"] == before + len(others))
        end.set()
        assert {(await reply).body for reply in (first, *others)} == {ALPHA.data}
    assert upstream.count("GET", "*.conda") == 1


@pytest.mark.parametrize("demanded", ["abc", ALPHA.sha256[:-1], f"sha256:{ALPHA.sha256}", "", "0" * 65])
async def test_a_demand_that_is_no_digest_is_refused(upstream: FakeChannel, tmp_path: Path, demanded: str) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for method in ("GET", "HEAD"):
            refused = await visitor.get(PATH, method=method, x_expected_sha256=demanded)
            assert (refused.status, refused.headers["Vary"]) == (400, "X-Expected-SHA256")
        assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256.upper())).body == ALPHA.data


async def test_a_client_that_states_another_digest_gets_nothing(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(PATH, x_expected_sha256="0" * 64)).status == 503


async def test_the_same_file_in_two_channels_is_one_download(upstream: FakeChannel, tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY, name="copy") as copy:
        copy.add(ALPHA)
        settings = {**upstream.settings, **copy.settings}
        async with running_proxy(tmp_path, settings=settings) as proxy:
            for name in ("demo", "copy"):
                async with visiting(proxy.channel(name)) as visitor:
                    assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).body == ALPHA.data
                await proxy.settled()
        assert upstream.count("GET", "*.conda") + copy.count("GET", "*.conda") == 1


async def test_a_blob_of_one_channel_is_no_package_of_another(upstream: FakeChannel, tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY, name="other") as other:
        other.add(make_conda("zeta"))
        settings = {**upstream.settings, **other.settings}
        async with running_proxy(tmp_path, settings=settings) as proxy:
            async with visiting(proxy.channel()) as visitor:
                assert (await visitor.get(PATH)).status == 200
            async with visiting(proxy.channel("other")) as visitor:
                assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).status == 404


async def test_a_package_that_left_its_index_is_there_for_those_who_have_a_lock(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        await visitor.get(PATH)
        upstream.vanish(ALPHA)
        clock.advance(3600)
        await visitor.index(cache_control="no-cache")
        assert "alpha" not in (await visitor.index()).shards
        assert (await visitor.get(PATH)).body == ALPHA.data
        assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).body == ALPHA.data


async def test_a_channel_may_refuse_what_left_its_index(upstream: FakeChannel, tmp_path: Path) -> None:
    settings = {**upstream.settings, "conda.channels.demo.policy.removed": "refuse"}
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        await visitor.get(PATH)
        upstream.vanish(ALPHA)
        clock.advance(3600)
        await visitor.index(cache_control="no-cache")
        assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).status == 403


async def test_a_rebuilt_package_is_fetched_again(upstream: FakeChannel, tmp_path: Path) -> None:
    rebuilt = make_conda("alpha", depends=["beta"])
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        assert (await visitor.get(PATH)).body == ALPHA.data
        upstream.add(rebuilt)
        clock.advance(3600)
        await visitor.index(cache_control="no-cache")
        assert (await visitor.get(PATH)).body == rebuilt.data
        assert (await visitor.get(PATH, x_expected_sha256=ALPHA.sha256)).body == ALPHA.data


async def test_a_package_newer_than_the_cached_index_is_looked_for(upstream: FakeChannel, tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        await visitor.index()
        newer = make_conda("newer")
        upstream.add(newer)
        clock.advance(10)
        reply = await visitor.get(newer.path)
        assert (reply.body, reply.headers["ETag"]) == (newer.data, f'"{newer.sha256}"')


async def test_a_cached_package_is_served_while_upstream_is_down(upstream: FakeChannel, tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        await visitor.get(PATH)
        await upstream.stop()
        clock.advance(7 * 24 * 3600)
        assert (await visitor.get(PATH)).body == ALPHA.data
        assert (await visitor.get("noarch/beta-1.0-0.conda")).status == 503


async def test_an_evicted_package_is_fetched_again(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        await visitor.get(PATH)
        await asyncio.to_thread(proxy.parts.store.delete, ALPHA.sha256)
        assert (await visitor.get(PATH)).body == ALPHA.data


def spy_on_the_catalog(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file names that are looked up in the catalog from now on."""
    names: list[str] = []
    find = Catalog.find_artifact

    async def spied(catalog: Catalog, source: str, project: str, name: str, sha256: str | None) -> Artifact | None:
        names.append(name)
        return await find(catalog, source, project, name, sha256)

    monkeypatch.setattr(Catalog, "find_artifact", spied)
    return names


async def test_a_package_that_is_demanded_by_its_digest_is_looked_up_once(
    upstream: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        await visitor.get(PATH, **DEMAND)
        await proxy.settled()
        looked_up = spy_on_the_catalog(monkeypatch)
        for _ in range(3):
            assert (await visitor.get(PATH, **DEMAND)).body == ALPHA.data
        assert looked_up == ["alpha-1.0-0.conda"]


async def test_an_evicted_package_costs_no_other_one_a_look_up(
    upstream: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beta = make_conda("beta")
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        for _ in range(2):
            for package in (ALPHA, beta):
                await visitor.get(package.path, x_expected_sha256=package.sha256)
            await proxy.settled()
        await asyncio.to_thread(proxy.parts.store.delete, ALPHA.sha256)
        looked_up = spy_on_the_catalog(monkeypatch)
        for package in (ALPHA, beta):
            reply = await visitor.get(package.path, x_expected_sha256=package.sha256)
            assert reply.body == package.data
        assert set(looked_up) == {"alpha-1.0-0.conda"}


async def test_mirrors_stand_in_for_one_another(upstream: FakeChannel, tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY, name="second") as second:
        second.add(ALPHA, make_conda("beta"), make_conda("only-here"))
        settings = {"conda.channels.demo.url": f"{upstream.url}, {second.url}"}
        async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
            await visitor.index()
            assert second.count("GET", "*.json*") == 0
            upstream.fail("*.conda", Status(503))
            assert (await visitor.get(PATH)).body == ALPHA.data
            await upstream.stop()
            assert (await visitor.get(f"linux-64/{SHARD_INDEX}")).status == 503
            assert (await visitor.get("noarch/beta-1.0-0.conda")).status == 200


async def test_an_absence_counts_only_when_every_mirror_says_so(upstream: FakeChannel, tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY, name="second") as second:
        second.add(make_conda("tool", subdir="linux-64"))
        settings = {"conda.channels.demo.url": f"{upstream.url}, {second.url}"}
        async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
            assert list((await visitor.index("linux-64")).shards) == ["tool"]
            assert (await visitor.get("linux-64/tool-1.0-0.conda")).status == 200
            assert (await visitor.get(f"osx-64/{SHARD_INDEX}")).status == 404
            second.fail("*", Status(500))
            assert (await visitor.get(f"win-64/{SHARD_INDEX}")).status == 503


async def test_the_connection_breaks_rather_than_end_with_wrong_bytes(upstream: FakeChannel, tmp_path: Path) -> None:
    large = make_conda("large", files={"share/noise": _noise(600_000)})
    upstream.add(large)
    upstream.fail("*/large-*", WrongBytes())
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        with pytest.raises(aiohttp.ClientError):
            await visitor.get(large.path)


def _noise(size: int):
    import random

    from fixtures.conda_packages import File

    return File(random.Random(7).randbytes(size))
