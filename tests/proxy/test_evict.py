"""Who must go when room is short, and that the store and the catalog agree about it afterwards."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.engine.catalog import BlobKind, BlobRow, Catalog
from envproxy.engine.evict import Evictor, Limits, choose, shortfall
from envproxy.engine.report import Reporter
from envproxy.engine.store import BlobStore

NOW = 1_000_000.0
DAY = 86_400.0


def row(name: str, size: int, *, idle: float, kind: BlobKind = "artifact") -> BlobRow:
    return BlobRow(name, size, kind, NOW - idle, NOW - idle, 0)


def order(*rows: BlobRow) -> list[str]:
    everything = sum(row.size for row in rows)
    return [row.sha256 for row in choose(rows, free=everything, pinned=set(), busy=set(), now=NOW)]


@pytest.mark.parametrize(
    ("used", "disk_free", "incoming", "missing"),
    [
        (500, 5000, 100, 0),
        (900, 5000, 100, 0),
        (900, 5000, 101, 1),
        (1300, 5000, 0, 300),
        (500, 300, 100, 0),
        (500, 300, 101, 1),
        (500, 0, 100, 300),
        (950, 250, 100, 50),
    ],
    ids=["fits", "to the brim", "over budget", "budget was cut", "floor", "below", "disk full", "both short"],
)
def test_shortfall_is_what_budget_and_floor_lack_together(
    used: int, disk_free: int, incoming: int, missing: int
) -> None:
    found = shortfall(used=used, limit=1000, disk_free=disk_free, min_free=200, incoming=incoming)
    assert found == missing


def test_of_equal_size_the_longest_unused_goes_first() -> None:
    assert order(row("new", 100, idle=10), row("old", 100, idle=30), row("mid", 100, idle=20)) == [
        "old",
        "mid",
        "new",
    ]


def test_of_equal_age_the_largest_goes_first() -> None:
    assert order(row("tiny", 10, idle=DAY), row("huge", 10**9, idle=DAY)) == ["huge", "tiny"]


def test_a_huge_blob_of_today_outlives_a_middling_one_of_last_month() -> None:
    assert order(row("huge", 10**9, idle=DAY / 24), row("middling", 10**7, idle=30 * DAY)) == ["middling", "huge"]


@pytest.mark.parametrize("kind", ["metadata", "listing"])
def test_metadata_outlives_an_artifact_of_its_age_and_size_but_not_for_ever(kind: BlobKind) -> None:
    assert order(row("small", 100, idle=3 * DAY, kind=kind), row("wheel", 100, idle=DAY)) == ["wheel", "small"]
    assert order(row("small", 100, idle=5 * DAY, kind=kind), row("wheel", 100, idle=DAY)) == ["small", "wheel"]


def test_choosing_stops_when_enough_is_free() -> None:
    rows = [row("a", 100, idle=30), row("b", 100, idle=20), row("c", 100, idle=10)]
    assert [r.sha256 for r in choose(rows, free=150, pinned=set(), busy=set(), now=NOW)] == ["a", "b"]
    assert choose(rows, free=0, pinned=set(), busy=set(), now=NOW) == []


def test_a_clock_that_jumped_back_makes_nothing_immortal() -> None:
    assert order(row("from the future", 100, idle=-DAY)) == ["from the future"]


names = st.sampled_from("abcdefgh")
rows_of = st.lists(
    st.builds(
        BlobRow,
        sha256=names,
        size=st.integers(0, 10**12),
        kind=st.sampled_from(["artifact", "metadata", "listing"]),
        stored_at=st.just(0.0),
        last_used=st.floats(0, 2 * NOW),
        uses=st.just(0),
    ),
    unique_by=lambda row: row.sha256,
)


@given(rows=rows_of, free=st.integers(0, 10**13), pinned=st.sets(names), busy=st.sets(names))
def test_choosing_frees_enough_or_all_it_may_and_never_more_than_it_must(
    rows: list[BlobRow], free: int, pinned: AbstractSet[str], busy: AbstractSet[str]
) -> None:
    chosen = choose(rows, free=free, pinned=pinned, busy=busy, now=NOW)
    evictable = [row for row in rows if row.sha256 not in pinned | busy]
    assert set(chosen) <= set(evictable)
    assert len(set(chosen)) == len(chosen)
    assert sum(row.size for row in chosen) >= free or len(chosen) == len(evictable)
    assert not chosen or sum(row.size for row in chosen[:-1]) < free


class Room:
    """A real store and catalog with a budget of 1000 bytes, on a disk whose free space the test sets."""

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self.disk_free = 10_000
        self.busy: set[str] = set()
        self.evictions: list[tuple[int, str]] = []
        self.catalog = catalog
        self.store = BlobStore(root, free_bytes=lambda _: self.disk_free)
        self.store.prepare()
        reporter = Reporter()
        reporter.evicted = lambda count, reason: self.evictions.append((count, reason))  # type: ignore[method-assign]
        limits = Limits(limit_bytes=1000, min_free_bytes=200)
        self.evictor = Evictor(self.store, catalog, limits, lambda: NOW, lambda: self.busy, reporter=reporter)

    async def add(self, letter: str, size: int, *, idle: float) -> str:
        sha256 = await asyncio.to_thread(self.store.put_bytes, letter.encode() * size)
        await self.catalog.add_blob(sha256, size, "artifact", NOW - idle)
        return sha256

    async def left(self) -> set[str]:
        rows = {row.sha256 for row in await self.catalog.blob_rows()}
        files = await asyncio.to_thread(lambda: {blob.sha256 for blob in self.store.walk()})
        assert rows == files
        return rows


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        yield await asyncio.to_thread(Room, tmp_path, catalog)


async def test_what_fits_evicts_nothing(room: Room) -> None:
    kept = await room.add("a", 400, idle=DAY)
    assert await room.evictor.make_room(600)
    assert await room.left() == {kept}
    assert room.evictions == []


async def test_the_budget_makes_the_oldest_go_and_a_little_more_than_needed(room: Room) -> None:
    await room.add("a", 400, idle=3 * DAY)
    await room.add("b", 300, idle=2 * DAY)
    newest = await room.add("c", 300, idle=DAY)
    assert await room.evictor.make_room(380)  # one would do, were there not the slack of a 20th
    assert await room.left() == {newest}
    assert room.evictions == [(2, "budget")]


async def test_the_floor_counts_where_others_fill_the_disk(room: Room) -> None:
    await room.add("a", 400, idle=2 * DAY)
    newest = await room.add("b", 300, idle=DAY)
    room.disk_free = 250
    assert await room.evictor.make_room(100)
    assert await room.left() == {newest}
    assert room.evictions == [(1, "floor")]


async def test_nothing_is_evicted_for_what_can_never_fit(room: Room) -> None:
    kept = await room.add("a", 400, idle=DAY)
    assert not await room.evictor.make_room(1001)
    assert await room.left() == {kept}


async def test_pinned_and_busy_blobs_stay_even_if_nothing_else_would_do(room: Room) -> None:
    pinned = await room.add("a", 500, idle=2 * DAY)
    busy = await room.add("b", 500, idle=DAY)
    await room.catalog.pin(pinned, "operator", NOW)
    room.busy = {busy}
    assert not await room.evictor.make_room(1)
    assert await room.left() == {pinned, busy}
    room.busy = set()
    assert await room.evictor.make_room(1)
    assert await room.left() == {pinned}


async def test_what_is_pinned_while_others_are_evicted_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.add("a", 300, idle=3 * DAY)
    pinned = await room.add("b", 300, idle=2 * DAY)
    await room.add("c", 300, idle=DAY)
    forget = room.catalog.forget_blob

    async def forget_and_pin(sha256: str) -> None:
        await forget(sha256)
        await room.catalog.pin(pinned, "operator", NOW)

    monkeypatch.setattr(room.catalog, "forget_blob", forget_and_pin)
    assert await room.evictor.make_room(600)
    assert await room.left() == {pinned}
    assert room.evictions == [(1, "budget"), (1, "budget")]


async def test_a_row_left_by_a_crash_is_forgotten_and_counts_for_nothing(room: Room) -> None:
    crashed = await room.add("a", 500, idle=3 * DAY)
    await room.add("b", 400, idle=2 * DAY)
    newest = await room.add("c", 100, idle=DAY)
    await asyncio.to_thread(room.store.delete, crashed)  # killed between the file and its row
    room.disk_free = 150
    assert await room.evictor.make_room(200)
    assert await room.left() == {newest}


async def test_collecting_brings_the_store_within_a_budget_that_was_cut(room: Room) -> None:
    oldest = await room.add("a", 400, idle=3 * DAY)
    await room.add("b", 400, idle=2 * DAY)
    await room.add("c", 400, idle=DAY)
    everything = await room.left()
    planned = await room.evictor.run_once(dry_run=True)
    assert [row.sha256 for row in planned] == [oldest]
    assert await room.left() == everything
    assert await room.evictor.run_once() == planned
    assert await room.left() == everything - {oldest}
    assert await room.evictor.run_once() == []


async def test_collecting_goes_as_far_as_pins_allow(room: Room) -> None:
    pinned = await room.add("a", 1500, idle=3 * DAY)
    await room.add("b", 400, idle=2 * DAY)
    await room.catalog.pin(pinned, "operator", NOW)
    assert [row.size for row in await room.evictor.run_once()] == [400]
    assert await room.left() == {pinned}


async def test_a_reader_of_an_evicted_blob_gets_all_of_it(room: Room) -> None:
    sha256 = await room.add("a", 900, idle=DAY)
    with await asyncio.to_thread(room.store.path(sha256).open, "rb") as reader:
        assert await room.evictor.make_room(500)
        assert await room.left() == set()
        assert hashlib.sha256(await asyncio.to_thread(reader.read)).hexdigest() == sha256
