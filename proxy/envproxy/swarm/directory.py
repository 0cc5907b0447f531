"""The directory: which node has which piece, who may fetch one from the proxy, and whom to ask for the others.

Its state is soft: everything in it is said again by agents, or decided anew after a lease's life, so losing it costs
copies, never a wrong byte. Two promises hold at any time: **of one piece there is at most one live lease**, and a
piece that somebody wants is either leased to somebody, held by somebody, or leased to the next who asks.

Here are the contract and its words; `local.py` keeps it all in one process. tests/swarm has the conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from envproxy.errors import ClientError

from .layout import Layout
from .messages import Again, Beat, Fault, Want


class NameTaken(ClientError):
    """A node says hello under a name that a younger or another tenant's node has."""

    status = 409
    title = "Name taken"


@dataclass(frozen=True, slots=True)
class Key:
    """An artifact as one tenant sees it; `tenant` is "" for a public one, which all share."""

    sha256: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Node:
    """An agent in one of its lives: `epoch` grows with each. `slots` are the pieces that it sends at a time."""

    name: str
    epoch: int
    address: str
    zone: str
    tenant: str
    slots: int


@dataclass(frozen=True, slots=True)
class Offered:
    """A piece and who has it, the one to ask first in front."""

    piece: int
    holders: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a node is to do next: pieces to fetch from the proxy, and pieces to fetch from peers."""

    leases: tuple[int, ...] = ()
    offers: tuple[Offered, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.leases or self.offers)


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the directory; durations are seconds."""

    leases: int = 8  # outstanding for an artifact: as many senders the swarm can have in its first moment
    leases_per_node: int = 2  # one moving and one behind it, where there are too few nodes to keep the proxy busy
    lease_s: float = 5.0
    expiry_s: float = 15.0  # three heartbeats
    candidates: int = 3  # offered for a piece, the least busy of a sample
    sample: int = 15  # at random, or all would choose the same one (Dragonfly)
    accusers: int = 2  # that report wrong bytes before a node is banned: one alone could lie
    ban_s: float = 600.0
    settle_s: float = (
        3.0  # after a start what somebody has is not leased: others are about to say that they have more
    )

    def room(self, out: int, own: int) -> int:
        """How many leases more a node may get that has `own` of the `out` that are outstanding.

        What several nodes bring at the same time they can all give on; what one brings has only its line to leave by.
        """
        most = self.leases_per_node if out < self.leases / 2 else 1
        return max(0, min(self.leases - out, most - own))


class Directory(Protocol):
    """What every implementation does. Nothing raises but where it says so, and each call is one step."""

    async def join(self, node: Node) -> None:
        """A node comes. An earlier life of it is forgotten with all that it had; the same one again changes nothing.

        Raises NameTaken for an earlier epoch than the one known, or while the name is another tenant's.
        """

    async def beat(self, beat: Beat, tenant: str) -> Again:
        """A node lives, and tells what it has. "hello" if it is not known, "announce" if the counts differ."""

    async def assign(self, key: Key, want: Want, layout: Layout, hashed: int, *, tenant: str) -> Assignment | None:
        """What the node is to do now. None if it is not known, empty if there is nothing for it.

        `want.held` and `want.moving` replace what was known of the node; its leases in neither are free again. Only
        pieces in the set `hashed` are dealt out: of others nobody could tell whether they are right.
        """

    async def report(self, node: str, epoch: int, faults: Sequence[tuple[Key, Fault]], *, tenant: str) -> None:
        """Peers failed, says a node. Who sends wrong bytes is banned from an artifact as `bans.py` says.

        What is said of a peer that is not known says nothing of who has that name later.
        """

    async def touch(self, key: Key, node: str, piece: int, *, tenant: str, keep: bool) -> bool:
        """Whether the node is the tenant's and has a live lease of the piece; it is renewed with `keep`, else it ends
        now.
        """
