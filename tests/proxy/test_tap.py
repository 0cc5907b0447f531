"""Bodies that a thread takes straight from the socket, and those that have to come by way of the event loop."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import trustme

from envproxy.engine import tap
from envproxy.errors import UpstreamError
from fixtures.origin import Origin, answer
from fixtures.talks import talking_to
from fixtures.upstream import Cut, Gate, HangAfter
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from envproxy.engine.answers import Body
    from envproxy.engine.upstream import Upstream
    from fixtures.clock import FakeClock
    from fixtures.reports import Reports
    from fixtures.upstream import FakeIndex

BIG = make_wheel("big", "1.0", payload_size=5_000_000)
SMALL = make_wheel("small", "1.0", payload_size=tap.LEAST_BYTES // 2)


@pytest.fixture
async def upstream(index: FakeIndex, reports: Reports, clock: FakeClock) -> AsyncIterator[Upstream]:
    index.add(BIG, SMALL)
    async with talking_to(index.url, reports, clock, read_timeout_s=0.5) as upstream:
        yield upstream


async def taken(body: Body, found: bytearray | None = None) -> bytes | None:
    """What a thread takes, and puts into `found`; None where it cannot."""
    into = bytearray() if found is None else found

    def take(batches: Iterator[memoryview]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        for batch in batches:
            into.extend(batch)

    return bytes(into) if await body.taken_by(take) else None


async def test_a_thread_gets_every_byte_in_order(index: FakeIndex, upstream: Upstream, reports: Reports) -> None:
    async with upstream.stream(index.file_url(BIG.filename)) as body:
        assert await taken(body) == BIG.data
    assert reports.bytes_sent == len(BIG.data)
    assert reports.outcomes == ["ok"]


async def test_the_rest_of_a_file_is_taken_from_its_offset_on(index: FakeIndex, upstream: Upstream) -> None:
    async with upstream.stream(index.file_url(BIG.filename), offset=1_500_000) as body:
        assert (body.start, await taken(body)) == (1_500_000, BIG.data[1_500_000:])


async def test_files_come_whole_one_after_the_other(index: FakeIndex, upstream: Upstream) -> None:
    for _ in range(2):
        async with upstream.stream(index.file_url(BIG.filename)) as body:
            assert await taken(body) == BIG.data
    async with upstream.stream(index.file_url(SMALL.filename)) as body:
        assert b"".join([chunk async for chunk in body.chunks()]) == SMALL.data


async def test_a_small_body_comes_by_way_of_the_event_loop(index: FakeIndex, upstream: Upstream) -> None:
    async with upstream.stream(index.file_url(SMALL.filename)) as body:
        assert await taken(body) is None
        assert b"".join([chunk async for chunk in body.chunks()]) == SMALL.data


async def test_a_chunked_body_comes_by_way_of_the_event_loop(reports: Reports, clock: FakeClock) -> None:
    data = bytes(2 * tap.LEAST_BYTES)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    async with (
        Origin(chunked) as origin,
        talking_to(origin.url, reports, clock) as upstream,
        upstream.stream(f"{origin.url}file") as body,
    ):
        assert await taken(body) is None
        assert b"".join([chunk async for chunk in body.chunks()]) == data


async def test_a_body_under_tls_comes_by_way_of_the_event_loop(reports: Reports, clock: FakeClock) -> None:
    ca = trustme.CA()
    here, there = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.configure_trust(here)
    ca.issue_cert("127.0.0.1").configure_cert(there)
    data = bytes(2 * tap.LEAST_BYTES)
    async with (
        Origin(answer(data), tls=there) as origin,
        talking_to(origin.url, reports, clock, tls=here) as upstream,
        upstream.stream(f"{origin.url}file") as body,
    ):
        assert await taken(body) is None
        assert b"".join([chunk async for chunk in body.chunks()]) == data


async def test_what_is_here_already_is_no_matter_for_a_thread(reports: Reports, clock: FakeClock) -> None:
    """The whole body came with the head, so the connection is given back and nothing is left to be read."""
    data = sha256(b"").digest() * (tap.LEAST_BYTES // 32)
    async with (
        Origin(answer(data)) as origin,
        talking_to(origin.url, reports, clock) as upstream,
        upstream.stream(f"{origin.url}file") as body,
    ):
        found = await taken(body)
        if found is None:  # how much came with the head is the kernel's choice
            found = b"".join([chunk async for chunk in body.chunks()])
    assert found == data


async def test_what_came_before_a_cut_is_not_lost(index: FakeIndex, upstream: Upstream, reports: Reports) -> None:
    index.fail(f"*/{BIG.filename}", Cut(3_000_000))
    found = bytearray()
    with pytest.raises(UpstreamError, match="short") as raised:
        async with upstream.stream(index.file_url(BIG.filename)) as body:
            await taken(body, found)
    assert raised.value.cause == "connect"
    assert found == BIG.data[:3_000_000]
    assert (reports.bytes_sent, reports.outcomes) == (3_000_000, ["connect"])


async def test_what_came_is_told_while_the_rest_is_still_to_come(index: FakeIndex, upstream: Upstream) -> None:
    index.fail(f"*/{BIG.filename}", Gate(1_300_000, event := asyncio.Event()))
    loop, told = asyncio.get_running_loop(), asyncio.Queue[int]()

    def take(batches: Iterator[memoryview]) -> None:
        for batch in batches:
            loop.call_soon_threadsafe(told.put_nowait, len(batch))

    async with upstream.stream(index.file_url(BIG.filename)) as body:
        taking = asyncio.create_task(body.taken_by(take))
        came = 0
        while came < 1_300_000:
            came += await told.get()
        event.set()
        assert await taking


async def test_what_came_before_a_server_fell_silent_is_not_lost(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(f"*/{BIG.filename}", HangAfter(3_000_000))
    found = bytearray()
    with pytest.raises(UpstreamError) as raised:
        async with upstream.stream(index.file_url(BIG.filename)) as body:
            await taken(body, found)
    assert raised.value.cause == "timeout"
    assert found == BIG.data[:3_000_000]
    assert reports.bytes_sent == 3_000_000


async def test_who_is_cancelled_leaves_no_thread_behind(index: FakeIndex, reports: Reports, clock: FakeClock) -> None:
    index.add(BIG)
    index.fail(f"*/{BIG.filename}", HangAfter(2_000_000))
    began, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def take(batches: Iterator[memoryview]) -> None:
        try:
            for _ in batches:
                loop.call_soon_threadsafe(began.set)
        finally:
            ended.set()

    async with talking_to(index.url, reports, clock) as upstream:

        async def get() -> None:
            async with upstream.stream(index.file_url(BIG.filename)) as body:
                await body.taken_by(take)

        task = asyncio.create_task(get())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
    index.clear_faults()


async def test_who_is_cancelled_twice_waits_for_the_thread_all_the_same(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    index.add(BIG)
    reported: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    began, go_on = asyncio.Event(), threading.Event()

    def take(batches: Iterator[memoryview]) -> None:
        next(batches)
        loop.call_soon_threadsafe(began.set)
        go_on.wait()
        raise OSError(28, "No space left on device")

    async with talking_to(index.url, reports, clock) as upstream:

        async def get() -> None:
            async with upstream.stream(index.file_url(BIG.filename)) as body:
                await body.taken_by(take)

        task = asyncio.create_task(get())
        await began.wait()
        for _ in range(2):
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
        waits = not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waits
    del task
    gc.collect()
    assert reported == []


async def test_what_the_taker_raises_is_not_the_servers_fault(index: FakeIndex, upstream: Upstream) -> None:
    def take(batches: Iterator[memoryview]) -> None:
        next(batches)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        async with upstream.stream(index.file_url(BIG.filename)) as body:
            await body.taken_by(take)
