"""How often one download asks the directory, and for how many pieces: decisions without I/O.

A small swarm asks whenever a piece lands. A large one would keep the directory busier than a core, so its answers say
how long to wait before the next question (`Given.pace_s`); then as many pieces more are asked for as landed in that
time, and they queue here. Time is in seconds of any clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

AT_ONCE = 4
"""How many pieces of an artifact move at a time."""
MOST_AHEAD = 16  # pieces that queue: a node that is killed, or slow, keeps as many from nobody for long


@dataclass(frozen=True, slots=True)
class Asking:
    """When it was asked last, what the directory said of the next time, and what landed since.

    `ahead` are the pieces that are asked for beyond those that move.
    """

    asked_at: float = 0.0
    pace_s: float = 0.0
    landed: int = 0
    ahead: int = 0

    def asked(self, now: float) -> Asking:
        """A question is sent, which tells all that landed."""
        return replace(self, asked_at=now, landed=0, ahead=min(MOST_AHEAD, self.landed) if self.pace_s else 0)

    def answered(self, pace_s: float) -> Asking:
        """The directory wants to hear nothing for so long, counted from the question on."""
        return replace(self, pace_s=pace_s)

    def with_landed(self) -> Asking:
        """A piece is here."""
        return replace(self, landed=self.landed + 1)

    def count(self, moving: int) -> int:
        """How many pieces to ask for while so many move or queue."""
        return max(0, AT_ONCE + self.ahead - moving)

    def pause_s(self, now: float) -> float:
        """How long to wait before the next question."""
        return max(0.0, self.asked_at + self.pace_s - now)
