"""`python -m bench.swarm_directory`: the directory under N simulated agents that want one large artifact at once.

The agents, their links and the time are simulated; the directory is the real one, and each request is paid for as
the proxy pays for it, decoding and encoding included. Printed: how much CPU time a request takes the proxy, which
share of a core that is over the simulated time, and how often a piece left the origin. When the last agent is done
says little of real agents: the simulated ones do nothing but wait when a peer has no slot. HTTP is not part of it.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from random import Random
from statistics import quantiles
from typing import Any, TypeVar

from envproxy.swarm import messages
from envproxy.swarm.bitmap import to_bytes
from envproxy.swarm.directory import Key, Node, Rules
from envproxy.swarm.layout import Layout
from envproxy.swarm.local import LocalDirectory
from envproxy.swarm.messages import Beat, Given, Offer, Peer, Want
from envproxy.swarm.report import SwarmReporter

SHA = "a" * 64
KEY = Key(SHA, "")
SLOTS = 8  # transfers at a time, in each direction
RING_S = 0.05
BUSY_S = 0.5  # after a peer had no slot
HEARTBEAT_S = 5.0
V = TypeVar("V")


def done(step: Coroutine[Any, Any, V]) -> V:
    try:
        step.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the directory waited")


class Agent:
    """A simulated node: what it has, what moves, and how many pieces it sends."""

    def __init__(self, name: str, zone: str) -> None:
        self.name = name
        self.zone = zone
        self.held = 0
        self.moving: dict[int, str] = {}
        self.sending = 0
        self.waits = False
        self.finished_at = 0.0


class Simulation:
    """A swarm in simulated time, started with all agents at once."""

    def __init__(self, agents: int, size: int, rate: float, zones: int) -> None:
        self.now = 0.0
        self.layout = Layout.of(size)
        self.transfer_s = self.layout.piece_bytes * SLOTS / rate
        self.requests: list[float] = []
        self.origin = 0
        self.random = Random(1)
        self.agents = {f"node-{n}": Agent(f"node-{n}", f"zone-{n % zones}") for n in range(agents)}
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.rings_at = -1.0
        self.directory = LocalDirectory(
            Rules(settle_s=0), clock=lambda: self.now, random=self.random, ring=self._ring, reporter=SwarmReporter()
        )

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def run(self) -> None:
        """Until every agent has everything."""
        for agent in self.agents.values():
            node = Node(agent.name, 1, f"http://{agent.name}.example.org:8418", agent.zone, "default", SLOTS)
            done(self.directory.join(node))
            self._at(self.random.random() * 0.05, partial(self._ask, agent))
            self._at(self.random.random() * HEARTBEAT_S, partial(self._beat, agent))
        while self.events and not all(agent.finished_at for agent in self.agents.values()):
            self.now, _, what = heapq.heappop(self.events)
            what()

    def _ask(self, agent: Agent) -> None:
        agent.waits = False
        if agent.finished_at:
            return
        want = Want(
            node=agent.name, epoch=1, directory="d", sha256=SHA, path="/files/demo/large.bin",
            held=to_bytes(agent.held), moving=to_bytes(sum(1 << piece for piece in agent.moving)),
            count=SLOTS - len(agent.moving),
        )  # fmt: skip
        given = self.paid(messages.encode(want))
        for piece in given.leases:
            self.origin += 1
            self._begin(agent, piece, "")
        for offer in given.offers:
            giver = next((peer.node for peer in offer.peers if self.agents[peer.node].sending < SLOTS), None)
            if giver is not None:
                self._begin(agent, offer.piece, giver)
        if agent.held == self.layout.all:
            agent.finished_at = self.now
        elif given.offers and len(agent.moving) < SLOTS:
            self._at(self.now + BUSY_S, partial(self._ask, agent))
        else:
            agent.waits = len(agent.moving) < SLOTS

    def paid(self, body: bytes) -> Given:
        """What the proxy does for a request, and how long it takes it."""
        begin = time.thread_time()
        want = messages.decode(body, Want)
        assignment = done(self.directory.assign(KEY, want, self.layout, self.layout.all, tenant="default"))
        assert assignment is not None
        offers = [
            Offer(
                piece=one.piece,
                peers=[Peer(node=node.name, address=node.address, zone=node.zone) for node in one.holders],
            )
            for one in assignment.offers
        ]
        given = Given(size=self.layout.size, leases=list(assignment.leases), offers=offers)
        messages.encode(given)
        self.requests.append(time.thread_time() - begin)
        return given

    def _begin(self, agent: Agent, piece: int, giver: str) -> None:
        agent.moving[piece] = giver
        if giver:
            self.agents[giver].sending += 1
        self._at(self.now + self.transfer_s * self.random.uniform(0.9, 1.1), partial(self._arrive, agent, piece))

    def _arrive(self, agent: Agent, piece: int) -> None:
        giver = agent.moving.pop(piece)
        if giver:
            self.agents[giver].sending -= 1
        agent.held |= 1 << piece
        self._ask(agent)

    def _ring(self, _sha256: str) -> None:
        if self.rings_at <= self.now:
            self.rings_at = self.now + RING_S
            self._at(self.rings_at, self._wake)

    def _wake(self) -> None:
        for agent in [agent for agent in self.agents.values() if agent.waits]:
            self._ask(agent)

    def _beat(self, agent: Agent) -> None:
        done(self.directory.beat(Beat(node=agent.name, epoch=1, directory="d", busy=agent.sending), "default"))
        self._at(self.now + HEARTBEAT_S, partial(self._beat, agent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--size", type=float, default=2.5e9, help="bytes")
    parser.add_argument("--rate", type=float, default=125e6, help="bytes a second of each link, up and down")
    parser.add_argument("--zones", type=int, default=1)
    args = parser.parse_args()
    swarm = Simulation(args.agents, int(args.size), args.rate, args.zones)
    swarm.run()
    last = max(agent.finished_at for agent in swarm.agents.values())
    cuts = quantiles(swarm.requests, n=100)
    pieces = f"{swarm.layout.count} of {swarm.layout.piece_bytes >> 20} MiB"
    print(f"agents {args.agents}, pieces {pieces}, zones {args.zones}")
    print(f"requests {len(swarm.requests)}, {len(swarm.requests) / last:.0f} a second of simulated time")
    print(
        f"a request: p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, max {max(swarm.requests) * 1e3:.1f} ms"
    )
    print(f"share of a core: {sum(swarm.requests) / last:.2f}")
    print(f"origin ratio {swarm.origin / swarm.layout.count:.3f}")
    print(f"last agent after {last:.1f} s")


if __name__ == "__main__":
    main()
