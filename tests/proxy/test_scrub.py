"""A scrub finds rot, loss and strays, and leaves store and catalog agreeing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envproxy.engine.catalog import Catalog
from envproxy.engine.scrub import ScrubReport, scrub
from envproxy.engine.store import BlobStore
from fixtures.patience import until
from fixtures.proxy import running_proxy


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        yield catalog


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path)
    store.prepare()
    return store


async def put(store: BlobStore, catalog: Catalog, data: bytes) -> str:
    sha256 = await asyncio.to_thread(store.put_bytes, data)
    await catalog.add_blob(sha256, len(data), "artifact", 1.0)
    return sha256


def ignore_progress(done: int, total: int) -> None:
    pass


async def known(catalog: Catalog) -> set[str]:
    return {row.sha256 for row in await catalog.blob_rows()}


async def test_a_sound_store_is_left_as_it_is(store: BlobStore, catalog: Catalog) -> None:
    one, two = await put(store, catalog, b"one"), await put(store, catalog, b"two")
    progress: list[tuple[int, int]] = []
    report = await scrub(store, catalog, on_progress=lambda done, total: progress.append((done, total)))
    assert report == ScrubReport(checked=2, corrupt=[], missing=[], adopted=[])
    assert progress == [(1, 2), (2, 2)]
    assert await known(catalog) == {one, two}


@pytest.mark.parametrize("rot", [b"onE", b"on", b"", b"one more"], ids=["flipped", "short", "empty", "long"])
async def test_a_rotten_blob_is_quarantined_and_forgotten(
    store: BlobStore, catalog: Catalog, tmp_path: Path, rot: bytes
) -> None:
    one, two = await put(store, catalog, b"one"), await put(store, catalog, b"two")
    await asyncio.to_thread(store.path(one).write_bytes, rot)
    report = await scrub(store, catalog, on_progress=ignore_progress)
    assert report == ScrubReport(checked=2, corrupt=[one], missing=[], adopted=[])
    assert await asyncio.to_thread((tmp_path / "quarantine" / one).read_bytes) == rot
    assert await known(catalog) == {two}

    assert await put(store, catalog, b"one") == one
    report = await scrub(store, catalog, on_progress=ignore_progress)
    assert report == ScrubReport(checked=2, corrupt=[], missing=[], adopted=[])


async def test_a_blob_that_the_disk_cannot_read_any_more_is_rotten(
    store: BlobStore, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_sector(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    one = await put(store, catalog, b"one")
    monkeypatch.setattr(hashlib, "file_digest", bad_sector)
    assert (await scrub(store, catalog, on_progress=ignore_progress)).corrupt == [one]
    assert await known(catalog) == set()


async def test_a_row_without_its_blob_is_forgotten(store: BlobStore, catalog: Catalog) -> None:
    one, two = await put(store, catalog, b"one"), await put(store, catalog, b"two")
    await asyncio.to_thread(store.delete, one)
    report = await scrub(store, catalog, on_progress=ignore_progress)
    assert report == ScrubReport(checked=1, corrupt=[], missing=[one], adopted=[])
    assert await known(catalog) == {two}


async def test_a_blob_without_a_row_is_adopted(store: BlobStore, catalog: Catalog) -> None:
    one = await asyncio.to_thread(store.put_bytes, b"one")
    report = await scrub(store, catalog, on_progress=ignore_progress)
    assert report == ScrubReport(checked=1, corrupt=[], missing=[], adopted=[one])
    assert await catalog.totals() == {"artifact": (1, 3)}


async def test_a_blob_evicted_during_the_scrub_is_no_finding(store: BlobStore, catalog: Catalog) -> None:
    blobs = {await put(store, catalog, b"one"), await put(store, catalog, b"two")}
    order = await asyncio.to_thread(lambda: [blob.sha256 for blob in store.walk()])

    class EvictsTheLast(BlobStore):
        def path(self, sha256: str) -> Path:
            path = super().path(sha256)
            if sha256 == order[-1]:
                path.unlink(missing_ok=True)
            return path

    await catalog.forget_blob(order[-1])
    report = await scrub(EvictsTheLast(store.root), catalog, on_progress=ignore_progress)
    assert report == ScrubReport(checked=2, corrupt=[], missing=[], adopted=[])
    assert await known(catalog) == blobs - {order[-1]}


async def test_a_serving_proxy_counts_what_the_command_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envproxy.app.LOOK_AROUND_S", 0.0)
    async with running_proxy(tmp_path) as proxy:
        metrics, catalog = proxy.parts.metrics, proxy.parts.catalog
        one, _ = await put(proxy.parts.store, catalog, b"one"), await put(proxy.parts.store, catalog, b"two")
        await asyncio.to_thread(proxy.parts.store.path(one).write_bytes, b"onE")
        command = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "envproxy",
            "scrub",
            "--data",
            str(proxy.parts.store.root),
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        assert await command.wait() == 1
        await until(lambda: metrics.digest_mismatch.total(source="disk"))
        assert (metrics.quarantined._value.get(), metrics.scrub_checked._value.get()) == (1, 2)
        ended_at = metrics.last_scrub_timestamp_seconds._value.get()
    async with running_proxy(tmp_path) as restarted:
        metrics = restarted.parts.metrics
        await until(lambda: metrics.last_scrub_timestamp_seconds._value.get() == ended_at)
        assert (metrics.quarantined._value.get(), metrics.digest_mismatch.total()) == (0, 0)
