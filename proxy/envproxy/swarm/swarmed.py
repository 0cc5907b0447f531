"""One artifact in the swarm: who holds which pieces, who brings which, and what a node is to do next.

Synchronous and without I/O: state changes in one step and says what comes of it. What a node asks for is decided in
this order, after what it has and what moves has been noted:

1. Leases of pieces that nobody within its reach has and nobody brings, at random, so that the proxy's line is never
   idle and no two nodes hold the same.
2. Pieces that its own zone has, the rarest first.
3. Pieces that other zones have, one bringer a zone.

A piece that its holder may not give this node (`avoid`, bans) counts as held by nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from random import Random
from typing import Final

from .bans import Bans
from .bitmap import ALL, pieces
from .crowd import Crowd
from .directory import Assignment, Node, Offered, Rules
from .leases import ORIGIN, Leases

_DRAWN: Final = 64  # pieces at random of which the rarest are offered


@dataclass(frozen=True, slots=True)
class Wish:
    """What a node wants: `everything` is the set of all pieces, `hashed` those that may be dealt out.

    `may_lease` says whether the proxy sends any of them now.
    """

    node: Node
    held: int
    moving: int
    everything: int
    hashed: int
    may_lease: bool
    count: int
    avoid: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a wish. `again` are leases of pieces that the proxy has sent before; `expired` were others'."""

    assignment: Assignment
    again: int
    expired: int


class Swarmed:
    """See the module. `nodes` are the live ones by name, `load` says how busy one of them is."""

    def __init__(self, rules: Rules, random: Random, nodes: dict[str, Node], load: Callable[[str], float]) -> None:
        self.leases = Leases()
        self.bans = Bans(rules.accusers, rules.ban_s)
        self._rules = rules
        self._random = random
        self._nodes = nodes
        self._load = load
        self._concerned: set[str] = set()  # nodes that hold some of it, or want it
        self._zones: dict[str, Crowd] = {}
        self._holders = Counter[int]()  # of each piece, for those who do not have all
        self._serials: dict[str, int] = {}  # of the latest wish of each node
        self._sent = 0  # what was leased before

    @property
    def is_empty(self) -> bool:
        """Whether it concerns nobody any more."""
        return not self._concerned

    @property
    def is_held(self) -> bool:
        """Whether anybody has some of it."""
        return bool(self._zones)

    def has(self, node: Node) -> int:
        """What a node can give."""
        crowd = self._zones.get(node.zone)
        return crowd.has.get(node.name, 0) if crowd else 0

    def hold(self, node: Node, bitmap: int) -> None:
        """A node has these pieces, and no others."""
        self._concerned.add(node.name)
        before = self.has(node)
        if bitmap == before:
            return
        self._count(before, -1)
        self._count(bitmap, +1)
        crowd = self._zones.setdefault(node.zone, Crowd())
        crowd.set(node.name, bitmap)
        if not crowd.has:
            del self._zones[node.zone]

    def is_overtaken(self, node: Node, serial: int) -> bool:
        """Whether a wish came after one that the node made later; what it says of the node is not so any more."""
        if serial < self._serials.get(node.name, 0):
            return True
        self._serials[node.name] = serial
        return False

    def drop(self, node: Node) -> None:
        """A node is gone, with what it had and what it was bringing."""
        self.hold(node, 0)
        self.leases.settle(node.name, 0, 0.0)
        self._concerned.discard(node.name)
        self._serials.pop(node.name, None)

    def decide(self, wish: Wish, now: float) -> Decision:
        """What the node is to do next, having and moving what it says."""
        node = wish.node
        self.hold(node, ALL if wish.held == wish.everything else wish.held)
        expired = self.leases.expire(now)
        self.leases.settle(node.name, wish.moving & ~wish.held, now + self._rules.lease_s)
        shunned = wish.avoid | self.bans.at(now)
        near, far = self._within_reach(node.zone, shunned)
        missing = wish.everything & wish.hashed & ~(wish.held | wish.moving)
        leases = self._lease(wish, missing & ~(near | far), now) if wish.may_lease else []
        left = wish.count - len(leases)
        offers = self._offer(self._rarest(missing & near, left), node, shunned)
        far_ones = self._bring(wish, missing & far & ~near, left - len(offers), now)
        offers += self._offer(far_ones, node, shunned)
        again = sum(self._sent >> piece & 1 for piece in leases)
        for piece in leases:
            self._sent |= 1 << piece
        return Decision(Assignment(tuple(leases), tuple(offers)), again, len(expired))

    def _lease(self, wish: Wish, unheld: int, now: float) -> list[int]:
        leased = self.leases.at(ORIGIN)
        free = list(pieces(unheld & ~leased))
        room = min(
            wish.count,
            self._rules.leases - leased.bit_count(),
            self._rules.leases_per_node - self.leases.of(wish.node.name, ORIGIN).bit_count(),
        )
        chosen = self._random.sample(free, max(0, min(room, len(free))))
        for piece in chosen:
            self.leases.grant(piece, ORIGIN, wish.node.name, now + self._rules.lease_s)
        return chosen

    def _bring(self, wish: Wish, far: int, count: int, now: float) -> list[int]:
        """Pieces that this node is to bring into its zone."""
        node = wish.node
        chosen = self._rarest(far & ~self.leases.at(node.zone), count)
        for piece in chosen:
            self.leases.grant(piece, node.zone, node.name, now + self._rules.lease_s)
        return chosen

    def _rarest(self, candidates: int, count: int) -> list[int]:
        if count <= 0 or not candidates:
            return []
        drawn = list(pieces(candidates))
        if len(drawn) > _DRAWN:
            drawn = self._random.sample(drawn, _DRAWN)
        else:
            self._random.shuffle(drawn)
        return nsmallest(count, drawn, key=self._holders.__getitem__)

    def _offer(self, chosen: Iterable[int], node: Node, shunned: frozenset[str]) -> list[Offered]:
        return [Offered(piece, self._whom_to_ask(piece, node, shunned)) for piece in chosen]

    def _whom_to_ask(self, piece: int, node: Node, shunned: frozenset[str]) -> tuple[Node, ...]:
        """The least busy of some who have the piece, those of the own zone in front."""
        limit, found = self._rules.candidates, list[str]()
        for zone in sorted(self._zones, key=lambda zone: (zone != node.zone, self._random.random())):
            drawn = self._zones[zone].draw(piece, self._rules.sample, self._random, lambda name: name not in shunned)
            found += nsmallest(limit - len(found), drawn, key=self._load)
            if len(found) == limit:
                break
        return tuple(self._nodes[name] for name in found)

    def _within_reach(self, zone: str, shunned: frozenset[str]) -> tuple[int, int]:
        """What the own zone has, and what the others have."""
        near = far = 0
        for name, crowd in self._zones.items():
            union = crowd.union if shunned.isdisjoint(crowd.has) else crowd.without(shunned)
            if name == zone:
                near = union
            else:
                far |= union
        return near, far

    def _count(self, bitmap: int, change: int) -> None:
        if bitmap != ALL:
            for piece in pieces(bitmap):
                self._holders[piece] += change
