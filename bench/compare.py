"""What a benchmark found: values round by round, compared pair by pair, and held against a target.

A ratio of medians would mix rounds in which the machine was in different moods; so ratios and differences are taken
within each round, and the median is of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median


class Measure(Enum):
    """How `ours` is held against `theirs`."""

    RATIO = "ratio"  # ours / theirs, the median of the rounds
    ADDED = "added"  # ours - theirs, the median of the rounds
    WORST = "worst"  # the largest of ours; there are no theirs


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that issue or design set."""

    bound: float
    at_least: bool

    def reached_by(self, value: float) -> bool:
        """Whether `value` is on the right side, the bound included."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Target:
    """More is better."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """Less is better."""
    return Target(bound, at_least=False)


MEMORY_LIMIT_MB = at_most(120.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: `ours` and `theirs` hold one value a round, in `unit`; `against` says whose the latter are."""

    what: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    against: str = ""
    measure: Measure = Measure.RATIO
    target: Target | None = None

    @property
    def rounds(self) -> tuple[float, ...]:
        """The comparison of each round."""
        if self.measure is Measure.WORST:
            return self.ours
        pairs = list(zip(self.ours, self.theirs, strict=True))
        if self.measure is Measure.ADDED:
            return tuple(ours - theirs for ours, theirs in pairs)
        return tuple(ours / theirs if theirs else float("inf") for ours, theirs in pairs)

    @property
    def value(self) -> float:
        """What is held against the target."""
        return max(self.ours) if self.measure is Measure.WORST else median(self.rounds)

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached, None if there is none."""
        return None if self.target is None else self.target.reached_by(self.value)


def worst(what: str, unit: str, ours: Sequence[float], target: Target | None = None) -> Finding:
    """A value that stands alone; of the rounds the largest counts."""
    return Finding(what, unit, tuple(ours), measure=Measure.WORST, target=target)


def memory(what: str, peaks_bytes: Sequence[int]) -> Finding:
    """The most that envproxy ever had resident, against its bound."""
    return worst(what, "MB", [peak / 1e6 for peak in peaks_bytes], MEMORY_LIMIT_MB)
