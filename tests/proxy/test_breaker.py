"""An upstream that fails is left alone, probed now and then, and believed once it answers."""

from __future__ import annotations

import pytest

from envproxy.engine.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from fixtures.clock import FakeClock


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(was_probe=False)


def test_two_failures_are_bad_luck_the_third_in_a_row_opens(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.admits()
    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.admits()


def test_a_success_between_failures_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert not breaker.is_open


def test_one_probe_goes_out_per_pause(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(FIRST_PAUSE_S - 0.1)
    assert not breaker.admits()
    clock.advance(0.1)
    assert breaker.admits()
    assert not breaker.admits()


def test_a_probe_that_never_ends_does_not_keep_the_breaker_open_for_ever(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(FIRST_PAUSE_S)
    assert breaker.admits()
    clock.advance(LONGEST_PAUSE_S)
    assert breaker.admits()


def test_a_probe_that_succeeds_closes_the_breaker(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(FIRST_PAUSE_S)
    assert breaker.admits()
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.admits()
    assert breaker.admits()


def test_a_probe_that_tells_nothing_makes_way_for_another(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(FIRST_PAUSE_S)
    assert breaker.admits()
    assert breaker.is_probing
    breaker.untold(was_probe=True)
    assert not breaker.is_probing
    assert breaker.is_open
    assert breaker.admits()
    assert not breaker.admits()


def test_requests_that_tell_nothing_change_nothing(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.untold(was_probe=False)
    assert not breaker.admits()


def test_requests_that_were_under_way_when_it_opened_do_not_end_the_probe(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(FIRST_PAUSE_S)
    assert breaker.admits()
    breaker.untold(was_probe=False)
    breaker.failed(was_probe=False)
    assert breaker.is_probing
    assert not breaker.admits()
    breaker.failed(was_probe=True)
    assert not breaker.is_probing


def test_each_failed_probe_makes_the_next_pause_longer_up_to_a_bound(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    pauses = []
    for _ in range(6):
        started = clock.now
        while not breaker.admits():
            clock.advance(0.5)
        pauses.append(clock.now - started)
        breaker.failed(was_probe=True)
    assert pauses == [2, 4, 8, 16, 30, 30]


def test_requests_that_were_under_way_when_it_opened_do_not_make_the_pause_longer(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 50)
    clock.advance(FIRST_PAUSE_S)
    assert breaker.admits()


def test_a_stated_pause_opens_at_once_and_for_that_long(breaker: Breaker, clock: FakeClock) -> None:
    breaker.failed(was_probe=False, pause_s=60)
    clock.advance(59)
    assert not breaker.admits()
    clock.advance(1)
    assert breaker.admits()


def test_a_longer_pause_stated_meanwhile_counts_a_shorter_one_does_not(breaker: Breaker, clock: FakeClock) -> None:
    breaker.failed(was_probe=False, pause_s=60)
    breaker.failed(was_probe=False, pause_s=90)
    breaker.failed(was_probe=False, pause_s=10)
    clock.advance(89)
    assert not breaker.admits()
    clock.advance(1)
    assert breaker.admits()
