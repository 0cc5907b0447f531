"""Which peer to take a piece from, which pieces first, and whom to leave alone for a while: decisions without I/O.

The directory offers a few holders at random. Here they are put in order by what this node knows itself: zone, how
many pieces it takes from each at the moment, how each behaved. A peer that failed is left alone, twice as long each
time; one that gave wrong bytes is never asked for that artifact again. Time is in seconds of any clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""How long a peer is left alone after its first failure, and at most."""
MOST_BUSY = 100
"""How often in a row a peer may have no slot free before that counts as a failure: some 15 s of asking.

A failure makes the directory lease a piece again, and then a second copy leaves the proxy.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer that may have a piece: its name, its origin (`http://host:port`) and its zone."""

    node: str
    url: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a peer did lately: failures in a row, until when it is left alone, and how often it had no slot free."""

    failures: int = 0
    until: float = 0.0
    busy: int = 0

    def failed(self, now: float) -> Conduct:
        """It failed once more."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self.failures)
        return Conduct(self.failures + 1, now + pause)

    def had_no_slot(self, now: float) -> Conduct:
        """It was busy once more; one that always is fails, too."""
        return self.failed(now) if self.busy + 1 >= MOST_BUSY else replace(self, busy=self.busy + 1)


@dataclass(slots=True)
class Reputation:
    """What this node knows of its peers."""

    conduct: dict[str, Conduct] = field(default_factory=dict)
    banned: set[tuple[str, str]] = field(default_factory=set)

    def failed(self, node: str, now: float) -> None:
        """The peer did not answer, stalled, or does not have what it was said to have."""
        self.conduct[node] = self.conduct.get(node, Conduct()).failed(now)

    def had_no_slot(self, node: str, now: float) -> None:
        """The peer gives as many pieces as it may."""
        self.conduct[node] = self.conduct.get(node, Conduct()).had_no_slot(now)

    def succeeded(self, node: str) -> None:
        """The peer gave a piece that is right: old failures are forgotten."""
        self.conduct.pop(node, None)

    def lied(self, node: str, sha256: str) -> None:
        """The peer gave wrong bytes of that artifact."""
        self.banned.add((node, sha256))

    def trusts(self, node: str, sha256: str, now: float) -> bool:
        """Whether the peer may be asked for a piece of the artifact now."""
        return (node, sha256) not in self.banned and self.conduct.get(node, Conduct()).until <= now


def in_order(
    candidates: Iterable[Candidate],
    *,
    sha256: str,
    zone: str,
    taking: Mapping[str, int],
    reputation: Reputation,
    now: float,
) -> list[Candidate]:
    """Whom to ask, first choice first: the same zone, then the one from which the fewest pieces are being taken."""
    usable = [one for one in candidates if reputation.trusts(one.node, sha256, now)]
    return sorted(usable, key=lambda one: (one.zone != zone, taking.get(one.node, 0)))


def rarest_first(missing: Iterable[int], holders: Iterable[Iterable[int]], shuffled: Sequence[int]) -> list[int]:
    """Pieces that somebody has, those that the fewest have first; `shuffled` says who is first among equals.

    Without a directory, nodes that all began at the front would all want the same piece of the same peer.
    """
    count = Counter(index for pieces in holders for index in pieces)
    rank = {index: place for place, index in enumerate(shuffled)}
    return sorted((index for index in missing if count[index]), key=lambda index: (count[index], rank[index]))
