"""The directory in the memory of one process.

Each call is one step without an `await` inside, so that no two of them mix. Nodes are kept in the order in which they
were last heard of, and the silent ones are forgotten first thing in each call. A holding costs some 300 bytes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from .bitmap import ALL, from_bytes
from .directory import Assignment, Key, NameTaken, Node, Rules
from .layout import Layout
from .messages import Again, Beat, Fault, Holding, Want
from .report import SwarmReporter
from .swarmed import Swarmed, Wish


@dataclass(slots=True)
class _Member:
    """A live node. `unknown` are the pieces that it said it sends, beyond those that were dealt out here.

    `holds` are the artifacts it has something of or wants, each with whether a beat announced it.
    """

    node: Node
    heard_at: float
    unknown: int = 0
    holds: dict[Key, bool] = field(default_factory=dict)

    @property
    def announced(self) -> int:
        """How many artifacts its beats have announced."""
        return sum(self.holds.values())


class LocalDirectory:
    """See `Directory`. `clock` counts seconds and never runs backwards; `ring` is told of artifacts with news."""

    def __init__(
        self,
        rules: Rules,
        *,
        clock: Callable[[], float],
        random: Random,
        ring: Callable[[str], None],
        reporter: SwarmReporter,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._random = random
        self._ring = ring
        self._reporter = reporter
        self._began_at = clock()
        self._nodes: dict[str, Node] = {}
        self._members = OrderedDict[str, _Member]()
        self._swarms: dict[Key, Swarmed] = {}
        self._giving = Counter[str]()  # the pieces that each node gives, of all artifacts

    async def join(self, node: Node) -> None:
        """See `Directory`."""
        self._forget_silent()
        known = self._nodes.get(node.name)
        if known is not None and known.tenant != node.tenant:
            raise NameTaken(f"the name {node.name} is taken", hint="give the agent another name")
        if known is not None and known.epoch > node.epoch:
            raise NameTaken(f"another agent called {node.name} came later", hint="give one of them another name")
        if known is not None and known.epoch < node.epoch:
            self._forget(node.name)
        if node.name not in self._members:
            self._nodes[node.name] = node
            self._members[node.name] = _Member(node, self._clock())
            self._count()
        self._hear(node.name, node.epoch, node.tenant)

    async def beat(self, beat: Beat, tenant: str) -> Again:
        """See `Directory`."""
        member = self._hear(beat.node, beat.epoch, tenant)
        if member is None:
            return "hello"
        if beat.leaving:
            self._forget(beat.node)
            self._count()
            return ""
        member.unknown = max(0, beat.busy - self._giving[beat.node])
        if beat.anew:
            self._take_back(member, [key for key, is_announced in member.holds.items() if is_announced])
        self._take_back(member, [Key(sha256, owner) for sha256 in beat.gone for owner in ("", tenant)])
        for holding in beat.holdings:
            self._hold(member, holding)
        self._count()
        return "" if member.announced == beat.artifacts else "announce"

    async def assign(self, key: Key, want: Want, layout: Layout, hashed: int, *, tenant: str) -> Assignment | None:
        """See `Directory`."""
        member = self._hear(want.node, want.epoch, tenant)
        if member is None:
            return None
        swarm = self._swarm(member, key)
        if swarm.is_overtaken(member.node, want.serial):
            return Assignment()
        settled = self._clock() >= self._began_at + self._rules.settle_s
        may_lease = settled or not (from_bytes(want.held) or swarm.is_held)
        wish = _wish(member.node, want, layout, hashed, may_lease)
        assignment = self._decide(key, swarm, wish)
        if wish.gives_up and not member.holds[key]:
            self._take_back(member, [key])
            self._count()
        self._reporter.offered(len(assignment.offers))
        return assignment

    async def report(self, node: str, epoch: int, faults: Sequence[tuple[Key, Fault]], *, tenant: str) -> None:
        """See `Directory`."""
        if self._hear(node, epoch, tenant) is None:
            return
        for key, fault in faults:
            self._reporter.faulted(fault.wrong)
            swarm = self._swarms.get(key)
            if fault.wrong != "bad_hash" or swarm is None or fault.peer not in self._members:
                continue
            if swarm.bans.accuse(fault.peer, node, self._clock()):
                self._reporter.banned(fault.peer, key.sha256)
                self._ring(key.sha256)

    async def touch(self, key: Key, node: str, piece: int, *, tenant: str, keep: bool) -> bool:
        """See `Directory`."""
        self._forget_silent()
        now = self._clock()
        member, swarm = self._members.get(node), self._swarms.get(key)
        if swarm is None or member is None or member.node.tenant != tenant:
            return False
        self._reporter.leases_ended(len(swarm.leases.expire(now)), 0)
        had = swarm.leases.touch(piece, node, now + self._rules.lease_s if keep else None)
        if had and not keep:
            self._reporter.leases_ended(0, 1)
            self._ring(key.sha256)
        return had

    def _decide(self, key: Key, swarm: Swarmed, wish: Wish) -> Assignment:
        before, leases = swarm.has(wish.node), len(swarm.leases)
        decision = swarm.decide(wish, self._clock())
        granted = len(decision.assignment.leases)
        self._reporter.leased(granted, decision.again)
        self._reporter.leases_ended(decision.expired, 0)
        if swarm.has(wish.node) != before or len(swarm.leases) - granted < leases:
            self._ring(key.sha256)
        return decision.assignment

    def _swarm(self, member: _Member, key: Key) -> Swarmed:
        member.holds.setdefault(key, False)
        swarm = self._swarms.get(key)
        if swarm is None:
            swarm = self._swarms[key] = Swarmed(self._rules, self._random, self._nodes, self._load, self._giving)
            self._count()
        return swarm

    def _hold(self, member: _Member, holding: Holding) -> None:
        key = Key(holding.sha256, member.node.tenant if holding.private else "")
        self._swarm(member, key).hold(member.node, _announced(holding))
        member.holds[key] = True
        self._ring(key.sha256)

    def _take_back(self, member: _Member, keys: list[Key]) -> None:
        for key in keys:
            if key in member.holds:
                del member.holds[key]
                self._swarms[key].drop(member.node)
                self._tidy(key)

    def _load(self, name: str) -> float:
        member = self._members[name]
        return (member.unknown + self._giving[name]) / member.node.slots

    def _hear(self, name: str, epoch: int, tenant: str) -> _Member | None:
        """The node, which has just said something; None if it is not known, in this life and of this tenant."""
        self._forget_silent()
        member = self._members.get(name)
        if member is None or (member.node.epoch, member.node.tenant) != (epoch, tenant):
            return None
        member.heard_at = self._clock()
        self._members.move_to_end(name)
        return member

    def _forget_silent(self) -> None:
        latest = self._clock() - self._rules.expiry_s
        while self._members and (member := next(iter(self._members.values()))).heard_at <= latest:
            self._forget(member.node.name)
            self._count()

    def _forget(self, name: str) -> None:
        member = self._members[name]
        self._take_back(member, list(member.holds))
        del self._members[name], self._nodes[name]

    def _tidy(self, key: Key) -> None:
        if self._swarms[key].is_empty:
            del self._swarms[key]
        self._ring(key.sha256)

    def _count(self) -> None:
        self._reporter.size_changed(len(self._members), len(self._swarms))


def _wish(node: Node, want: Want, layout: Layout, hashed: int, may_lease: bool) -> Wish:
    everything = layout.all
    held, moving = from_bytes(want.held) & everything, from_bytes(want.moving) & everything
    return Wish(node, held, moving, everything, hashed, may_lease, want.count, frozenset(want.avoid))


def _announced(holding: Holding) -> int:
    """What is held. An agent that cuts in another way means other bytes by its bits, so it has none for us."""
    if holding.held is None:
        return ALL
    layout = Layout.of(holding.size)
    return from_bytes(holding.held) & layout.all if holding.piece_bytes == layout.piece_bytes else 0
