"""One artifact in the swarm: who holds which pieces, who brings which, and what a node is to do next.

Synchronous and without I/O: state changes in one step and says what comes of it. What a node asks for is decided in
this order, after what it has and what moves has been noted:

1. Leases of pieces that nobody within its reach has and nobody brings, at random, so that the proxy's line is never
   idle and no two nodes hold the same.
2. Pieces that its own zone has, from the least busy that has one: the line that idles is the one to be used. Of what
   the least busy have, the rarest first.
3. Pieces that other zones have, in the same way, one bringer a zone.

A piece that its holder may not give this node (`avoid`, bans) counts as held by nobody. One whose holders give as
many pieces as they may is not offered: the node hears of it when that changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from typing import Final

from .bans import Bans
from .bitmap import ALL, pieces, whole
from .choice import Choice, Giver
from .crowd import Crowd
from .directory import Assignment, Node, Offered, Rules
from .leases import ORIGIN, Leases
from .transfers import Transfers

_DRAWN: Final = 64  # pieces at random of which the rarest are offered
_OTHERS: Final = 4  # holders at random of whom the least busy are named beside the giver


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

    @property
    def gives_up(self) -> bool:
        """Whether the node has nothing of it and wants nothing."""
        return not (self.held or self.moving or self.count)


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a wish. `again` are leases of pieces that the proxy has sent before; `expired` were others'."""

    assignment: Assignment
    again: int
    expired: int


class Swarmed:
    """See the module. `nodes` are the live ones by name, `load` says how busy one of them is: 1 has no slot free.

    `giving` is kept up to date, for all artifacts together: how many pieces each node gives.
    """

    def __init__(
        self,
        rules: Rules,
        random: Random,
        nodes: dict[str, Node],
        load: Callable[[str], float],
        giving: Counter[str],
    ) -> None:
        self.leases = Leases()
        self.bans = Bans(rules.accusers, rules.ban_s)
        self._transfers = Transfers(giving)
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
        partly, now_partly = (0 if one == ALL else one for one in (before, bitmap))
        self._count(partly & ~now_partly, -1)
        self._count(now_partly & ~partly, +1)
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
        self._transfers.settle(node.name, 0)
        self._concerned.discard(node.name)
        self._serials.pop(node.name, None)

    def decide(self, wish: Wish, now: float) -> Decision:
        """What the node is to do next, having and moving what it says."""
        node = wish.node
        self.hold(node, ALL if wish.held == wish.everything else wish.held)
        expired = self.leases.expire(now)
        self.leases.settle(node.name, wish.moving & ~wish.held, now + self._rules.lease_s)
        self._transfers.settle(node.name, wish.moving & ~wish.held)
        shunned = wish.avoid | self.bans.at(now)
        near, far = self._within_reach(node.zone, shunned)
        missing = wish.everything & wish.hashed & ~(wish.held | wish.moving)
        leases = self._lease(wish, missing & ~(near | far), now) if wish.may_lease else []
        left = wish.count - len(leases)
        offers = self._offer(missing & near, left, node, [node.zone], shunned)
        offers += self._bring(missing & far & ~near, left - len(offers), node, shunned, now)
        again = sum(self._sent >> piece & 1 for piece in leases)
        for piece in leases:
            self._sent |= 1 << piece
        return Decision(Assignment(tuple(leases), tuple(offers)), again, len(expired))

    def _lease(self, wish: Wish, unheld: int, now: float) -> list[int]:
        leased = self.leases.at(ORIGIN)
        out, own = leased.bit_count(), self.leases.of(wish.node.name, ORIGIN).bit_count()
        free = unheld & ~leased
        room = max(0, min(wish.count, free.bit_count(), self._rules.room(out, own)))
        chosen = self._random.sample(list(pieces(free)), room) if room else []
        for piece in chosen:
            self.leases.grant(piece, ORIGIN, wish.node.name, now + self._rules.lease_s)
        return chosen

    def _bring(self, far: int, count: int, node: Node, shunned: frozenset[str], now: float) -> list[Offered]:
        """Pieces that this node is to bring into its zone."""
        zones = [zone for zone in self._zones if zone != node.zone]
        offers = self._offer(far & ~self.leases.at(node.zone), count, node, zones, shunned)
        for offered in offers:
            self.leases.grant(offered.piece, node.zone, node.name, now + self._rules.lease_s)
        return offers

    def _offer(
        self, wanted: int, count: int, node: Node, zones: Iterable[str], shunned: frozenset[str]
    ) -> list[Offered]:
        """Up to `count` of the wanted pieces that are in those zones."""
        offers: list[Offered] = []
        if count <= 0 or not wanted:
            return offers
        givers = self._givers(wanted, zones, shunned)
        choice = Choice(self._rarest(wanted) if givers else [], givers)
        while len(offers) < count and (chosen := choice.take()) is not None:
            piece, giver = chosen
            self._transfers.begin(node.name, piece, giver.name)
            giver.load = self._load(giver.name)
            offers.append(Offered(piece, self._whom_to_ask(piece, node, giver.name, shunned)))
        return offers

    def _rarest(self, wanted: int) -> list[int]:
        """Some of the pieces, from a random one on, the rarest first."""
        first = int(self._random.random() * wanted.bit_length())
        front = wanted & whole(first)
        drawn = islice(chain(pieces(wanted ^ front), pieces(front)), _DRAWN)
        return sorted(drawn, key=self._holders.__getitem__)

    def _givers(self, wanted: int, zones: Iterable[str], shunned: frozenset[str]) -> list[Giver]:
        """Some who have something wanted, at random; of those drawn, who has a slot free."""
        found: list[Giver] = []
        for crowd in (self._zones[zone] for zone in zones if zone in self._zones):
            drawn = crowd.draw(wanted, self._rules.sample, self._random, lambda name: name not in shunned)
            found += [Giver(name, crowd.has[name], load) for name in drawn if (load := self._load(name)) < 1]
        return found

    def _whom_to_ask(self, piece: int, node: Node, giver: str, shunned: frozenset[str]) -> tuple[Node, ...]:
        """The giver, and the least busy of some others who have the piece, those of the own zone in front."""
        limit, found = self._rules.candidates, [giver]
        others = shunned | {giver}
        for zone in sorted(self._zones, key=lambda zone: (zone != node.zone, self._random.random())):
            room = limit - len(found)
            drawn = self._zones[zone].draw(1 << piece, _OTHERS, self._random, lambda name: name not in others)
            found += sorted(drawn, key=self._load)[:room]
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
        for piece in pieces(bitmap):
            self._holders[piece] += change
