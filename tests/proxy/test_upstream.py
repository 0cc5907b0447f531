"""One upstream: three kinds of answers, each with one exact outcome, and no exception of aiohttp."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from envproxy.engine.breaker import FIRST_PAUSE_S
from envproxy.engine.upstream import Absent, Fetched, NotModified
from envproxy.errors import BadUpstreamBody, UpstreamError
from fixtures.clock import FakeClock
from fixtures.origin import Origin, answer
from fixtures.reports import Reports
from fixtures.talks import failure, head_of, page, talking_to
from fixtures.upstream import Cut, Delay, FakeIndex, Hang, HangAfter, RawBody, Refuse, Status, Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from envproxy.engine.upstream import Upstream

ALPHA = make_wheel("alpha", "1.0")
PAGE = "/simple/alpha/"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture(autouse=True)
def _listed(index: FakeIndex) -> None:
    index.add(ALPHA)


@pytest.fixture
async def upstream(index: FakeIndex, reports: Reports, clock: FakeClock) -> AsyncIterator[Upstream]:
    async with talking_to(index.url, reports, clock) as upstream:
        yield upstream


# Answers.


async def test_a_page_comes_with_what_upstream_said_about_it(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.style = Style(cache_control="max-age=60")
    found = await page(upstream)
    assert isinstance(found, Fetched)
    assert (found.url, found.content_type, found.cache_control) == (f"{index.url}alpha/", JSON, "max-age=60")
    assert ALPHA.filename.encode() in found.body
    assert head_of(index)["Accept"] == JSON
    assert reports.outcomes == ["ok"]
    assert reports.bytes_sent == len(found.body)


async def test_a_page_that_did_not_change_is_not_sent_again(upstream: Upstream, reports: Reports) -> None:
    first = await page(upstream)
    assert isinstance(first, Fetched)
    assert first.etag
    assert isinstance(await page(upstream, etag=first.etag), NotModified)
    assert reports.outcomes == ["ok", "not_modified"]
    assert reports.bytes_sent == len(first.body)


async def test_without_an_etag_the_date_is_asked_for(index: FakeIndex, upstream: Upstream) -> None:
    await page(upstream, last_modified="Fri, 01 Mar 2024 12:00:00 GMT")
    assert head_of(index)["If-Modified-Since"] == "Fri, 01 Mar 2024 12:00:00 GMT"


@pytest.mark.parametrize("status", [404, 410])
async def test_no_such_page_is_an_answer_and_no_failure(
    status: int, index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Status(status))
    for _ in range(4):
        assert isinstance(await page(upstream), Absent)
    assert reports.outcomes == ["4xx"] * 4
    assert reports.breaker == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "check the credentials of upstream corp"),
        (403, "check the credentials of upstream corp, or set its forbidden-is-absent"),
    ],
)
async def test_a_refusal_is_a_failure_that_hints_at_credentials(
    status: int, hint: str, index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Status(status))
    error = await failure(upstream)
    assert (error.status, error.cause, error.hint) == (503, "4xx", hint)
    assert reports.outcomes == ["4xx"]


async def test_403_is_an_absence_where_the_operator_says_so(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    index.style = Style(unknown_is=403)
    index.remove_project("alpha")
    async with talking_to(index.url, reports, clock, forbidden_is_absent=True) as upstream:
        assert isinstance(await page(upstream), Absent)
        index.fail(PAGE, Status(401))
        assert (await failure(upstream)).cause == "4xx"


async def test_an_answer_that_is_neither_page_nor_refusal_is_unusable(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Status(204))
    assert (await failure(upstream)).cause == "bad_body"
    assert reports.outcomes == ["bad_body"]


async def test_an_error_page_of_another_kind_is_still_a_page_for_the_parser(
    index: FakeIndex, upstream: Upstream
) -> None:
    index.fail(PAGE, RawBody(b"<h1>Welcome to the hotel</h1>", "text/html"))
    found = await page(upstream)
    assert isinstance(found, Fetched)
    assert found.content_type == "text/html"


# Failures.


async def test_a_5xx_is_asked_about_once_more(index: FakeIndex, upstream: Upstream, reports: Reports) -> None:
    index.fail(PAGE, Status(502), times=1)
    assert isinstance(await page(upstream), Fetched)
    assert reports.outcomes == ["5xx", "ok"]
    index.fail(PAGE, Status(502))
    assert (await failure(upstream)).cause == "5xx"
    assert reports.outcomes == ["5xx", "ok", "5xx", "5xx"]


async def test_a_5xx_of_what_is_not_vital_says_nothing_about_the_server(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Status(500))
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await upstream.fetch(f"{index.url}alpha/", accept=JSON, vital=False)
    assert reports.outcomes == ["5xx"] * 6
    assert reports.breaker == []


async def test_too_many_requests_opens_the_breaker_for_as_long_as_upstream_says(
    index: FakeIndex, upstream: Upstream, reports: Reports, clock: FakeClock
) -> None:
    index.fail(PAGE, Status(429, {"Retry-After": "7"}), times=1)
    error = await failure(upstream)
    assert (error.cause, error.retry_after_s) == ("4xx", 7)
    clock.advance(6)
    assert (await failure(upstream)).cause == "breaker_open"
    assert index.count() == 1
    clock.advance(1)
    assert isinstance(await page(upstream), Fetched)
    assert reports.outcomes == ["4xx", "breaker_open", "ok"]
    assert reports.breaker == [True, False]


async def test_a_server_that_is_down_is_tried_twice_then_left_alone_until_one_probe_tells_for_all(
    index: FakeIndex, upstream: Upstream, reports: Reports, clock: FakeClock
) -> None:
    await index.stop()
    assert (await failure(upstream)).cause == "connect"
    assert (await failure(upstream)).cause == "connect"
    assert (await failure(upstream)).cause == "breaker_open"
    assert reports.outcomes == ["connect", "connect", "connect", "breaker_open"]
    await index.start()
    clock.advance(FIRST_PAUSE_S)
    answered = asyncio.Event()
    index.fail(PAGE, Delay(answered), times=1)
    probe = asyncio.create_task(page(upstream))
    await index.arrived(PAGE)
    waiting = [asyncio.create_task(page(upstream)) for _ in range(5)]
    await asyncio.sleep(0)
    assert index.count("GET", PAGE) == 1
    answered.set()
    assert all(isinstance(answer, Fetched) for answer in await asyncio.gather(probe, *waiting))
    assert reports.breaker == [True, False]


async def test_a_probe_that_is_cancelled_keeps_nobody_waiting(
    index: FakeIndex, upstream: Upstream, clock: FakeClock
) -> None:
    index.fail(PAGE, Status(429, {"Retry-After": "7"}), times=1)
    index.fail(PAGE, Hang(), times=1)
    await failure(upstream)
    clock.advance(7)
    probe = asyncio.create_task(page(upstream))
    await index.arrived(PAGE, times=2)
    waiting = asyncio.create_task(page(upstream))
    await asyncio.sleep(0)
    probe.cancel()
    assert isinstance(await waiting, Fetched)


async def test_a_connection_that_drops_before_the_answer_is_made_anew(index: FakeIndex, upstream: Upstream) -> None:
    index.fail(PAGE, Refuse(), times=1)
    assert isinstance(await page(upstream), Fetched)


async def test_a_page_cut_short_is_asked_for_once_more_and_counted_as_cut(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Cut(100), times=1)
    assert isinstance(await page(upstream), Fetched)
    assert reports.outcomes == ["connect", "ok"]


@pytest.mark.parametrize("fault", [Hang(), HangAfter(100)], ids=["before the answer", "within the body"])
async def test_silence_is_a_timeout_and_not_asked_again(
    fault: Hang | HangAfter, index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    index.fail(PAGE, fault)
    async with talking_to(index.url, reports, clock, read_timeout_s=0.1) as upstream:
        error = await failure(upstream)
    assert (error.cause, error.message) == ("timeout", "127.0.0.1 did not answer in time")
    assert reports.outcomes == ["timeout"]
    assert index.count() == 1


BOMB = gzip.compress(bytes(200_000_000), compresslevel=9)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02 this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        answer(b"no gzip at all", "Content-Encoding: gzip"),
        answer(b"", "Location: file:///etc/passwd", status="302 Found"),
        answer(b"", "Location: http://[::1/", status="302 Found"),
        answer(b"", "Location: /simple/alpha/", status="302 Found"),
        answer(b"", status="302 Found"),
        answer(b"x" * 1_000_001),
        answer(BOMB, "Content-Encoding: gzip"),
    ],
    ids=[
        "garbage", "bad chunk", "negative length", "huge header", "no gzip",
        "to a file", "to no URL", "in circles", "to nowhere", "too large", "gzip bomb",
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused_at_once(raw: bytes, reports: Reports, clock: FakeClock) -> None:
    async with Origin(raw) as origin, talking_to(origin.url, reports, clock) as upstream:
        error = await failure(upstream)
    assert (error.status, error.cause) == (503, "bad_body")
    assert reports.outcomes == ["bad_body"]


async def test_a_gzip_bomb_costs_no_memory(reports: Reports, clock: FakeClock) -> None:
    async with (
        Origin(answer(BOMB, "Content-Encoding: gzip")) as origin,
        talking_to(origin.url, reports, clock) as upstream,
    ):
        tracemalloc.start()
        try:
            await failure(upstream)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://",
        "http://[::1/x",
        "http://host:99999/",
        "ftp://example.org/",
        f"http://{'a' * 64}.example.org/",
    ],
)
async def test_links_that_are_no_http_urls_are_not_followed(url: str, upstream: Upstream) -> None:
    with pytest.raises(BadUpstreamBody):
        await upstream.fetch(url, accept=JSON)


async def test_a_cancelled_request_that_was_not_answered_has_no_outcome(
    index: FakeIndex, upstream: Upstream, reports: Reports
) -> None:
    index.fail(PAGE, Hang())
    asking = asyncio.create_task(page(upstream))
    await index.arrived(PAGE)
    asking.cancel()
    await asyncio.wait([asking])
    assert reports.outcomes == []
