"""Who gives which piece, of those that were drawn."""

from __future__ import annotations

from envproxy.swarm.choice import Choice, Giver


def taken(choice: Choice) -> list[tuple[int, str]]:
    """All that can be taken, no load changing."""
    found = []
    while (one := choice.take()) is not None:
        found.append((one[0], one[1].name))
    return found


def test_the_least_busy_gives():
    busy, idle = Giver("busy", 0b11, 0.5), Giver("idle", 0b10, 0.25)

    assert Choice([0, 1], [busy, idle]).take() == (1, idle)


def test_of_equally_busy_ones_that_gives_which_has_the_rarest():
    common, rare = Giver("common", 0b010, 0.0), Giver("rare", 0b100, 0.0)

    assert Choice([2, 0, 1], [common, rare]).take() == (2, rare)


def test_each_piece_is_taken_once_however_many_have_it():
    assert sorted(
        piece for piece, _ in taken(Choice([2, 0, 1], [Giver("a", 0b111, 0.0), Giver("b", 0b101, 0.0)]))
    ) == [
        0,
        1,
        2,
    ]


def test_who_has_nothing_of_it_gives_nothing():
    assert taken(Choice([0, 1], [Giver("other", 0b100, 0.0), Giver("one", 0b001, 0.75)])) == [(0, "one")]


def test_who_is_out_of_slots_by_then_gives_no_more():
    giver = Giver("a", 0b11, 0.5)
    choice = Choice([0, 1], [giver])

    assert choice.take() == (0, giver)
    giver.load = 1.0
    assert choice.take() is None


def test_nobody_gives_nothing():
    assert Choice([], []).take() is None
