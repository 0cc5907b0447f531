"""Who is to give which piece: the least busy giver gives, of equally busy ones that which has the rarest piece.

The line that idles is the one to be used; and of two that idle, the one by which the swarm gets what few have. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Giver:
    """A node that has the set `has`; of load 1 on it has no slot free. `place` is where its rarest piece stands."""

    name: str
    has: int
    load: float
    place: int = 0


class Choice:
    """`order` are pieces, the rarest first; each is taken once. Loads may be changed between two calls."""

    def __init__(self, order: Sequence[int], givers: Sequence[Giver]) -> None:
        self._order = order
        self._left = sum(1 << piece for piece in order)
        self._givers = [giver for giver in givers if self._find(giver)]

    def take(self) -> tuple[int, Giver] | None:
        """The next piece and its giver, None if nobody has a slot free and something that is left."""
        if not self._givers:
            return None
        best = min(self._givers, key=lambda giver: (giver.load, giver.place))
        if best.load >= 1:
            return None
        piece, place = self._order[best.place], best.place
        self._left &= ~(1 << piece)
        self._givers = [giver for giver in self._givers if giver.place != place or self._find(giver)]
        return piece, best

    def _find(self, giver: Giver) -> bool:
        """Whether the giver has a piece that is left; it stands no further in front than the last one did."""
        has = giver.has & self._left
        while has:
            if has >> self._order[giver.place] & 1:
                return True
            giver.place += 1
        return False
