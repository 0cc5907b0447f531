"""How soon agents may ask again: the directory's share of a core is bounded, and a small swarm does not notice."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.swarm.pace import LONGEST_S, SHARE, SHORTEST_S, Pace, pause_s


def test_a_small_swarm_asks_whenever_it_has_news():
    assert pause_s(32, 0.0005) == 0.0


def test_hundreds_ask_as_often_as_their_share_of_a_core_allows():
    assert pause_s(500, 0.0006) == pytest.approx(0.5)


@given(st.integers(1, 5000), st.floats(0.0002, 0.002))
def test_no_swarm_takes_more_than_its_share_unless_the_longest_pause_is_too_short(asking: int, cost_s: float):
    pause = pause_s(asking, cost_s)

    assert pause == 0.0 or SHORTEST_S <= pause <= LONGEST_S
    if pause == 0.0:
        assert asking * cost_s / SHARE < SHORTEST_S
    elif pause < LONGEST_S:
        assert asking * cost_s / pause == pytest.approx(SHARE)


def test_those_who_ask_together_are_not_told_to_do_so_again():
    pace = Pace(Random(1))

    pauses = [pace.asks(number, 1000.0, 0.0) for number in range(500)][400:]

    assert len(set(pauses)) == 100
    assert 0.75 * pause_s(401, 0.0005) <= min(pauses) < max(pauses) <= 1.25 * pause_s(500, 0.0005)


def test_whoever_asks_again_counts_once():
    pace = Pace(Random(1))

    for _ in range(200):
        paused = pace.asks("node-1", 1000.0, 0.0)

    assert paused == 0.0


def test_who_has_ended_or_fell_silent_does_not_count():
    pace = Pace(Random(1))
    for number in range(100):
        paused = pace.asks(f"ends-{number}", 1000.0, 0.0)
    assert paused > 0
    for number in range(100):
        pace.ends(f"ends-{number}")
    assert pace.asks("other", 1000.0, 0.0) == 0.0

    for number in range(500):
        pace.asks(f"silent-{number}", 1001.0, 0.0)
    assert pace.asks("other", 1003.9, 0.0) > 0
    assert pace.asks("other", 1004.0, 0.0) == 0.0


def test_who_has_not_asked_ends_nothing():
    Pace(Random(1)).ends("node-1")


def ask_for(pace: Pace, seconds: int, questions: int, cost_s: float) -> None:
    """So many seconds of so many questions of one node, at a cost each."""
    for second in range(seconds):
        for number in range(questions):
            pace.asks("node-1", 1000.0 + second + number / questions, (second * questions + number) * cost_s)


def test_the_cost_of_a_question_is_measured():
    pace = Pace(Random(1))

    ask_for(pace, seconds=10, questions=500, cost_s=0.001)

    assert pace.cost_s == pytest.approx(0.001, rel=0.02)


def test_a_proxy_that_is_busy_with_other_things_makes_no_question_dearer_than_is_believed():
    pace = Pace(Random(1))

    ask_for(pace, seconds=10, questions=200, cost_s=0.005)

    assert pace.cost_s == pytest.approx(0.002, rel=0.02)


def test_of_a_few_questions_nothing_is_concluded():
    pace = Pace(Random(1))

    ask_for(pace, seconds=10, questions=20, cost_s=0.001)

    assert pace.cost_s == 0.0005
