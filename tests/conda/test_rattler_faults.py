"""Whatever upstream does wrong, py-rattler behind the proxy gets right bytes or an error that it recovers from."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import aiohttp
import pytest
from rattler.exceptions import GatewayError, InstallerError

from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import File, chain, make_conda
from fixtures.faults import Cut, RawBody, Redirect, Status, WrongBytes
from fixtures.machine import Machine, installed, names
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, SHARD_INDEX, SHARDS_ONLY, Style

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.proxy import LocalProxy

RANDOM = random.Random("big").randbytes(1_000_000)
BIG = make_conda("big", files={"share/big.bin": File(RANDOM)})
A_PART = 600_000
A_MINUTE_S = 60
A_LIE = hashlib.sha256(b"other bytes").hexdigest()
A_PAGE = RawBody(b"<!DOCTYPE html><title>Maintenance</title>", "text/html")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(3))
        yield channel


@pytest.fixture
async def proxy(upstream: FakeChannel, tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, settings=upstream.settings, clock=clock) as running:
        yield running


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def test_wrong_bytes_of_a_package_are_neither_installed_nor_cached(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path
) -> None:
    upstream.fail("*/link-03-*", WrongBytes())
    with pytest.raises(InstallerError):
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    upstream.clear_faults()
    asked = upstream.count("GET", "*/link-03-*")
    prefix = await Machine(tmp_path / "two").create(proxy.channel(), "link-01")
    assert (prefix / "share/link-03.txt").read_text() == "link-03 1.0\n"
    assert upstream.count("GET", "*/link-03-*") == asked + 1


async def test_a_package_that_is_not_what_repodata_says_is_refused(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path
) -> None:
    upstream.add(make_conda("liar").lying(sha256=A_LIE))
    with pytest.raises(InstallerError):
        await Machine(tmp_path / "one").create(proxy.channel(), "liar")
    assert await status_of(f"{proxy.channel()}/noarch/liar-1.0-0.conda") != 200


@pytest.mark.parametrize("lengths", [True, False], ids=["announced", "chunked"])
async def test_a_package_of_another_size_than_repodata_says_is_refused(
    upstream: FakeChannel, proxy: LocalProxy, *, lengths: bool
) -> None:
    upstream.style = Style(lengths=lengths)
    upstream.add(make_conda("liar").lying(size=10))
    assert await status_of(f"{proxy.channel()}/noarch/liar-1.0-0.conda") == 503


async def test_a_cut_download_is_taken_up_where_it_ended(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path
) -> None:
    upstream.add(BIG)
    upstream.fail("*/big-*", Cut(after=A_PART), times=1)
    prefix = await Machine(tmp_path / "one").create(proxy.channel(), "big")
    assert (prefix / "share/big.bin").read_bytes() == RANDOM
    first, second = [seen.headers.get("Range", "none") for seen in upstream.requests if "/big-" in seen.path]
    assert first == "none"
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= A_PART


async def test_a_client_that_once_got_404_never_asks_for_shards_again(upstream: FakeChannel, tmp_path: Path) -> None:
    """Why the proxy must not answer 404 to a failure: what py-rattler does on its own."""
    upstream.fail(f"*/{SHARD_INDEX}", Status(404), times=2)
    machine = Machine(tmp_path)
    for _ in range(2):
        await machine.solve(upstream.url, "link-01")
        machine.restart()
    assert upstream.count("GET", f"*/noarch/{SHARD_INDEX}") == 1


async def test_an_outage_of_the_shard_index_does_not_cost_a_client_its_shards(
    upstream: FakeChannel, proxy: LocalProxy, clock: FakeClock, tmp_path: Path
) -> None:
    upstream.style = SHARDS_ONLY
    upstream.fail("*", Status(503))
    machine = Machine(tmp_path / "one")
    with pytest.raises(GatewayError):
        await machine.solve(proxy.channel(), "link-01")
    assert await status_of(f"{proxy.channel()}/noarch/{SHARD_INDEX}") == 503
    upstream.clear_faults()
    clock.advance(A_MINUTE_S)
    assert await status_of(f"{proxy.channel()}/noarch/{SHARD_INDEX}") == 200  # one request finds out for all
    machine.restart()
    await machine.solve(proxy.channel(), "link-01")


async def test_a_shard_in_the_place_of_another_is_refused_where_a_client_alone_would_believe_it(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path
) -> None:
    upstream.style = SHARDS_ONLY
    async with FakeChannel(SHARDS_ONLY) as evil:
        evil.add(make_conda("link-02", "6.6.6"))
        swapped = f"http://127.0.0.1:{evil.port}{evil.shard_path('noarch', 'link-02')}"
        upstream.fail(upstream.shard_path("noarch", "link-02"), Redirect(swapped))
        believed = await Machine(tmp_path / "alone").solve(upstream.url, "link-02")
        assert [str(record.version) for record in believed] == ["6.6.6"]
        with pytest.raises(GatewayError):
            await Machine(tmp_path / "one").solve(proxy.channel(), "link-02")
    upstream.clear_faults()
    right = await Machine(tmp_path / "two").solve(proxy.channel(), "link-02 ==1.0")
    assert names(right) == {"link-02", "link-03"}


@pytest.mark.parametrize("style", [Style(), FLAT_ONLY, SHARDS_ONLY], ids=["all-forms", "flat", "shards-only"])
async def test_a_page_for_people_in_place_of_repodata_is_an_error_that_passes(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    upstream.fail("*", A_PAGE)
    with pytest.raises(GatewayError):
        await Machine(tmp_path / "one").solve(proxy.channel(), "link-01")
    upstream.clear_faults()
    prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 3


async def test_a_location_without_noarch_is_no_channel(
    upstream: FakeChannel, proxy: LocalProxy, tmp_path: Path
) -> None:
    for package in chain(3):
        upstream.vanish(package)
    upstream.style = Style(noarch=False)
    with pytest.raises(GatewayError):
        await Machine(tmp_path / "one").solve(proxy.channel(), "link-01")
