"""Files of an upstream: whole, the rest of one, a part of one, or only its length."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from envproxy.engine.upstream import Fetched
from envproxy.errors import BadUpstreamBody, NoSuchThing, UpstreamError
from fixtures.clock import FakeClock
from fixtures.origin import Origin, answer
from fixtures.reports import Reports
from fixtures.talks import head_of, read, talking_to
from fixtures.upstream import Cut, FakeIndex, Gate, Status, Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from envproxy.engine.upstream import Upstream

ALPHA = make_wheel("alpha", "1.0", payload_size=200_000)
FILE = f"/files/alpha/{ALPHA.filename}"


@pytest.fixture(autouse=True)
def _listed(index: FakeIndex) -> None:
    index.add(ALPHA)


@pytest.fixture
async def upstream(index: FakeIndex, reports: Reports, clock: FakeClock) -> AsyncIterator[Upstream]:
    async with talking_to(index.url, reports, clock) as upstream:
        yield upstream


async def test_a_file_is_asked_for_as_it_lies_there(index: FakeIndex, upstream: Upstream, reports: Reports) -> None:
    async with upstream.stream(index.file_url(ALPHA.filename)) as body:
        assert (body.start, body.total, body.validator) == (0, len(ALPHA.data), f'"{ALPHA.sha256}"')
        assert b"".join([chunk async for chunk in body.chunks()]) == ALPHA.data
    assert head_of(index)["Accept-Encoding"] == "identity"
    assert "Range" not in head_of(index)
    assert reports.outcomes == ["ok"]
    assert reports.bytes_sent == len(ALPHA.data)


async def test_the_rest_of_a_file_is_asked_for_by_range_and_validator(index: FakeIndex, upstream: Upstream) -> None:
    validator = f'"{ALPHA.sha256}"'
    async with upstream.stream(index.file_url(ALPHA.filename), offset=150_000, if_range=validator) as body:
        assert (body.start, body.total) == (150_000, len(ALPHA.data))
        assert b"".join([chunk async for chunk in body.chunks()]) == ALPHA.data[150_000:]
    assert head_of(index)["Range"] == "bytes=150000-"
    assert head_of(index)["If-Range"] == validator


@pytest.mark.parametrize("poor", ["no ranges", "changed"])
async def test_the_whole_file_comes_where_its_rest_cannot(poor: str, index: FakeIndex, upstream: Upstream) -> None:
    index.style = Style(ranges=poor != "no ranges")
    async with upstream.stream(index.file_url(ALPHA.filename), offset=150_000, if_range='"other"') as body:
        assert (body.start, body.total) == (0, len(ALPHA.data))


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        (['ETag: "a"', "Last-Modified: Fri, 01 Mar 2024 12:00:00 GMT"], '"a"'),
        (['ETag: W/"a"', "Last-Modified: Fri, 01 Mar 2024 12:00:00 GMT"], "Fri, 01 Mar 2024 12:00:00 GMT"),
        (['ETag: W/"a"'], None),
        ([], None),
    ],
)
async def test_only_a_strong_etag_or_a_date_can_vouch_for_the_rest(
    headers: list[str], validator: str | None, reports: Reports, clock: FakeClock
) -> None:
    async with (
        Origin(answer(b"bytes", *headers)) as origin,
        talking_to(origin.url, reports, clock) as upstream,
        upstream.stream(origin.url) as body,
    ):
        assert body.validator == validator


@pytest.mark.parametrize("status", [404, 410])
async def test_a_file_that_is_gone_is_no_such_thing(status: int, index: FakeIndex, upstream: Upstream) -> None:
    index.fail(FILE, Status(status))
    with pytest.raises(NoSuchThing, match=ALPHA.filename):
        await read(upstream, index.file_url(ALPHA.filename))


async def test_a_part_that_does_not_say_which_is_unusable(reports: Reports, clock: FakeClock) -> None:
    raw = answer(b"bytes", status="206 Partial Content")
    async with Origin(raw) as origin, talking_to(origin.url, reports, clock) as upstream:
        with pytest.raises(BadUpstreamBody, match="without saying which"):
            await read(upstream, origin.url)
    assert reports.outcomes == ["bad_body"]


async def test_a_body_that_breaks_off_raises_and_counts_once(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(FILE, Cut(100_000))
    with pytest.raises(UpstreamError, match=f"cut {ALPHA.filename} short") as raised:
        await read(upstream, index.file_url(ALPHA.filename))
    assert raised.value.cause == "connect"
    assert reports.outcomes == ["connect"]
    assert reports.bytes_sent == 100_000


async def test_chunks_are_small_however_fast_they_come(index: FakeIndex, upstream: Upstream) -> None:
    async with upstream.stream(index.file_url(ALPHA.filename)) as body:
        assert max([len(chunk) async for chunk in body.chunks()]) <= 64 * 1024


async def test_large_files_leave_some_connections_to_pages(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    end = asyncio.Event()
    index.fail(FILE, Gate(10, end))
    async with talking_to(index.url, reports, clock, max_connections=5) as upstream:
        files = [asyncio.create_task(read(upstream, index.file_url(ALPHA.filename))) for _ in range(9)]
        await index.arrived(FILE, times=4)
        assert isinstance(await upstream.fetch(f"{index.url}alpha/", accept="*/*"), Fetched)
        assert index.count(path=FILE) == 4
        end.set()
        assert await asyncio.gather(*files) == [ALPHA.data] * 9


async def test_a_part_of_a_file_is_read_by_range(index: FakeIndex, upstream: Upstream, reports: Reports) -> None:
    assert await upstream.read_range(index.file_url(ALPHA.filename), 1000, 3000) == ALPHA.data[1000:3000]
    assert head_of(index)["Range"] == "bytes=1000-2999"
    assert reports.outcomes == ["ok"]
    assert reports.bytes_sent == 2000


async def test_a_server_without_ranges_is_told_apart_and_its_body_not_read(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.style = Style(ranges=False)
    assert await upstream.read_range(index.file_url(ALPHA.filename), 1000, 3000) is None
    assert reports.bytes_sent == 0


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"x" * 10, "Content-Range: bytes 50-59/100", status="206 Partial Content"),
        answer(b"x" * 9, "Content-Range: bytes 10-18/100", status="206 Partial Content"),
        answer(b"x" * 11, "Content-Range: bytes 10-20/100", status="206 Partial Content"),
        answer(b"x" * 10, status="206 Partial Content"),
    ],
    ids=["another part", "too short", "too long", "no Content-Range"],
)
async def test_another_part_than_the_one_asked_for_is_unusable(
    raw: bytes, reports: Reports, clock: FakeClock
) -> None:
    async with Origin(raw) as origin, talking_to(origin.url, reports, clock) as upstream:
        with pytest.raises(BadUpstreamBody):
            await upstream.read_range(origin.url, 10, 20)
    assert reports.outcomes == ["bad_body"]


async def test_a_part_that_breaks_off_is_an_error_of_ours(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(FILE, Cut(5))
    with pytest.raises(UpstreamError) as raised:
        await upstream.read_range(index.file_url(ALPHA.filename), 10, 20)
    assert (raised.value.cause, reports.outcomes) == ("connect", ["connect"])


async def test_the_length_of_a_file_is_asked_for_by_head(index: FakeIndex, upstream: Upstream) -> None:
    assert await upstream.length(index.file_url(ALPHA.filename)) == len(ALPHA.data)
    index.style = Style(lengths=False)
    assert await upstream.length(index.file_url(ALPHA.filename)) is None
    assert index.count("HEAD") == index.count() == 2


async def test_what_the_status_line_says_of_a_refusal_is_told(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    refusal = b"HTTP/1.1 403 alpha is quarantined\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with Origin(refusal) as origin, talking_to(origin.url, reports, clock) as upstream:
        with pytest.raises(UpstreamError, match=r"answered 403 for alpha.whl: alpha is quarantined$") as raised:
            await read(upstream, f"{origin.url}alpha.whl")
    assert raised.value.answered == 403


async def test_a_failure_of_what_is_not_vital_leaves_the_breaker_closed(index: FakeIndex, upstream: Upstream) -> None:
    index.fail(FILE, Status(503), times=4)
    for _ in range(4):
        with pytest.raises(UpstreamError, match=r"answered 503 for [^:]*$"):
            await read(upstream, index.file_url(ALPHA.filename), vital=False)
    assert await read(upstream, index.file_url(ALPHA.filename)) == ALPHA.data


async def test_demands_go_along_with_the_request(index: FakeIndex, upstream: Upstream) -> None:
    await read(upstream, index.file_url(ALPHA.filename), demands={"X-Expected-SHA256": ALPHA.sha256})
    assert head_of(index)["X-Expected-SHA256"] == ALPHA.sha256


async def test_all_that_came_meanwhile_may_be_one_chunk(index: FakeIndex, upstream: Upstream) -> None:
    async with upstream.stream(index.file_url(ALPHA.filename)) as body:
        assert b"".join([chunk async for chunk in body.chunks(most=None)]) == ALPHA.data
