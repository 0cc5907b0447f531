"""The two promises of the directory, under random faults: at any time a piece has at most one live lease, and every
piece that somebody wants is sooner or later leased to somebody or held.

A model of agents fetches what it is told to, or fails to: nodes are killed and come back with what they had on disk,
transfers break off, peers lie or are out of reach, answers get lost, time passes. At the end faults cease, and all
that live must get everything within a bounded number of rounds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from envproxy.swarm.directory import Rules
from fixtures.directories import EIGHT, KEY, Town, now

RULES = Rules(leases=3, leases_per_node=2, lease_s=5.0, expiry_s=15.0, accusers=2, ban_s=20.0, settle_s=3.0)
SLOTS = 3
NODES = {"a": "x", "b": "x", "c": "y", "d": "y", "e": ""}
names = st.sampled_from(sorted(NODES))


@dataclass
class Agent:
    """What is true of a node, whatever the directory thinks. `moving` says who gives each piece ("": the proxy).

    `dealt` is what it was told to take of whom, and has not said since that it does not move any more.
    """

    epoch: int = 0
    lives: bool = False
    disk: int = 0
    moving: dict[int, str] = field(default_factory=dict)
    dealt: dict[int, str] = field(default_factory=dict)
    avoid: set[str] = field(default_factory=set)


class Swarm(RuleBasedStateMachine):
    """See the module. `leases` is the model: who has the lease of a piece until when, by the contract alone."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Town(RULES, seed=7)
        self.agents = {name: Agent() for name in NODES}
        self.leases: dict[int, tuple[str, float]] = {}
        for name in NODES:
            self.start(name, 0)

    @rule(name=names, kept=st.integers(0, EIGHT.all))
    def restart(self, name: str, kept: int) -> None:
        """A node starts, or was killed and starts again, with some of what it had."""
        self.start(name, kept)

    def start(self, name: str, kept: int) -> None:
        agent = self.agents[name]
        agent.epoch += 1
        agent.lives, agent.disk, agent.moving, agent.avoid = True, agent.disk & kept, {}, set()
        agent.dealt = {}
        now(self.town.join(name, epoch=agent.epoch, zone=NODES[name], slots=SLOTS))
        self.end_leases(name)

    @precondition(lambda self: any(agent.lives for agent in self.agents.values()))
    @rule(name=names)
    def kill(self, name: str) -> None:
        """A node is gone without a word."""
        self.agents[name].lives = False

    @rule(name=names, count=st.integers(0, 8), hashed=st.sampled_from([EIGHT.all, 0b000111]), lost=st.booleans())
    def want(self, name: str, count: int, hashed: int, lost: bool) -> None:
        """A node asks; its answer may get lost."""
        agent = self.agents[name]
        if agent.lives:
            self.ask(name, agent, count, hashed, lost=lost)

    @rule(name=names, arrives=st.booleans(), data=st.data())
    def transfer(self, name: str, arrives: bool, data: st.DataObject) -> None:
        """A piece arrives, or its transfer breaks off."""
        agent = self.agents[name]
        if agent.lives and agent.moving:
            self.finish(name, agent, data.draw(st.sampled_from(sorted(agent.moving))), arrives=arrives)

    @rule(name=names, peer=names)
    def accuse(self, name: str, peer: str) -> None:
        """A node got wrong bytes, or says so."""
        if self.agents[name].lives and name != peer:
            self.agents[name].avoid.add(peer)
            now(self.town.accuse(name, peer))

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 16.0]))
    def pass_time(self, seconds: float) -> None:
        self.town.clock.advance(seconds)

    @rule(name=names, piece=st.integers(0, EIGHT.count - 1))
    def send(self, name: str, piece: int) -> None:
        """The proxy is asked for a piece: it knows exactly who has its lease."""
        has_it = now(self.town.directory.touch(KEY, name, piece, tenant="default", keep=True))
        assert has_it == (name == self.owner(piece))
        if has_it:
            self.leases[piece] = (name, self.town.clock() + RULES.lease_s)

    @invariant()
    def no_more_leases_are_out_than_the_rules_say(self) -> None:
        assert sum(bool(self.owner(piece)) for piece in self.leases) <= RULES.leases

    def owner(self, piece: int) -> str:
        """Who has the live lease of a piece, "" if nobody has."""
        owner, until = self.leases.get(piece, ("", 0.0))
        return owner if until > self.town.clock() else ""

    def ask(self, name: str, agent: Agent, count: int, hashed: int, *, lost: bool = False) -> None:
        moving = sum(1 << piece for piece in agent.moving)
        state = {"epoch": agent.epoch, "held": agent.disk, "moving": moving, "avoid": sorted(agent.avoid)}
        given = now(self.town.ask(name, count=count, hashed=hashed, **state))
        if given is None:
            agent.epoch += 1
            now(self.town.join(name, epoch=agent.epoch, zone=NODES[name], slots=SLOTS))
            self.end_leases(name)
            return
        self.end_leases(name, moving & ~agent.disk)
        agent.dealt = {piece: giver for piece, giver in agent.dealt.items() if piece in agent.moving}
        missing = hashed & ~(agent.disk | moving)
        assert len(given.leases) + len(given.offers) <= count
        for piece in given.leases:
            assert self.owner(piece) == "", f"{piece} has a live lease"
            assert missing >> piece & 1
            self.leases[piece] = (name, self.town.clock() + RULES.lease_s)
        for offered in given.offers:
            assert missing >> offered.piece & 1
            assert offered.holders
            assert not agent.avoid.union([name]).intersection(node.name for node in offered.holders)
        if not given and count and missing:
            assert self.are_all_on_their_way(name, missing)
        agent.dealt |= {offered.piece: offered.holders[0].name for offered in given.offers}
        if not lost:
            agent.moving |= dict.fromkeys(given.leases, "")
            agent.moving |= {offered.piece: offered.holders[0].name for offered in given.offers}

    def are_all_on_their_way(self, name: str, missing: int) -> bool:
        """Nothing to do is right only while leases are out, of the proxy or, for what other zones have, of a zone; or
        while somebody gives as many pieces as it may.
        """
        dealt = Counter(giver for agent in self.agents.values() for giver in agent.dealt.values())
        live = [piece for piece, (_, until) in self.leases.items() if until > self.town.clock()]
        elsewhere = any(agent.disk & missing for other, agent in self.agents.items() if NODES[other] != NODES[name])
        return bool(live) or elsewhere or max(dealt.values(), default=0) >= SLOTS

    def finish(self, name: str, agent: Agent, piece: int, *, arrives: bool) -> None:
        giver = agent.moving.pop(piece)
        has_it = giver == "" or (self.agents[giver].lives and self.agents[giver].disk >> piece & 1)
        if arrives and has_it:
            agent.disk |= 1 << piece
        elif giver:
            agent.avoid.add(giver)
        else:
            now(self.town.directory.touch(KEY, name, piece, tenant="default", keep=False))
            self.leases.pop(piece, None)

    def end_leases(self, name: str, kept: int = 0) -> None:
        """What the contract ends when a node says what moves, or starts a new life; the rest is renewed."""
        until = self.town.clock() + RULES.lease_s
        for piece, (owner, _) in list(self.leases.items()):
            if owner == name and self.owner(piece) and kept >> piece & 1:
                self.leases[piece] = (name, until)
            elif owner == name:
                del self.leases[piece]

    def teardown(self) -> None:
        """No more faults: whoever lives gets everything, in rounds of one second."""
        living = {name: agent for name, agent in self.agents.items() if agent.lives}
        for _ in range(60):
            for name, agent in living.items():
                agent.avoid &= {other for other in NODES if other not in living}
                for piece in list(agent.moving):
                    self.finish(name, agent, piece, arrives=True)
                self.ask(name, agent, 4, EIGHT.all)
            self.town.clock.advance(1.0)
        assert {name: agent.disk for name, agent in living.items()} == dict.fromkeys(living, EIGHT.all)


TestSwarm = Swarm.TestCase
TestSwarm.settings = settings(max_examples=100, stateful_step_count=30, report_multiple_bugs=False)
