"""Invariants 6 and 7 of docs/architecture.md: bounded on disk and in memory, and nothing lost by any kind of end."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.clock import FakeClock
from fixtures.disk import blobs, disk_that_takes, open_files, partials
from fixtures.patience import until
from fixtures.proxy import LocalProxy, ProxyProcess, proxy_process, running_proxy
from fixtures.upstream import FakeIndex, Gate
from fixtures.wheels import Dist, make_sdist, make_wheel
from fixtures.wire import JSON, asking, wire

if TYPE_CHECKING:
    from fixtures.wire import Ask

ALPHA = make_wheel("alpha", "1.0", payload_size=1_500_000)
PAGE = "/pypi/main/simple/alpha/"
FILE = f"/pypi/main/files/alpha/{ALPHA.sha256}/{ALPHA.filename}"
UPSTREAM_FILE = f"/files/alpha/{ALPHA.filename}"
MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def _listed(upstream: FakeIndex) -> None:
    upstream.add(ALPHA)


def path_of(dist: Dist) -> str:
    return f"/pypi/main/files/{dist.project}/{dist.sha256}/{dist.filename}"


# 6. Bounded.


def wheels(count: int) -> list[Dist]:
    return [make_wheel("alpha", f"3.{number}", payload_size=MEGABYTE) for number in range(count)]


async def test_6_the_budget_holds_and_pins_stay(tmp_path: Path, upstream: FakeIndex) -> None:
    dists, clock = wheels(8), FakeClock()
    upstream.add(*dists)
    settings = {"store.limit": "3.5MB"}
    async with (
        running_proxy(tmp_path, upstream=upstream, settings=settings, clock=clock) as proxy,
        wire(proxy.url) as ask,
    ):
        await ask(path_of(dists[0]))
        await proxy.settled()
        await proxy.parts.catalog.pin(dists[0].sha256, "a lock", clock())
        for dist in dists:
            clock.advance(60)
            assert (await ask(path_of(dist))).body == dist.data
            await proxy.settled()
            assert sum(map(len, blobs(tmp_path / "data").values())) <= 3_500_000
    assert dists[0].sha256 in blobs(tmp_path / "data")
    assert dists[-1].sha256 in blobs(tmp_path / "data")
    assert dists[1].sha256 not in blobs(tmp_path / "data")


async def test_6_the_disk_keeps_its_free_space_and_clients_their_bytes(tmp_path: Path, upstream: FakeIndex) -> None:
    settings = {"store.min-free": "1000TB"}
    async with running_proxy(tmp_path, upstream=upstream, settings=settings) as proxy, wire(proxy.url) as ask:
        answers = await asyncio.gather(*(ask(FILE) for _ in range(5)))
        await proxy.settled()
    assert {answer.body for answer in answers} == {ALPHA.data}
    assert blobs(tmp_path / "data") == {}


async def test_6_a_disk_that_fills_up_in_the_middle_costs_no_client_a_byte(
    ask: Ask, proxy: LocalProxy, tmp_path: Path
) -> None:
    await ask(PAGE, JSON)
    await proxy.settled()
    with disk_that_takes(MEGABYTE):
        answers = await asyncio.gather(*(ask(FILE) for _ in range(5)))
        await proxy.settled()
    assert {(answer.status, answer.body) for answer in answers} == {(200, ALPHA.data)}
    assert (blobs(tmp_path / "data"), partials(tmp_path / "data")) == ({}, [])
    assert (await ask(FILE)).body == ALPHA.data
    await proxy.settled()
    assert blobs(tmp_path / "data") == {ALPHA.sha256: ALPHA.data}


async def test_6_fifty_downloads_at_once_with_clients_that_do_not_read_take_little_memory(
    tmp_path: Path, upstream: FakeIndex
) -> None:
    dists = [make_wheel("alpha", f"4.{number}", payload_size=2 * MEGABYTE) for number in range(50)]
    upstream.add(*dists)
    async with proxy_process(tmp_path, upstream=upstream) as proxy, AsyncExitStack() as connections:
        async with wire(proxy.url) as ask:
            await ask(FILE)
        before = resident(proxy)
        for dist in dists:
            _, writer = await connections.enter_async_context(asking(proxy.url, path_of(dist)))
            writer.transport.pause_reading()
        visible = tmp_path / "data" / "blobs" / "sha256"
        await until(lambda: len(list(visible.glob("*/*"))) == 51)
        assert resident(proxy, "VmHWM") - before < 30 * MEGABYTE


def resident(proxy: ProxyProcess, which: str = "VmRSS") -> int:
    """Bytes of memory of the process now, or (VmHWM) at its peak."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(re.findall(rf"{which}:\s+(\d+) kB", status)[0]) * 1024


