"""How often a download asks, and how far ahead."""

from __future__ import annotations

from envagent.peers.asking import MOST_AHEAD, Asking


def landed(asking: Asking, count: int) -> Asking:
    for _ in range(count):
        asking = asking.with_landed()
    return asking


def test_a_small_swarm_is_asked_at_once_and_for_as_many_as_move():
    asking = landed(Asking().asked(1000.0).answered(0.0), 3).asked(1000.0)

    assert asking.pause_s(1000.0) == 0.0
    assert (asking.count(0), asking.count(3), asking.count(6)) == (4, 1, 0)


def test_a_large_one_is_asked_when_its_pace_allows():
    asking = Asking().asked(1000.0).answered(0.5)

    assert asking.pause_s(1000.25) == 0.25
    assert asking.pause_s(1000.75) == 0.0


def test_as_many_are_asked_for_ahead_as_landed_since_the_last_question():
    asking = landed(Asking().asked(1000.0).answered(0.5), 3).asked(1000.5)

    assert asking.count(1) == 6
    assert asking.asked(1001.0).count(1) == 3


def test_no_node_keeps_more_than_a_few_to_itself():
    asking = landed(Asking().asked(1000.0).answered(0.5), 100).asked(1000.5)

    assert asking.count(4) == MOST_AHEAD
