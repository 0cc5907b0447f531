"""The leases of one artifact: who alone may bring a piece from where it is dear.

A piece is dear from the proxy (ORIGIN), and from another zone, for each zone: so one copy of it leaves the proxy, and
one comes into each zone. Invariant: for a piece and a place there is at most one live lease. A lease ends with its
time unless it is renewed; time comes in, seconds of any clock that does not run backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ORIGIN: Final = None
Place = str | None
"""ORIGIN, or the zone that a piece is brought into."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`node` alone brings `piece` into `place`, until then."""

    piece: int
    place: Place
    node: str
    until: float


class Leases:
    """See the module."""

    def __init__(self) -> None:
        self._leases: dict[tuple[int, Place], Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def expire(self, now: float) -> list[Lease]:
        """End what is over; these leases."""
        over = [lease for lease in self if lease.until <= now]
        for lease in over:
            del self._leases[lease.piece, lease.place]
        return over

    def at(self, place: Place) -> int:
        """The set of pieces that are leased there."""
        found = 0
        for lease in self:
            if lease.place == place:
                found |= 1 << lease.piece
        return found

    def of(self, node: str, place: Place) -> int:
        """The set of pieces that the node has leases of there."""
        found = 0
        for lease in self:
            if lease.node == node and lease.place == place:
                found |= 1 << lease.piece
        return found

    def grant(self, piece: int, place: Place, node: str, until: float) -> None:
        """A new lease, or a longer one for who has it. Raises ValueError if another node has it: that is a bug."""
        before = self._leases.get((piece, place))
        if before is not None and before.node != node:
            raise ValueError(f"piece {piece} is leased to {before.node}")
        self._leases[piece, place] = Lease(piece, place, node, until)

    def settle(self, node: str, moving: int, until: float) -> list[Lease]:
        """Renew the node's leases of pieces that are `moving`, end its others; those that ended."""
        ended = []
        for lease in [lease for lease in self if lease.node == node]:
            if moving >> lease.piece & 1:
                self._leases[lease.piece, lease.place] = Lease(lease.piece, lease.place, node, until)
            else:
                del self._leases[lease.piece, lease.place]
                ended.append(lease)
        return ended

    def touch(self, piece: int, node: str, until: float | None) -> bool:
        """Whether the node has a lease of the piece from the proxy; it lives until then, or ends now (None)."""
        lease = self._leases.get((piece, ORIGIN))
        if lease is None or lease.node != node:
            return False
        del self._leases[piece, ORIGIN]
        if until is not None:
            self._leases[piece, ORIGIN] = Lease(piece, ORIGIN, node, until)
        return True
