"""What a download is about, and what it works with: values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from envagent.peers.inventory import Inventory
    from envagent.peers.membership import Membership, Publicity
    from envagent.peers.pieces import Pieces
    from envagent.peers.wire import Wire


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact: its digest, and its path on the proxy's faces."""

    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a download works with; `clock` is monotonic, in seconds, `serials` number its questions."""

    wire: Wire
    membership: Membership
    publicity: Publicity
    inventory: Inventory
    pieces: Pieces
    random: random.Random
    clock: Callable[[], float]
    serials: Iterator[int]
