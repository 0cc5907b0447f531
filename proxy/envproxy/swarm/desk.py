"""Answers the messages of agents: what the directory decides, with hashes and tickets, once an agent may have it.

No HTTP here. An artifact is looked up at the path of a `Want` before its sender hears anything of it, and again
every ADMITTED_S, so what a policy refuses is not shared either. A `Want` that can be given nothing waits for news of
its artifact, and so does the first one, until upstream has told how long the artifact is; a later one of the same
node takes its place, and the earlier is answered. Where so many ask that they are told a pause (pace.py), none waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from envproxy.engine.flights import Flights
from envproxy.engine.remembered import Remembered
from envproxy.errors import ClientError

from .admission import Admission, check_stated
from .bell import Bell, Listener
from .directory import Assignment, Directory, Key, Node, Rules
from .messages import VERSION, Beat, Beaten, Given, Hello, Offer, Peer, Report, Want, Welcome
from .pace import Pace
from .pieces import Cut, Pieces
from .places import Places
from .tickets import LIFE_S, Ticket, sign

ADMITTED_S: Final = 60.0
ANNOUNCE_S: Final = 30.0
WAIT_S: Final = 5.0  # the longest that a Want may wait
NOTHING: Final = Assignment()
_ADMITTED: Final = 100_000  # remembered, some 300 bytes each


@dataclass(frozen=True, slots=True)
class Access:
    """A tenant may have an artifact until then, from the face that has the path at which it asked for it last."""

    key: Key
    path: str
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A question that waits for news."""

    want: Want
    news: Listener


