"""Single byte ranges as RFC 9110 section 14 has them, held against a reference that works byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.engine.ranges import Span, Unsatisfiable, requested

ETAG = '"aaaa"'


def asked(header: str | None, total: int, *, if_range: str | None = None, etag: str | None = ETAG) -> Span | None:
    return requested(header, if_range, etag=etag, total=total)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=99-", 99, 100),
        ("bytes=90-1000", 90, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100),
        ("bytes=-1000", 0, 100),
        ("Bytes=5-9", 5, 10),
        ("  bytes=5-9 ", 5, 10),
    ],
)
def test_a_single_range_is_a_span_within_the_whole(header: str, start: int, stop: int) -> None:
    span = asked(header, 100)
    assert span == Span(start, stop, 100)
    assert span.length == stop - start
    assert span.content_range == f"bytes {start}-{stop - 1}/100"


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_is_unsatisfiable(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked(header, 100)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-5"])
def test_nothing_of_an_empty_file_can_be_had_in_part(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked(header, 0)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=1-2,5-9",
        "bytes=0-1,",
        "bytes=--5",
        "bytes=1.5-2",
        "bytes=+1-2",
        "bytes= 1-2",
        "bytes=1 - 2",
        "bytes=\u0661-\u0662",
        "bytes=1-2\n3",
        "items=0-5",
        "bytes=0-" + "9" * 400,
    ],
)
def test_several_ranges_and_rubbish_get_the_whole(header: str | None) -> None:
    assert asked(header, 100) is None


@pytest.mark.parametrize(
    ("if_range", "etag", "part"),
    [
        (None, ETAG, True),
        (ETAG, ETAG, True),
        (f" {ETAG} ", ETAG, True),
        ('"bbbb"', ETAG, False),
        (f"W/{ETAG}", ETAG, False),
        ("Fri, 01 Mar 2024 12:00:00 GMT", ETAG, False),
        (ETAG, None, False),
    ],
)
def test_if_range_holds_only_for_the_very_validator(if_range: str | None, etag: str | None, part: bool) -> None:
    assert (asked("bytes=0-4", 100, if_range=if_range, etag=etag) is not None) is part


def test_if_range_of_another_version_asks_for_the_whole_even_beyond_the_end() -> None:
    assert asked("bytes=100-", 100, if_range='"bbbb"') is None


def byte_by_byte(first: str, last: str, total: int) -> list[int]:
    """The offsets that a range names, looked at one by one."""
    if not first:
        return [offset for offset in range(total) if offset >= total - int(last)]
    return [offset for offset in range(total) if int(first) <= offset <= (int(last) if last else total)]


numbers = st.integers(0, 60).map(str)


@given(first=st.just("") | numbers, last=st.just("") | numbers, total=st.integers(0, 50))
def test_every_range_means_what_it_means_byte_by_byte(first: str, last: str, total: int) -> None:
    backwards = first and last and int(last) < int(first)
    wanted = byte_by_byte(first, last, total) if first or last else []
    try:
        span = asked(f"bytes={first}-{last}", total)
    except Unsatisfiable:
        assert wanted == []
        return
    if span is None:
        assert backwards or not (first or last)
    else:
        assert list(range(span.start, span.stop)) == wanted


@given(header=st.text() | st.from_regex(r"bytes=[0-9, -]{0,20}", fullmatch=True), total=st.integers(0, 10**12))
def test_whatever_a_client_sends_the_span_is_within_the_whole(header: str, total: int) -> None:
    try:
        span = asked(header, total)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.stop <= span.total == total