# 7. Restart loses nothing and needs no network.


async def test_7_a_start_without_network_serves_all_there_was(tmp_path: Path, upstream: FakeIndex) -> None:
    upstream.add(make_sdist("alpha", "0.9"))
    paths = [PAGE, FILE, FILE + ".metadata"]
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        before = [(await ask(path, JSON)).body for path in paths]
        await proxy.settled()
    await upstream.stop()
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        after = [await ask(path, JSON) for path in paths]
    assert [answer.body for answer in after] == before
    assert {answer.status for answer in after} == {200}


@pytest.fixture
def half_way(upstream: FakeIndex) -> asyncio.Event:
    """Upstream stops in the middle of the file until this is set."""
    event = asyncio.Event()
    upstream.fail(UPSTREAM_FILE, Gate(700_000, event), times=1)
    return event


async def test_7_a_crash_in_the_middle_of_a_download_leaves_a_store_that_is_right(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event
) -> None:
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        downloading = asyncio.create_task(ask(FILE))
        await until(lambda: any(path.stat().st_size >= 600_000 for path in partials(tmp_path / "data")))
        await proxy.kill()
        with pytest.raises(aiohttp.ClientError):
            await downloading
    half_way.set()
    assert blobs(tmp_path / "data") == {}
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        assert partials(tmp_path / "data") == []
        assert (await ask(FILE)).body == ALPHA.data
        assert await proxy.stop() == 0
    assert blobs(tmp_path / "data") == {ALPHA.sha256: ALPHA.data}


async def test_7_a_stop_waits_for_the_downloads_that_run_and_takes_no_new_clients(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event
) -> None:
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        downloading = asyncio.create_task(ask(FILE))
        await until(lambda: any(path.stat().st_size >= 600_000 for path in partials(tmp_path / "data")))
        proxy.process.terminate()
        while await _accepts(proxy):
            await asyncio.sleep(0)
        assert not downloading.done()
        half_way.set()
        assert (await downloading).body == ALPHA.data
        assert await proxy.process.wait() == 0
    assert blobs(tmp_path / "data") == {ALPHA.sha256: ALPHA.data}
    assert "Traceback" not in proxy.log.read_text()
    async with running_proxy(tmp_path) as again, wire(again.url) as ask:
        assert (await ask("/api/stats")).status == 200
        assert {row.sha256 for row in await again.parts.catalog.blob_rows()} == {ALPHA.sha256}


async def _accepts(proxy: ProxyProcess) -> bool:
    """Whether the port is open; a connection that still waited when it closed is reset, and tells nothing."""
    with suppress(ConnectionResetError):
        try:
            _, writer = await asyncio.open_connection(*proxy.url.removeprefix("http://").split(":"))
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
    return True


async def test_7_the_end_leaves_no_task_and_no_open_file(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event
) -> None:
    tasks = asyncio.all_tasks()
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        downloading = asyncio.create_task(ask(FILE))
        await until(lambda: any(path.stat().st_size >= 600_000 for path in partials(tmp_path / "data")))
        downloading.cancel()
        await asyncio.wait([downloading])
    assert {task for task in asyncio.all_tasks() - tasks if "/proxy/envproxy/" in str(task)} == set()
    assert open_files(tmp_path / "data") == []
    assert partials(tmp_path / "data") == []
    half_way.set()