class Desk:
    """See the module. `name` tells this directory from earlier ones.

    `clock` gives seconds since the epoch, by which peers end tickets; everything else goes by `monotonic`. `worked`
    gives the CPU time that this event loop took, in seconds.
    """

    def __init__(
        self,
        name: str,
        directory: Directory,
        pieces: Pieces,
        places: Places,
        looks: Flights[tuple[str, str], int | None],
        admission: Admission,
        bell: Bell,
        rules: Rules,
        *,
        heartbeat_s: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        worked: Callable[[], float],
        random: Random,
    ) -> None:
        self._name = name
        self._directory = directory
        self._pieces = pieces
        self._places = places
        self._looks = looks
        self._admission = admission
        self._bell = bell
        self._rules = rules
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._monotonic = monotonic
        self._worked = worked
        self._pace = Pace(random)
        self._looked = Remembered[tuple[str, str], float](_ADMITTED)  # until when a path need not be looked up
        self._admitted = Remembered[tuple[Key, str], Access](_ADMITTED)
        self._waiting: dict[tuple[Key, str], Waiting] = {}

    async def hello(self, hello: Hello, tenant: str) -> Welcome:
        """An agent comes. Raises Forbidden, NameTaken, ClientError for one that speaks another version."""
        check_stated(tenant, hello.tenant)
        if hello.version != VERSION:
            raise ClientError(
                f"{hello.node} speaks version {hello.version} of the swarm's messages, and this proxy {VERSION}",
                hint="give agents and proxy the same version of envmesh",
            )
        await self._directory.join(
            Node(hello.node, hello.epoch, hello.address, hello.zone, tenant, hello.slots)
        )  # fmt: skip
        return Welcome(
            directory=self._name,
            tenant=tenant,
            ticket_key=self._admission.key(tenant),
            heartbeat_s=self._heartbeat_s,
            expiry_s=self._rules.expiry_s,
            announce_s=ANNOUNCE_S,
            lease_s=self._rules.lease_s,
            wait_s=WAIT_S,
        )

    async def beat(self, beat: Beat, tenant: str) -> Beaten:
        """An agent lives."""
        return Beaten(again="hello" if beat.directory != self._name else await self._directory.beat(beat, tenant))

    async def report(self, report: Report, tenant: str) -> None:
        """Peers of an agent failed."""
        faults = [(Key(fault.sha256, tenant if fault.private else ""), fault) for fault in report.faults]
        await self._directory.report(report.node, report.epoch, faults, tenant=tenant)

    async def want(self, want: Want, tenant: str) -> Given:
        """What an agent is to do for an artifact. Raises NoSuchThing, PolicyRefused, UpstreamError, StorageFull."""
        if want.directory != self._name:
            return Given(again="hello")
        private = self._places.is_private(want.path)
        key = Key(want.sha256, tenant if private else "")
        pace_s = self._pace_s(want, key)
        until = self._monotonic() + min(want.wait_s, WAIT_S)
        cut = self._ready(key, want, tenant) or await self._cut_until(until, key, want, tenant)
        if cut is None:
            return Given(private=private)
        assignment = await self._assign(key, want, cut, tenant, 0.0 if pace_s else until)
        if assignment is None:
            return Given(again="hello")
        if self._pieces.known(want.sha256) is not cut:  # its size or hashes turned out wrong during the wait
            return Given(private=private)
        return self._given(key, want, cut, assignment, pace_s)

    def admitted(self, sha256: str, tenant: str) -> list[Access]:
        """What an artifact is to a tenant that was admitted to it of late: public, private, or both by two paths."""
        found = (self._admitted.recall((Key(sha256, owner), tenant)) for owner in ("", tenant))
        return [access for access in found if access is not None and access.until > self._monotonic()]

    def _pace_s(self, want: Want, key: Key) -> float:
        """How long the agent is to wait from this question to its next."""
        who = key, want.node
        if not (want.count or want.moving):
            self._pace.ends(who)
            return 0.0
        return self._pace.asks(who, self._monotonic(), self._worked())

    def _ready(self, key: Key, want: Want, tenant: str) -> Cut | None:
        """How the artifact is cut, if that is known and need not be looked up again."""
        now = self._monotonic()
        if (self._looked.recall((want.path, want.sha256)) or 0.0) <= now:
            return None
        self._admitted.keep((key, tenant), Access(key, want.path, now + ADMITTED_S))
        return self._pieces.known(want.sha256)

    async def _cut_until(self, until: float, key: Key, want: Want, tenant: str) -> Cut | None:
        """How the artifact is cut, as soon as that is known; None if it is not by then."""
        try:
            async with asyncio.timeout(max(0.0, until - self._monotonic())):
                return await self._cut(key, want, tenant)
        except TimeoutError:
            return None

    async def _cut(self, key: Key, want: Want, tenant: str) -> Cut:
        place, size = (want.path, want.sha256), None
        if (self._looked.recall(place) or 0.0) <= self._monotonic():
            size = await self._looks.join(place, lambda: self._places.look(*place))
            self._looked.keep(place, self._monotonic() + ADMITTED_S)
        self._admitted.keep((key, tenant), Access(key, want.path, self._monotonic() + ADMITTED_S))
        return await self._pieces.cut(want.sha256, want.path, size)

    async def _assign(self, key: Key, want: Want, cut: Cut, tenant: str, until: float) -> Assignment | None:
        """Something to do, or nothing after the wait; None if the node is not known."""
        place = key, want.node
        with self._bell.listening(want.sha256) as news:
            found = await self._directory.assign(key, want, cut.layout, cut.hashed, tenant=tenant)
            if found is None or _is_overtaken(want, self._waiting.get(place)):
                return found
            self._answer_now(place)  # the directory knows the sender, so nobody else takes that node's place
            self._waiting[place] = own = Waiting(want, news)
            try:
                while found == NOTHING and want.count and await news.wait(until - self._monotonic()):
                    if self._waiting.get(place) is not own:
                        break
                    found = await self._directory.assign(key, want, cut.layout, cut.hashed, tenant=tenant)
            finally:
                if self._waiting.get(place) is own:
                    del self._waiting[place]
        return found

    def _answer_now(self, place: tuple[Key, str]) -> None:
        """End the wait of the question that a later one of the same node replaces."""
        if (earlier := self._waiting.pop(place, None)) is not None:
            earlier.news.wake()

    def _given(self, key: Key, want: Want, cut: Cut, assignment: Assignment, pace_s: float) -> Given:
        return Given(
            private=bool(key.tenant),
            size=cut.layout.size,
            piece_bytes=cut.layout.piece_bytes,
            hashes_from=want.hashes,
            hashes=b"".join(cut.hashes[want.hashes :]),
            leases=list(assignment.leases),
            offers=[
                Offer(piece=offered.piece, peers=[self._peer(key, holder) for holder in offered.holders])
                for offered in assignment.offers
            ],
            pace_s=pace_s,
        )

    def _peer(self, key: Key, holder: Node) -> Peer:
        ticket = ""
        if key.tenant:
            expiry = int(self._clock()) + LIFE_S
            ticket = sign(Ticket(key.sha256, holder.name, key.tenant, expiry), self._admission.key(key.tenant))
        return Peer(node=holder.name, address=holder.address, zone=holder.zone, ticket=ticket)


def _is_overtaken(want: Want, waiting: Waiting | None) -> bool:
    """Whether a node's wait is of a `Want` that it sent later in the same life."""
    return waiting is not None and waiting.want.epoch == want.epoch and waiting.want.serial > want.serial
