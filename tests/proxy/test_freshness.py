"""How long answers may be used: bounded by what upstream states, by our cap, and by the moment a verdict flips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.engine.freshness import (
    ABSENT_S,
    BEHIND_S,
    CAP_S,
    RETRY_S,
    SHORT_S,
    Moment,
    Span,
    absent_span,
    known_span,
    lifetime,
    max_age,
    narrowest,
    retry_after,
    wants_revalidation,
)

NOW = 1_709_900_000.0


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("max-age=100", None, 100),
        ("max-age=100", "40", 60),
        ("public, max-age=100, must-revalidate", None, 100),
        ("Max-Age=100", None, 100),
        ('max-age="100"', None, 100),
        ("max-age = 100", None, 100),
        ("max-age=100, s-maxage=200", None, 200),
        ('private="a, b", max-age=100', None, 100),
        ("max-age=100000", None, CAP_S),
        ("max-age=" + "9" * 5000, None, CAP_S),
        ("max-age=100", "90", SHORT_S),
        ("max-age=100", "5000", SHORT_S),
        ("max-age=0", None, SHORT_S),
        ("no-cache", None, SHORT_S),
        ("max-age=100, no-store", None, SHORT_S),
        (None, None, 300),
        ("", "40", 300),
        ("public", None, 300),
        ("max-age=soon", None, 300),
        ("max-age=-5", None, 300),
        ("x-max-age=5", None, 300),
    ],
)
def test_an_answer_lives_as_long_as_its_headers_say_within_bounds(
    cache_control: str | None, age: str | None, seconds: float
) -> None:
    assert lifetime(cache_control, age, default_s=300) == seconds


def test_a_default_above_the_cap_is_capped_and_one_below_the_shortest_holds_for_no_cache() -> None:
    assert lifetime(None, None, default_s=86_400) == CAP_S
    assert lifetime("no-cache", None, default_s=5) == 5


def test_a_known_page_is_fresh_then_served_behind_a_refresh_then_refreshed_first() -> None:
    span = known_span(NOW, 100)
    assert span.at(NOW) is span.at(NOW + 99.9) is Moment.FRESH
    assert span.at(NOW + 100) is span.at(NOW + 99.9 + BEHIND_S) is Moment.BEHIND
    assert span.at(NOW + 100 + BEHIND_S) is Moment.FIRST


def test_an_absence_is_never_served_past_its_time() -> None:
    span = absent_span(NOW)
    assert span.at(NOW + ABSENT_S - 0.1) is Moment.FRESH
    assert span.at(NOW + ABSENT_S) is Moment.FIRST


@pytest.mark.parametrize(
    ("left", "flips_in", "seconds"),
    [
        (100, None, 100),
        (100.9, None, 100),
        (0, None, 0),
        (-5, None, 0),
        (10_000, None, CAP_S),
        (100, 40, 40),
        (100, -1, 0),
    ],
)
def test_clients_get_what_is_left_but_nothing_past_a_flip(left: float, flips_in: float | None, seconds: int) -> None:
    flips_at = None if flips_in is None else NOW + flips_in
    assert max_age(NOW, NOW + left, flips_at=flips_at) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 1),
        ("100000", 120),
        ("9" * 5000, 120),
        (None, RETRY_S),
        ("", RETRY_S),
        ("-3", RETRY_S),
        ("1.5", RETRY_S),
        ("٣", RETRY_S),
        ("Fri, 31 Dec 1999 23:59:59 GMT", RETRY_S),
    ],
)
def test_retry_after_is_a_number_that_clients_can_wait_for(header: str | None, seconds: int) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize(
    ("header", "wants"),
    [(None, False), ("", False), ("no-cache", True), ("No-Cache, max-age=0", True), ("max-age=0", False)],
)
def test_only_no_cache_asks_past_our_freshness(header: str | None, wants: bool) -> None:
    assert wants_revalidation(header) is wants


headers = (
    st.none() | st.text() | st.from_regex(r"(max-age|s-maxage|no-cache|x) ?=? ?[\"0-9a-z, -]{0,30}", fullmatch=True)
)
defaults = st.floats(1, 10**6)
moments = st.floats(10**9, 2 * 10**9)  # of one size, so that differences are exact
spans = st.builds(lambda fresh, more: Span(fresh, fresh + more), moments, st.floats(0, 10**6))


@given(cache_control=headers, age=st.none() | st.text() | st.integers().map(str), default_s=defaults)
def test_no_header_makes_a_lifetime_leave_its_bounds(
    cache_control: str | None, age: str | None, default_s: float
) -> None:
    assert min(SHORT_S, default_s) <= lifetime(cache_control, age, default_s=default_s) <= CAP_S


@given(stated=st.integers(0, 10**6), ages=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_an_older_answer_never_lives_longer(stated: int, ages: tuple[int, int]) -> None:
    younger, older = (lifetime(f"max-age={stated}", str(age), default_s=300) for age in sorted(ages))
    assert older <= younger


@given(now=moments, fresh_until=moments, flips_at=st.none() | moments)
def test_max_age_is_a_bounded_number_that_never_outlives_freshness_or_a_flip(
    now: float, fresh_until: float, flips_at: float | None
) -> None:
    seconds = max_age(now, fresh_until, flips_at=flips_at)
    assert 0 <= seconds <= CAP_S
    if seconds:
        assert now + seconds <= min(fresh_until, fresh_until if flips_at is None else flips_at)


@given(spans=st.lists(spans, min_size=1), now=moments)
def test_an_answer_that_rests_on_several_is_no_fresher_than_the_worst(spans: list[Span], now: float) -> None:
    order = [Moment.FRESH, Moment.BEHIND, Moment.FIRST]
    assert order.index(narrowest(spans).at(now)) == max(order.index(span.at(now)) for span in spans)


@given(header=headers)
def test_retry_after_is_within_its_bounds_whatever_upstream_says(header: str | None) -> None:
    assert 1 <= retry_after(header) <= 120
