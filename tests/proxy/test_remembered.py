"""The memory of look-ups: who is forgotten, and what a look-up finds."""

from __future__ import annotations

from envproxy.engine.remembered import Remembered


def test_what_was_not_asked_for_longest_is_forgotten_first():
    memory = Remembered[str, int](most=2)
    memory.keep("six", 1)
    memory.keep("flask", 2)
    assert memory.recall("six") == 1

    memory.keep("numpy", 3)

    assert memory.recall("flask") is None
    assert (memory.recall("six"), memory.recall("numpy")) == (1, 3)


def test_a_value_that_is_kept_again_replaces_the_first_and_forgets_nobody():
    memory = Remembered[str, int](most=2)
    memory.keep("six", 1)
    memory.keep("flask", 2)

    assert memory.keep("six", 3) == 3

    assert (memory.recall("six"), memory.recall("flask")) == (3, 2)


def test_a_value_that_says_no_is_remembered_like_any_other():
    memory = Remembered[str, tuple[str, ...]]()
    memory.keep("six", ())

    assert "six" in memory
    assert memory.recall("six") == ()


def test_what_was_dropped_is_looked_up_again():
    memory = Remembered[str, int]()
    memory.keep("six", 1)
    memory.keep("flask", 2)

    memory.drop("six")
    memory.drop("never seen")
    assert ("six" in memory, "flask" in memory) == (False, True)

    memory.clear()
    assert memory.recall("flask") is None
