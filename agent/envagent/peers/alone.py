"""What known peers have of an artifact, for when the directory does not answer: they are asked, and compared.

Hashes of pieces come from the proxy alone. Without it an artifact can be begun only if it is a single piece, for the
hash of that is the digest which was asked for. Invariant: what a peer says decides whom to ask for what, and nothing
else.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.peers.choose import rarest_first
from envproxy.swarm import bitmap
from envproxy.swarm.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from envagent.peers.wire import Wire
    from envproxy.swarm.messages import Peer


@dataclass(frozen=True, slots=True)
class Holder:
    """A peer that says of an artifact that it has `size` bytes, and that these pieces of it are there."""

    peer: Peer
    size: int
    pieces: frozenset[int]


async def holders(wire: Wire, peers: Iterable[Peer], sha256: str) -> list[Holder]:
    """Ask them all at once; those that say that they have something."""
    asked = list(peers)
    answers = await asyncio.gather(*(wire.have(peer, sha256) for peer in asked))
    return [
        Holder(peer, answer.size, frozenset(bitmap.pieces(bitmap.from_bytes(answer.held))))
        for peer, answer in zip(asked, answers, strict=True)
        if answer is not None
    ]


def of_one_piece(found: Iterable[Holder]) -> list[tuple[Layout, list[Peer]]]:
    """Those that have all of an artifact of one piece, by the size that they state: what most say comes first."""
    by_size: defaultdict[int, list[Peer]] = defaultdict(list)
    for holder in found:
        if 0 in holder.pieces and Layout.of(holder.size).count == 1:
            by_size[holder.size].append(holder.peer)
    return [(Layout.of(size), by_size[size]) for size in sorted(by_size, key=lambda size: -len(by_size[size]))]


def rarest(
    found: Iterable[Holder], layout: Layout, missing: Iterable[int], random: Random
) -> list[tuple[int, list[Peer]]]:
    """The missing pieces that somebody has, those that the fewest have first, each with its holders in any order."""
    having = [one for one in found if one.size == layout.size]
    shuffled = random.sample(range(layout.count), layout.count)
    order = rarest_first(missing, [one.pieces for one in having], shuffled)
    return [(index, _shuffled((one.peer for one in having if index in one.pieces), random)) for index in order]


def _shuffled(peers: Iterable[Peer], random: Random) -> list[Peer]:
    among = list(peers)
    return random.sample(among, len(among))
