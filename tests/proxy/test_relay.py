"""On a full disk downloads go on as relays: right bytes, little memory, nothing stored."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest

from envproxy.engine import download as module
from envproxy.engine.answers import READ_BYTES
from envproxy.engine.download import HOLD_BYTES, TAIL_BYTES
from envproxy.errors import DigestMismatch, EnvproxyError, StorageFull
from fixtures.airport import BIG, FILE, SIZE, Airport, Reader
from fixtures.disk import disk_that_takes
from fixtures.patience import a_moment, until
from fixtures.upstream import Gate, Style, WrongBytes

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("taken", [0, 300_000, SIZE - 1])
async def test_a_disk_that_fills_up_at_any_byte_costs_only_the_cache(taken: int, airport: Airport) -> None:
    with disk_that_takes(taken):
        download, flight = airport.fetch()
        readers = [Reader(download), Reader(download, slow=True), Reader(download, 100_000, 1_000_000)]
        readers[1].step(100)
        assert [await reader.task for reader in readers] == [BIG.data, BIG.data, BIG.data[100_000:1_000_000]]
        await flight
    assert (download.digest, download.stored) == (BIG.sha256, False)
    assert (airport.blobs(), airport.partials(), airport.reports.disk_refusals) == ({}, [], 1)
    assert airport.index.count(path=FILE) == 1
    with pytest.raises(StorageFull):
        await download.blob()


async def test_a_disk_that_takes_no_more_files_at_all_is_not_written_to(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", _no_new_file(os.open))
    download, flight = airport.fetch()
    assert await Reader(download).task == BIG.data
    await flight
    assert (download.stored, airport.blobs(), airport.reports.disk_refusals) == (False, {}, 1)


def _no_new_file(open_file: Callable[..., int]) -> Callable[..., int]:
    def opening(path: object, flags: int, *rest: object) -> int:
        if flags & os.O_CREAT and "/partial/" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(path, flags, *rest)

    return opening


async def test_a_relay_goes_no_faster_than_its_slowest_reader_and_keeps_little(airport: Airport) -> None:
    airport.room = False
    download, _ = airport.fetch()
    fast, slow = Reader(download), Reader(download, slow=True)
    await fast.has(TAIL_BYTES)
    await a_moment()
    assert airport.reports.bytes_sent <= TAIL_BYTES + 2 * READ_BYTES
    while not slow.task.done():
        assert airport.reports.bytes_sent <= len(slow.got) + TAIL_BYTES + 3 * READ_BYTES
        slow.step()
        await a_moment()
    assert await fast.task == await slow.task == BIG.data


async def test_a_reader_that_was_behind_on_disk_when_it_filled_up_is_waited_for(airport: Airport) -> None:
    with disk_that_takes(600_000):
        download, _ = airport.fetch()
        fast, slow = Reader(download), Reader(download, slow=True)
        await fast.has(600_000)
        await a_moment()
        while not slow.task.done():
            slow.step()
            await a_moment()
        assert await slow.task == await fast.task == BIG.data


async def test_a_relay_turns_newcomers_away_once_the_beginning_is_gone(airport: Airport) -> None:
    airport.room = False
    download, _ = airport.fetch()
    slow = Reader(download, slow=True)
    await until(lambda: download.missing == 0 and download.admits_newcomers)
    slow.step(8)
    await slow.has(4 * READ_BYTES)
    await until(lambda: not download.admits_newcomers)
    with pytest.raises(StorageFull, match="too slow"):
        await Reader(download).task
    await slow.leave()


async def test_a_relay_drops_a_reader_that_stalls(airport: Airport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_READER_S", 0.01)
    airport.room = False
    download, _ = airport.fetch()
    fast, stalled = Reader(download), Reader(download, slow=True)
    assert await fast.task == BIG.data
    stalled.step(100)
    with pytest.raises(StorageFull, match="too slow"):
        await stalled.task


async def test_a_relay_withholds_the_end_of_a_part_without_holding_up_the_rest(airport: Airport) -> None:
    airport.room = False
    last_byte = asyncio.Event()
    airport.index.fail(FILE, Gate(SIZE - 1, last_byte))
    download, _ = airport.fetch()
    whole, part, tiny = Reader(download), Reader(download, 0, 500_000), Reader(download, 10, 20)
    await whole.has(SIZE - HOLD_BYTES)
    await a_moment()
    assert len(part.got) <= 500_000 - HOLD_BYTES
    assert tiny.got == b""
    last_byte.set()
    assert [await whole.task, await part.task, await tiny.task] == [BIG.data, BIG.data[:500_000], BIG.data[10:20]]


async def test_a_relay_shows_no_end_of_wrong_bytes_either(airport: Airport) -> None:
    airport.room = False
    airport.index.fail(FILE, WrongBytes())
    download, _ = airport.fetch()
    readers = [Reader(download), Reader(download, 0, 500_000)]
    for reader in readers:
        with pytest.raises(DigestMismatch):
            await reader.task
    assert len(readers[0].got) <= SIZE - HOLD_BYTES
    assert len(readers[1].got) <= 500_000 - HOLD_BYTES
    assert airport.reports.mismatches == ["upstream"]


async def test_a_relay_without_readers_ends_at_once(airport: Airport) -> None:
    airport.room = False
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(SIZE - 10, rest))
    download, flight = airport.fetch()
    reader = Reader(download)
    await reader.has(READ_BYTES)
    await reader.leave()
    rest.set()
    with pytest.raises(EnvproxyError, match="nobody waited"):
        await flight


async def test_room_is_asked_for_once_by_length_and_step_by_step_without_one(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, flight = airport.fetch()
    await flight
    assert airport.asked_for_room == [SIZE]
    monkeypatch.setattr(module, "ROOM_BYTES", 600_000)
    airport.index.style = Style(lengths=False)
    _, flight = airport.fetch()
    await flight
    assert airport.asked_for_room == [SIZE, 600_000, 600_000, 600_000]


async def test_a_body_without_a_length_that_outgrows_its_room_is_relayed(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM_BYTES", 600_000)
    airport.index.style = Style(lengths=False)
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(400_000, rest))
    download, flight = airport.fetch()
    reader = Reader(download)
    await reader.has(300_000)
    airport.room = False
    rest.set()
    assert await reader.task == BIG.data
    await flight
    assert (download.stored, airport.blobs()) == (False, {})
