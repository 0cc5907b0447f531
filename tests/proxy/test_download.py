"""A download in the air: any number of readers, no byte of the end before the digest, no trace left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from envproxy.engine import endurance
from envproxy.engine.download import HOLD_BYTES
from envproxy.errors import DigestMismatch, EnvproxyError, NoSuchThing, UpstreamError
from fixtures.airport import BIG, FILE, SIZE, Airport, Reader
from fixtures.origin import Origin, answer
from fixtures.patience import a_moment, until
from fixtures.upstream import Delay, Gate, HangAfter, Status, Style, WrongBytes

if TYPE_CHECKING:
    pass


# Readers.


async def test_every_reader_gets_all_bytes_of_one_upstream_request(airport: Airport) -> None:
    download, flight = airport.fetch()
    readers = [Reader(download) for _ in range(200)]
    assert {await reader.task for reader in readers} == {BIG.data}
    await flight
    assert airport.index.count(path=FILE) == 1
    assert airport.blobs() == {BIG.sha256: BIG.data}
    assert (download.digest, download.stored, download.missing) == (BIG.sha256, True, 0)


async def test_a_late_reader_tails_what_the_first_one_gets(airport: Airport) -> None:
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(1_000_000, rest))
    download, _ = airport.fetch()
    first = Reader(download)
    await first.has(1_000_000)
    late, part = Reader(download), Reader(download, 900_000, 1_400_000)
    await late.has(1_000_000)
    await part.has(100_000)
    rest.set()
    assert await first.task == await late.task == BIG.data
    assert await part.task == BIG.data[900_000:1_400_000]
    assert airport.index.count(path=FILE) == 1


async def test_a_reader_may_come_after_the_end_until_the_download_is_closed(airport: Airport) -> None:
    download, flight = airport.fetch()
    await flight
    assert await Reader(download).task == BIG.data
    reader = Reader(download, slow=True)
    await reader.has(1)
    download.close()
    reader.step(100)
    assert await reader.task == BIG.data


async def test_a_part_is_exactly_that_part(airport: Airport) -> None:
    download, _ = airport.fetch()
    parts = [(0, 1), (0, SIZE), (SIZE - 1, SIZE), (1000, 300_000), (SIZE - 200_000, SIZE)]
    readers = [Reader(download, *part) for part in parts]
    assert [await reader.task for reader in readers] == [BIG.data[start:stop] for start, stop in parts]


async def test_opened_says_how_long_the_whole_is_or_what_went_wrong(airport: Airport) -> None:
    download, _ = airport.fetch()
    assert await download.opened() == SIZE
    airport.index.style = Style(lengths=False)
    download, _ = airport.fetch()
    assert await download.opened() is None
    airport.index.fail(FILE, Status(404))
    download, _ = airport.fetch()
    with pytest.raises(NoSuchThing):
        await download.opened()


async def test_an_empty_file_is_a_file(airport: Airport) -> None:
    nothing = hashlib.sha256(b"").hexdigest()
    async with Origin(answer(b"")) as origin:
        download, flight = airport.start(origin.url, {"sha256": nothing})
        assert await Reader(download).task == b""
        await flight
    assert airport.blobs() == {nothing: b""}


# The last bytes.


async def test_no_reader_has_the_end_before_the_digest_matched(airport: Airport) -> None:
    last_byte = asyncio.Event()
    airport.index.fail(FILE, Gate(SIZE - 1, last_byte))
    download, _ = airport.fetch()
    whole, part, tiny = Reader(download), Reader(download, 0, 500_000), Reader(download, 10, 20)
    await until(lambda: download.missing == 1)
    await whole.has(SIZE - HOLD_BYTES)
    await part.has(500_000 - HOLD_BYTES)
    await a_moment()
    assert len(whole.got) == SIZE - HOLD_BYTES
    assert len(part.got) == 500_000 - HOLD_BYTES
    assert tiny.got == b""
    last_byte.set()
    assert await whole.task == BIG.data
    assert await part.task == BIG.data[:500_000]
    assert await tiny.task == BIG.data[10:20]


async def test_without_a_length_the_newest_bytes_are_withheld(airport: Airport) -> None:
    rest = asyncio.Event()
    airport.index.style = Style(lengths=False)
    airport.index.fail(FILE, Gate(1_000_000, rest))
    download, flight = airport.fetch()
    reader = Reader(download)
    await reader.has(1_000_000 - HOLD_BYTES)
    await a_moment()
    assert len(reader.got) == 1_000_000 - HOLD_BYTES
    rest.set()
    assert await reader.task == BIG.data
    await flight
    assert download.total == SIZE


async def test_what_readers_wait_for_is_the_digest_and_not_the_disk(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.wait(5), sync(fd)))
    download, flight = airport.fetch()
    assert await Reader(download).task == BIG.data
    assert (download.stored, airport.blobs()) == (False, {})
    synced.set()
    await flight
    assert download.stored


async def test_wrong_bytes_reach_no_end_and_leave_nothing(airport: Airport) -> None:
    airport.index.fail(FILE, WrongBytes(), times=1)
    download, flight = airport.fetch()
    readers = [Reader(download), Reader(download, 0, 500_000), Reader(download, SIZE - 10, SIZE)]
    for reader in readers:
        with pytest.raises(DigestMismatch, match="are not what its index promises"):
            await reader.task
    with pytest.raises(DigestMismatch):
        await flight
    assert len(readers[0].got) <= SIZE - HOLD_BYTES
    assert len(readers[1].got) <= 500_000 - HOLD_BYTES
    assert readers[2].got == b""
    assert airport.reports.mismatches == ["upstream"]
    assert (airport.blobs(), airport.partials(), download.admits_newcomers) == ({}, [], False)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "blake2b"])
async def test_without_a_sha256_another_digest_is_demanded(algorithm: str, airport: Airport) -> None:
    right = {algorithm: hashlib.new(algorithm, BIG.data, usedforsecurity=False).hexdigest()}
    airport.index.fail(FILE, WrongBytes(), times=1)
    _, flight = airport.fetch(right)
    with pytest.raises(DigestMismatch, match=f"{algorithm} "):
        await flight
    assert (airport.blobs(), airport.reports.mismatches) == ({}, ["upstream"])
    _, flight = airport.fetch(right)
    await flight
    assert airport.blobs() == {BIG.sha256: BIG.data}


async def test_where_no_digest_was_given_the_bytes_name_themselves(airport: Airport) -> None:
    download, flight = airport.fetch({})
    await flight
    assert download.digest == BIG.sha256
    assert airport.blobs() == {BIG.sha256: BIG.data}


# Leaving.


async def test_the_flight_survives_its_only_reader(airport: Airport) -> None:
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(700_000, rest))
    download, flight = airport.fetch()
    reader = Reader(download)
    await reader.has(300_000)
    await reader.leave()
    rest.set()
    await flight
    assert airport.blobs() == {BIG.sha256: BIG.data}


@pytest.mark.parametrize("fault", [Gate, Delay], ids=["within the body", "before the answer"])
async def test_a_long_way_to_go_is_not_gone_for_nobody(
    fault: type[Gate | Delay], airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endurance, "_NEAR_BYTES", 0)
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(130_000, rest) if fault is Gate else Delay(rest))
    download, flight = airport.fetch()
    reader = Reader(download)
    await airport.index.arrived(FILE)
    if fault is Gate:
        await reader.has(1)
    await reader.leave()
    rest.set()
    with pytest.raises(EnvproxyError, match="given up: nobody waited"):
        await flight
    assert (download.admits_newcomers, airport.blobs(), airport.partials()) == (False, {}, [])


async def test_who_waits_for_the_answer_counts_as_a_reader(airport: Airport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "_NEAR_BYTES", 0)
    answered = asyncio.Event()
    airport.index.fail(FILE, Delay(answered))
    download, flight = airport.fetch()
    waiting = asyncio.create_task(download.opened())
    await airport.index.arrived(FILE)
    waiting.cancel()
    answered.set()
    with pytest.raises(EnvproxyError, match="nobody waited"):
        await flight


async def test_readers_that_leave_leave_no_trace(airport: Airport) -> None:
    rest = asyncio.Event()
    airport.index.fail(FILE, Gate(700_000, rest))
    download, flight = airport.fetch()
    tailing, waiting, slow = Reader(download), Reader(download, 800_000, 900_000), Reader(download, slow=True)
    opening = asyncio.create_task(download.opened())
    await tailing.has(600_000)
    assert "3 readers" in repr(download)
    for reader in (tailing, waiting, slow):
        await reader.leave()
    await opening
    assert "0 readers" in repr(download)
    rest.set()
    await flight
    assert len(airport.open_files()) == 1
    download.close()
    await until(lambda: airport.open_files() == [])


async def test_the_last_reader_closes_what_the_flight_left_open(airport: Airport) -> None:
    download, flight = airport.fetch()
    reader = Reader(download, slow=True)
    await flight
    download.close()
    await a_moment()
    assert len(airport.open_files()) == 1
    await reader.leave()
    await until(lambda: airport.open_files() == [])


async def test_a_stopped_download_ends_its_readers_and_keeps_nothing(airport: Airport) -> None:
    airport.index.fail(FILE, HangAfter(700_000))
    download, flight = airport.fetch()
    reader = Reader(download)
    await reader.has(600_000)
    flight.cancel()
    with pytest.raises(UpstreamError, match="was stopped") as raised:
        await reader.task
    assert raised.value.status == 503
    assert await asyncio.gather(flight, return_exceptions=True) == [flight] or flight.cancelled()
    assert airport.partials() == []


async def test_a_blob_that_is_being_published_is_published_even_if_the_download_is_stopped(
    airport: Airport, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on, sync = threading.Event(), threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (reached.set(), go_on.wait(5), sync(fd)))
    download, flight = airport.fetch()
    assert await asyncio.to_thread(reached.wait, 30)
    flight.cancel()
    await a_moment()
    assert not flight.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await flight
    assert download.stored
    assert airport.blobs() == {BIG.sha256: BIG.data}


async def test_a_failing_disk_ends_the_readers_too(airport: Airport, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    download, flight = airport.fetch()
    reader = Reader(download)
    with pytest.raises(EnvproxyError, match="failed inside this proxy") as raised:
        await reader.task
    assert raised.value.status == 500
    with pytest.raises(OSError, match="Input/output error"):
        await flight
    assert airport.partials() == []


async def test_who_needs_the_blob_waits_until_it_is_stored(airport: Airport) -> None:
    download, _ = airport.fetch()
    assert airport.store.path(await download.blob()).stat().st_size == SIZE
    airport.index.fail(FILE, WrongBytes(), times=1)
    download, _ = airport.fetch()
    with pytest.raises(DigestMismatch):
        await download.blob()
