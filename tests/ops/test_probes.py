"""What a cluster's probes learn of a real process: ready is about itself, and alive about nothing but itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fixtures.proxy import proxy_process
from fixtures.upstream import FakeIndex, Hang, Status
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"
READY = (200, {"status": "ready"})
ALIVE = (200, {"status": "alive"})


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(make_wheel("alpha", "1.0"))
        yield index


async def probed(ask: Ask) -> tuple[tuple[int, object], tuple[int, object]]:
    """What readiness and liveness say."""
    ready, alive = await ask("/readyz"), await ask("/healthz")
    return (ready.status, ready.json()), (alive.status, alive.json())


async def test_an_outage_leaves_the_proxy_ready_and_serving_what_it_has(tmp_path: Path, upstream: FakeIndex) -> None:
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        page = await ask(ALPHA, JSON)
        await upstream.stop()
        for number in range(5):  # more than open the circuit breaker
            assert (await ask(f"/pypi/main/simple/unknown-{number}/", JSON)).status == 503
        assert await probed(ask) == (READY, ALIVE)
        assert (await ask(ALPHA, JSON)).body == page.body


@pytest.mark.parametrize("fault", [Hang(), Status(500)], ids=["silent", "failing"])
async def test_an_upstream_that_does_not_work_leaves_the_proxy_ready(
    tmp_path: Path, upstream: FakeIndex, fault: Hang | Status
) -> None:
    upstream.fail("*", fault)
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        waiting = [asyncio.create_task(ask(f"/pypi/main/simple/name-{number}/", JSON)) for number in range(5)]
        await upstream.arrived("/simple/*", times=3)
        assert await probed(ask) == (READY, ALIVE)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_proxy_is_ready_though_no_upstream_was_ever_there(tmp_path: Path, upstream: FakeIndex) -> None:
    await upstream.stop()
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        assert await probed(ask) == (READY, ALIVE)


async def test_a_restart_during_an_outage_is_ready_and_serves_what_was_cached(
    tmp_path: Path, upstream: FakeIndex
) -> None:
    wheel = make_wheel("alpha", "1.0")
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        path = (await ask(ALPHA, JSON)).file_path(wheel.filename)
        await ask(path)
        await proxy.settled()
        await proxy.stop()
    await upstream.stop()
    async with proxy_process(tmp_path, upstream=upstream) as restarted, wire(restarted.url) as ask:
        assert await probed(ask) == (READY, ALIVE)
        assert (await ask(path)).body == wheel.data


async def test_a_disk_in_trouble_unreadies_until_it_is_well_again_and_never_kills(
    tmp_path: Path, upstream: FakeIndex
) -> None:
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        partial = tmp_path / "data" / "partial"
        partial.rmdir()
        partial.write_bytes(b"")
        reason = "the data directory is not usable: Not a directory"
        assert await probed(ask) == ((503, {"status": "not ready", "reason": reason}), ALIVE)
        partial.unlink()
        partial.mkdir()
        assert await probed(ask) == (READY, ALIVE)
