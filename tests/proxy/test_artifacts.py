"""One download per key into the store and the catalog, within the budget, whatever else is under way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from envproxy.engine.answers import Body
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.download import TAIL_BYTES
from envproxy.engine.evict import Evictor, Limits
from envproxy.engine.expected import Expected
from envproxy.engine.flights import Tasks
from envproxy.engine.store import BlobStore
from fixtures.airport import Reader
from fixtures.clock import FakeClock
from fixtures.disk import blobs
from fixtures.patience import a_moment, until
from fixtures.reports import Reports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from envproxy.engine.download import Download

SMALL = b"small " * 1000
LARGE = b"large " * 100_000
LIMIT = 500_000


@dataclass
class Piecemeal(Body):
    """A body that comes in pieces, each when it is `let` through."""

    data: bytes = b""
    let: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def chunks(self) -> Any:
        for start in range(0, len(self.data), 50_000):
            await self.let.acquire()
            yield self.data[start : start + 50_000]


@dataclass
class Hall:
    """The artifacts and what they are made of; `remembered` is what `stored` was told."""

    artifacts: Artifacts
    catalog: Catalog
    tasks: Tasks
    reports: Reports
    root: Path
    opened: int = 0
    remembered: list[tuple[str, int]] = field(default_factory=list)

    def download(
        self, data: bytes, *, flowing: bool = True, owner: str = "one"
    ) -> tuple[Download, asyncio.Semaphore]:
        """The download of `data` for `owner`; unless it is flowing, each piece must be let through."""
        let = asyncio.Semaphore(1000 if flowing else 0)
        sha256 = hashlib.sha256(data).hexdigest()

        @asynccontextmanager
        async def opening(offset: int, _validator: str | None) -> AsyncIterator[Body]:
            self.opened += 1
            yield Piecemeal(0, len(data), None, None, None, 60.0, data=data, let=let)

        async def stored(digest: str, size: int) -> None:
            self.remembered.append((digest, size))

        expected = Expected({"sha256": sha256})
        return self.artifacts.download(sha256, "a file", opening, expected, owner=owner, stored=stored), let

    async def rows(self) -> dict[str, int]:
        """The blobs that the catalog knows, with their sizes."""
        return {row.sha256: row.size for row in await self.catalog.blob_rows()}


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    store, tasks, reports, clock = BlobStore(tmp_path), Tasks(), Reports(), FakeClock()
    await asyncio.to_thread(store.prepare)
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        evictor = Evictor(store, catalog, Limits(LIMIT, 0), clock, lambda: artifacts.busy())  # noqa: PLW0108 (made below)
        artifacts = Artifacts(store, catalog, evictor, tasks, reporter=reports, clock=clock)
        yield Hall(artifacts, catalog, tasks, reports, tmp_path)
        await tasks.close()


async def test_a_download_is_shared_while_it_flies_then_stored_then_known(hall: Hall) -> None:
    first, let = hall.download(SMALL, flowing=False)
    second, _ = hall.download(SMALL)
    assert first is second
    assert hall.reports.coalescings == 1
    assert hall.artifacts.busy() == {hashlib.sha256(SMALL).hexdigest()}
    let.release()
    digest = await first.blob()
    await until(lambda: not hall.artifacts.busy())
    assert hall.remembered == [(digest, len(SMALL))]
    assert await hall.rows() == {digest: len(SMALL)}
    assert await hall.artifacts.size(digest) == len(SMALL)
    assert hall.opened == 1


async def test_a_failed_download_is_not_shared_with_who_comes_after(hall: Hall) -> None:
    sha256 = "0" * 64

    @asynccontextmanager
    async def opening(offset: int, _validator: str | None) -> AsyncIterator[Body]:
        yield Piecemeal(0, len(SMALL), None, None, None, 60.0, data=SMALL, let=asyncio.Semaphore(9))

    async def stored(digest: str, size: int) -> None:
        raise AssertionError("never stored")

    def download() -> Download:
        expected = Expected({"sha256": sha256})
        return hall.artifacts.download(sha256, "a file", opening, expected, owner="one", stored=stored)

    first = download()
    with pytest.raises(Exception, match="not what its index promises"):
        await first.blob()
    assert download() is not first


async def test_each_who_wanted_a_download_is_told_of_its_end_once(hall: Hall) -> None:
    download, let = hall.download(SMALL, flowing=False, owner="one")
    for owner in ("other", "one", "other"):
        assert hall.download(SMALL, owner=owner)[0] is download
    let.release()
    digest = await download.blob()
    await until(lambda: not hall.artifacts.busy())
    assert hall.remembered == [(digest, len(SMALL))] * 2


async def test_an_upload_of_bytes_that_are_just_being_evicted_is_stored(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [bytes([number]) * 200_000 for number in range(2)]
    digests = [await hall.download(data)[0].blob() for data in files]
    await until(lambda: not hall.artifacts.busy())
    forget, is_evicting, go_on = hall.catalog.forget_blob, asyncio.Event(), asyncio.Event()

    async def forget_slowly(sha256: str) -> None:
        is_evicting.set()
        await go_on.wait()
        await forget(sha256)

    monkeypatch.setattr(hall.catalog, "forget_blob", forget_slowly)
    evicting = asyncio.create_task(hall.artifacts._evictor.make_room(490_000))
    await is_evicting.wait()
    last = digests[0] if hall.artifacts.path(digests[0]).exists() else digests[1]

    async def pin(sha256: str, _size: int) -> bool:
        await evicting
        await hall.catalog.pin(sha256, "uploaded", 1.0)
        return True

    partial = await asyncio.to_thread(hall.artifacts._store.create_partial)
    await asyncio.to_thread(partial.append, files[digests.index(last)])
    publishing = asyncio.create_task(hall.artifacts.publish(partial, pin))
    for _ in range(5):  # whoever is not kept waiting has its threads behind it by then
        await asyncio.to_thread(lambda: None)
    go_on.set()
    assert await publishing
    assert list(blobs(hall.root)) == [last]
    assert list(await hall.rows()) == [last]
    await asyncio.to_thread(partial.close)


async def test_what_was_published_as_we_stopped_is_in_the_catalog(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on, sync = threading.Event(), threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (reached.set(), go_on.wait(5), sync(fd)))
    hall.download(SMALL)
    assert await asyncio.to_thread(reached.wait, 30)
    stopping = asyncio.create_task(hall.tasks.close())
    await a_moment()
    go_on.set()
    await stopping
    digest = hashlib.sha256(SMALL).hexdigest()
    assert blobs(hall.root) == {digest: SMALL}
    assert await hall.rows() == {digest: len(SMALL)}
    assert hall.remembered == [(digest, len(SMALL))]


async def test_what_is_larger_than_the_budget_is_relayed_and_takes_no_room_from_others(hall: Hall) -> None:
    relay, let = hall.download(LARGE, flowing=False)
    reader = Reader(relay)
    await relay.opened()
    small, _ = hall.download(SMALL)
    assert await small.blob() == hashlib.sha256(SMALL).hexdigest()
    for _ in range(20):
        let.release()
    assert await reader.task == LARGE
    assert list(blobs(hall.root).values()) == [SMALL]


async def test_who_comes_too_late_for_a_relay_gets_a_download_of_its_own(hall: Hall) -> None:
    relay, let = hall.download(LARGE, flowing=False)
    reader = Reader(relay)
    for _ in range(8):
        let.release()
    await reader.has(8 * 50_000 - TAIL_BYTES)
    await until(lambda: not relay.admits_newcomers)
    own, _ = hall.download(LARGE)
    assert own is not relay
    assert await Reader(own).task == LARGE
    for _ in range(8):
        let.release()
    assert await reader.task == LARGE
    assert (hall.opened, hall.reports.coalescings) == (2, 0)


async def test_downloads_at_the_same_time_count_on_the_same_room_only_once(hall: Hall) -> None:
    files = [bytes([number]) * 200_000 for number in range(3)]
    flights = [hall.download(data, flowing=False) for data in files]
    for download, _ in flights:
        await download.opened()
    readers = [Reader(download) for download, _ in flights]
    for _, let in flights:
        for _ in range(4):
            let.release()
    assert [await reader.task for reader in readers] == files
    await until(lambda: not hall.artifacts.busy())
    assert sum(map(len, blobs(hall.root).values())) == 400_000


async def test_use_is_written_down_in_batches(hall: Hall) -> None:
    digest = await hall.artifacts.put(SMALL, "metadata")
    [before] = await hall.catalog.blob_rows()
    hall.artifacts._clock.advance(60)
    hall.artifacts.used(digest)
    assert await hall.catalog.blob_rows() == [before]
    await hall.artifacts.flush()
    [after] = await hall.catalog.blob_rows()
    assert after.last_used == before.last_used + 60
