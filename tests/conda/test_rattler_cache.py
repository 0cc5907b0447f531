"""Through the proxy: each byte comes from upstream once, and what came once is there without upstream."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import chain, make_conda, with_command, with_prefixes
from fixtures.conda_pythons import PLATFORM
from fixtures.faults import Hang
from fixtures.machine import Machine, installed, names, run
from fixtures.proxy import proxy_process, running_proxy
from fixtures.repodata import FLAT_ONLY, SHARDS_ONLY, Style

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fixtures.conda_packages import Package

HALF_A_DAY_S = 43_200
NATIVE = make_conda("native", subdir=PLATFORM)
MANY = [make_conda(f"leaf-{number:03}") for number in range(200)]
ALL = make_conda("all-leaves", depends=[package.name for package in MANY])


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(10), with_prefixes(), NATIVE)
        yield channel


async def until_listed(channel: str, listed: Callable[[set[str]], bool]) -> None:
    """Ask for the repodata of noarch until its filenames are as wanted; each request is a reason to refresh."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{channel}/noarch/repodata.json") as response:
                repodata = await response.json()
            if listed({*repodata["packages"], *repodata["packages.conda"]}):
                return


def downloads(upstream: FakeChannel) -> Counter[str]:
    """How often each package was asked for."""
    return Counter(seen.path for seen in upstream.requests if seen.path.endswith(".conda"))


@pytest.mark.parametrize("style", [Style(), FLAT_ONLY, SHARDS_ONLY], ids=["all-forms", "flat", "shards-only"])
async def test_a_second_machine_costs_upstream_nothing(upstream: FakeChannel, tmp_path: Path, style: Style) -> None:
    upstream.style = style
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01", "prefixed")
        asked = len(upstream.requests)
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01", "prefixed")
    assert len(installed(prefix)) == 11
    assert len(upstream.requests) == asked


@pytest.mark.parametrize("style", [Style(), FLAT_ONLY, SHARDS_ONLY], ids=["all-forms", "flat", "shards-only"])
async def test_with_upstream_down_a_new_machine_gets_everything_that_was_cached(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    clock = FakeClock()
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        await upstream.stop()
        clock.advance(HALF_A_DAY_S)
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 10


async def test_a_channel_without_packages_for_the_platform_is_served_in_an_outage_too(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.vanish(NATIVE)
    clock = FakeClock()
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        await upstream.stop()
        clock.advance(HALF_A_DAY_S)
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 10


async def test_a_restarted_proxy_serves_without_upstream(
    upstream: FakeChannel, python: Package, tmp_path: Path
) -> None:
    upstream.add(python, with_command())
    async with proxy_process(tmp_path, settings=upstream.settings) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "greeter")
        assert await proxy.stop() == 0
    await upstream.stop()
    async with proxy_process(tmp_path, settings=upstream.settings) as proxy:
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "greeter")
    assert await run(prefix, "greeter") == f"hello from {prefix} greeter\n"


async def test_two_machines_that_ask_for_200_packages_at_once_cost_one_download_of_each(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.add(*MANY, ALL)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        machines = [Machine(tmp_path / name) for name in ("one", "two")]
        prefixes = await asyncio.gather(*(machine.create(proxy.channel(), "all-leaves") for machine in machines))
    assert [len(installed(prefix)) for prefix in prefixes] == [201, 201]
    counts = downloads(upstream)
    assert (len(counts), set(counts.values())) == (201, {1})


async def test_a_file_that_two_channels_have_is_fetched_from_one_of_them(tmp_path: Path) -> None:
    async with FakeChannel(name="one") as one, FakeChannel(name="two") as two:
        for channel in (one, two):
            channel.add(*chain(3))
        async with running_proxy(tmp_path, settings={**one.settings, **two.settings}) as proxy:
            await Machine(tmp_path / "a").create(proxy.channel("one"), "link-01")
            prefix = await Machine(tmp_path / "b").create(proxy.channel("two"), "link-01")
    assert len(installed(prefix)) == 3
    assert (len(downloads(one)), len(downloads(two))) == (3, 0)


async def test_a_package_that_left_the_index_is_there_for_those_who_have_a_lock(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    clock = FakeClock()
    first, *_ = chain(10)
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        machine = Machine(tmp_path / "one")
        locked = await machine.solve(proxy.channel(), "link-01")
        await machine.install(locked)
        upstream.vanish(first)
        clock.advance(HALF_A_DAY_S)
        await until_listed(proxy.channel(), lambda filenames: first.filename not in filenames)
        prefix = await Machine(tmp_path / "two").install(locked)
    assert set(installed(prefix)) == names(locked)


async def test_a_stale_index_is_served_while_upstream_hangs(upstream: FakeChannel, tmp_path: Path) -> None:
    clock = FakeClock()
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        upstream.fail("*", Hang())
        clock.advance(HALF_A_DAY_S)
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 10


async def test_a_new_package_appears_after_the_refresh_that_somebody_caused(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        await Machine(tmp_path / "one").solve(proxy.channel(), "link-01")
        newer = make_conda("link-01", "2.0")
        upstream.add(newer)
        clock.advance(HALF_A_DAY_S)
        await until_listed(proxy.channel(), lambda filenames: newer.filename in filenames)
        prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01")
    assert installed(prefix)["link-01"]["version"] == "2.0"


async def test_an_index_that_a_client_kept_still_leads_to_its_shards(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = FLAT_ONLY
    clock = FakeClock()
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as proxy:
        machine = Machine(tmp_path / "one")
        await machine.solve(proxy.channel(), "link-02")
        newer = make_conda("link-01", "2.0")
        upstream.add(newer)
        clock.advance(HALF_A_DAY_S)
        await until_listed(proxy.channel(), lambda filenames: newer.filename in filenames)
        machine.restart()
        prefix = await machine.create(proxy.channel(), "link-01")
    assert installed(prefix)["link-01"]["version"] == "1.0"
