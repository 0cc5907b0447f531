"""A download that upstream cuts goes on behind its readers' backs, or ends: it never joins what does not belong."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from envproxy.engine import endurance
from envproxy.errors import BadUpstreamBody, DigestMismatch, UpstreamError
from fixtures.airport import BIG, FILE, SIZE, Airport, Reader
from fixtures.origin import Origin, answer
from fixtures.upstream import Cut, HangAfter, Refuse, Status, Style, WrongBytes

if TYPE_CHECKING:
    pass


@pytest.fixture(autouse=True)
def _no_pauses_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "PAUSES_S", (0.0,) * len(endurance.PAUSES_S))


async def test_a_cut_is_resumed_where_it_was_behind_the_readers_backs(airport: Airport) -> None:
    airport.index.fail(FILE, Cut(700_000), times=1)
    download, flight = airport.fetch()
    assert await Reader(download).task == BIG.data
    await flight
    first, second = airport.starts()
    assert first == 0 < second <= 700_000
    assert airport.index.requests[-1].headers["If-Range"] == f'"{BIG.sha256}"'
    assert airport.blobs() == {BIG.sha256: BIG.data}
    assert airport.reports.outcomes == ["connect", "ok"]


async def test_many_cuts_are_no_trouble_as_long_as_bytes_come(airport: Airport) -> None:
    airport.index.fail(FILE, Cut(500_000), times=3)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
    assert airport.starts() == sorted(airport.starts())
    assert len(set(airport.starts())) == 4


@pytest.mark.parametrize("read_timeout_s", [0.5])
async def test_a_silent_upstream_is_asked_again_for_the_rest(airport: Airport) -> None:
    airport.index.fail(FILE, HangAfter(700_000), times=1)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
    assert airport.starts() == [0, 700_000]


async def test_an_upstream_that_refuses_for_a_while_is_asked_again(airport: Airport) -> None:
    airport.index.fail(FILE, Cut(700_000), times=1)
    airport.index.fail(FILE, Status(503), times=1)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
    assert len(airport.starts()) == 3


async def test_where_upstream_has_no_ranges_the_known_part_is_skipped(airport: Airport) -> None:
    airport.index.style = Style(ranges=False)
    airport.index.fail(FILE, Cut(700_000), times=1)
    airport.index.fail(FILE, Cut(300_000), times=1)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
    assert airport.index.count(path=FILE) == 3


async def test_an_upstream_that_sends_less_than_asked_is_asked_for_more(airport: Airport) -> None:
    data = BIG.data[:100]
    part = "206 Partial Content"
    answers = [
        answer(data[:50], "Content-Range: bytes 0-49/100", status=part),
        answer(data[50:75], "Content-Range: bytes 50-74/100", status=part),
        answer(data[70:], "Content-Range: bytes 70-99/*", status=part),
    ]
    async with Origin(*answers) as origin:
        download, _ = airport.start(origin.url, {"sha256": hashlib.sha256(data).hexdigest()})
        assert await Reader(download).task == data
    assert len(origin.heads) == 3


@pytest.mark.parametrize(
    ("resumed", "complaint"),
    [
        (answer(b"x" * 60, "Content-Range: bytes 50-109/100", status="206 Partial Content"), "sent more of"),
        (
            answer(b"x" * 40, "Content-Range: bytes 60-99/100", status="206 Partial Content"),
            "from 60 on, asked for 50",
        ),
        (answer(b"x" * 50, "Content-Range: bytes 50-99/120", status="206 Partial Content"), "changed its length"),
        (answer(b"x" * 120), "changed its length"),
    ],
    ids=["too long", "a gap", "another length", "another file"],
)
async def test_a_rest_that_does_not_fit_ends_the_download(resumed: bytes, complaint: str, airport: Airport) -> None:
    begun = answer(b"x" * 50, "Content-Range: bytes 0-49/100", status="206 Partial Content")
    async with Origin(begun, resumed) as origin:
        download, flight = airport.start(origin.url, {"sha256": "0" * 64})
        with pytest.raises(BadUpstreamBody, match=complaint):
            await Reader(download).task
        await asyncio.wait([flight])
    assert (airport.blobs(), airport.partials()) == ({}, [])


async def test_a_rest_of_other_bytes_is_caught_by_the_digest(airport: Airport) -> None:
    airport.index.style = Style(validators=False)
    airport.index.fail(FILE, Cut(700_000), times=1)
    airport.index.fail(FILE, WrongBytes(), times=1)
    download, _ = airport.fetch()
    with pytest.raises(DigestMismatch):
        await Reader(download).task
    assert airport.blobs() == {}


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
async def test_without_a_digest_parts_are_joined_only_under_one_validator(airport: Airport, validator: str) -> None:
    part = "206 Partial Content"
    first = answer(b"x" * 50, "Content-Range: bytes 0-49/100", f'{validator}: "monday"', status=part)
    same = answer(b"y" * 50, "Content-Range: bytes 50-99/100", f'{validator}: "monday"', status=part)
    other = answer(b"y" * 50, "Content-Range: bytes 50-99/100", f'{validator}: "tuesday"', status=part)
    async with Origin(first, same) as origin:
        download, flight = airport.start(origin.url, {})
        assert await Reader(download).task == b"x" * 50 + b"y" * 50
        await flight
    async with Origin(first, other) as origin:
        download, flight = airport.start(origin.url, {})
        with pytest.raises(BadUpstreamBody, match="changed upstream while it was downloaded"):
            await Reader(download).task
        await asyncio.wait([flight])
    assert list(airport.blobs().values()) == [b"x" * 50 + b"y" * 50]


async def test_without_a_digest_or_a_validator_parts_are_not_joined(airport: Airport) -> None:
    airport.index.style = Style(validators=False)
    airport.index.fail(FILE, Cut(700_000), times=1)
    download, _ = airport.fetch({})
    with pytest.raises(UpstreamError, match="cut"):
        await Reader(download).task
    assert (airport.index.count(path=FILE), airport.blobs()) == (1, {})


async def test_a_body_without_a_length_is_resumed_too(airport: Airport) -> None:
    airport.index.style = Style(lengths=False)
    airport.index.fail(FILE, Cut(700_000), times=1)
    download, flight = airport.fetch()
    assert await Reader(download).task == BIG.data
    await flight
    assert download.total == SIZE


async def test_without_any_new_byte_it_gives_up(airport: Airport) -> None:
    airport.index.fail(FILE, Cut(700_000), times=1)
    airport.index.fail(FILE, Cut(0))
    download, flight = airport.fetch()
    with pytest.raises(UpstreamError, match="cut") as raised:
        await Reader(download).task
    assert raised.value.cause == "connect"
    await asyncio.wait([flight])
    assert airport.index.count(path=FILE) == 1 + len(endurance.PAUSES_S)
    assert (airport.blobs(), airport.partials()) == ({}, [])


async def test_before_the_first_answer_it_tries_twice(airport: Airport) -> None:
    airport.index.fail(FILE, Status(502), times=1)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
    airport.index.fail(FILE, Status(502), times=2)
    download, _ = airport.fetch()
    with pytest.raises(UpstreamError) as raised:
        await download.opened()
    assert raised.value.cause == "5xx"
    assert airport.index.count(path=FILE) == 4


async def test_a_refused_connection_is_tried_twice_too(airport: Airport) -> None:
    airport.index.fail(FILE, Refuse(), times=1)
    download, _ = airport.fetch()
    assert await Reader(download).task == BIG.data
