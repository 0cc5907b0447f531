"""What operators ask a proxy: is it alive, is it ready, and what has it done."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from fixtures.patience import until
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from pathlib import Path

    from envproxy.engine.catalog import BlobKind
    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"


async def test_a_running_proxy_is_alive_and_ready(ask: Ask) -> None:
    alive, ready = await ask("/healthz"), await ask("/readyz")
    assert (alive.status, alive.json()) == (200, {"status": "alive"})
    assert (ready.status, ready.json()) == (200, {"status": "ready"})


async def test_an_outage_of_every_upstream_does_not_unready(ask: Ask, upstream: FakeIndex) -> None:
    await upstream.stop()
    assert (await ask(ALPHA)).status == 503
    assert (await ask("/readyz")).status == 200


async def test_a_data_directory_that_is_gone_unreadies_but_does_not_kill(ask: Ask, proxy: LocalProxy) -> None:
    def replace_by_a_file() -> None:
        shutil.rmtree(proxy.parts.store.root / "partial")
        (proxy.parts.store.root / "partial").write_bytes(b"")

    await asyncio.to_thread(replace_by_a_file)
    ready = await ask("/readyz")
    assert ready.status == 503
    assert ready.json() == {"status": "not ready", "reason": "the data directory is not usable: Not a directory"}
    assert (await ask("/healthz")).status == 200


async def test_a_catalog_that_is_broken_unreadies(ask: Ask, proxy: LocalProxy) -> None:
    await proxy.parts.catalog._write("DROP TABLE blobs")
    ready = await ask("/readyz")
    assert (ready.status, ready.json()["reason"]) == (503, "the catalog is not usable: no such table: blobs")


async def test_looking_around_goes_on_after_trouble_with_the_catalog(
    tmp_path: Path, upstream: FakeIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("envproxy.app.LOOK_AROUND_S", 0.0)
    async with running_proxy(tmp_path, upstream=upstream) as proxy:
        catalog, looks = proxy.parts.catalog, asyncio.Queue[bool]()
        totals = catalog.totals

        async def watched() -> dict[BlobKind, tuple[int, int]]:
            try:
                found = await totals()
            except sqlite3.Error:
                looks.put_nowait(False)
                raise
            looks.put_nowait(True)
            return found

        monkeypatch.setattr(catalog, "totals", watched)
        assert await looks.get()
        await catalog._write("ALTER TABLE blobs RENAME TO elsewhere")
        for _ in range(2):
            while await looks.get():
                pass
        await catalog._write("ALTER TABLE elsewhere RENAME TO blobs")
        while not await looks.get():
            pass
    said = [record.message for record in caplog.records if record.name == "envproxy.app"]
    assert said == ["the catalog or its disk cannot be looked at: no such table: blobs"]


async def test_the_gauges_of_the_store_follow_what_comes_and_what_goes(
    tmp_path: Path, upstream: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envproxy.app.LOOK_AROUND_S", 0.0)
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        entries = proxy.parts.metrics.cache_entries
        await ask((await ask(ALPHA, JSON)).file_path(wheel.filename))
        await until(lambda: entries.total(kind="artifact") == 1)
        await proxy.settled()
        for row in await proxy.parts.catalog.blob_rows():
            await proxy.parts.catalog.forget_blob(row.sha256)
        await until(lambda: entries.total() == 0)


@pytest.mark.parametrize("state", ["starting", "draining"])
async def test_before_and_after_its_life_it_is_not_ready(ask: Ask, proxy: LocalProxy, state: str) -> None:
    proxy.parts.state.ready = state != "starting"
    proxy.parts.state.draining = state == "draining"
    ready = await ask("/readyz")
    assert (ready.status, ready.json()["reason"]) == (503, state)
    assert (await ask("/healthz")).status == 200


async def test_asking_whether_it_is_ready_leaves_nothing_behind(ask: Ask, proxy: LocalProxy) -> None:
    for _ in range(3):
        await ask("/readyz")
    assert await asyncio.to_thread(lambda: list((proxy.parts.store.root / "partial").iterdir())) == []


async def test_the_statistics_tell_what_a_cold_and_a_warm_install_did(
    ask: Ask, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    wheel = make_wheel("alpha", "1.0", payload_size=10_000)
    upstream.add(wheel)
    for _ in ("cold", "warm"):
        page = await ask(ALPHA, JSON)
        await ask(page.file_path(wheel.filename) + ".metadata")
        await ask(page.file_path(wheel.filename))
        await proxy.settled()
    stats = (await ask("/api/stats")).json()
    for kind in ("index", "metadata", "artifact"):
        assert (stats["cache"][kind]["miss"], stats["cache"][kind]["hit"]) == (1, 1), kind
    assert stats["upstream_requests"] == {"pypi": 3}
    assert stats["bytes_served"] == {
        "memory": 2 * len(page.body),
        "upstream": len(wheel.data) + len(wheel.metadata),
        "disk": len(wheel.data) + len(wheel.metadata),
    }
    assert stats["requests"] >= 6
    assert (stats["coalesced_waiters"], stats["stale_served"], stats["digest_mismatches"]) == (0, 0, 0)


async def test_the_metrics_say_how_each_answer_came_about(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    for path in (ALPHA, ALPHA, "/pypi/main/simple/nobody/"):
        await ask(path, JSON)
    answer = await ask("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    said = answer.body.decode()
    for result in ("miss", "hit", "negative"):
        assert f'envmesh_cache_requests_total{{ecosystem="pypi",kind="index",result="{result}"}} 1.0' in said
    assert 'envmesh_upstream_requests_total{outcome="ok",upstream="pypi"} 1.0' in said


async def test_one_request_for_many_is_counted_by_those_who_waited(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    await asyncio.gather(*(ask(ALPHA, JSON) for _ in range(8)))
    stats = (await ask("/api/stats")).json()
    assert stats["upstream_requests"] == {"pypi": 1}
    assert stats["cache"]["index"]["miss"] + stats["cache"]["index"]["hit"] == 8


async def test_two_proxies_may_share_a_data_directory(tmp_path: Path, upstream: FakeIndex) -> None:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    async with (
        running_proxy(tmp_path, upstream=upstream) as one,
        running_proxy(tmp_path, upstream=upstream) as other,
        wire(one.url) as ask_one,
        wire(other.url) as ask_other,
    ):
        path = (await ask_one(ALPHA, JSON)).file_path(wheel.filename)
        await ask_one(path)
        await one.settled()
        answer = await ask_other(path)
    assert (answer.cache, answer.body) == ("hit", wheel.data)
    assert upstream.count() == 2
