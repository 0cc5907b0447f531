"""One piece, from the proxy or from one peer after the other: verified before it is written, resumed where it broke.

A peer that falls silent is left for the next one, which sends the rest. Invariant: the SHA-256 of a piece comes from
the proxy, and bytes that do not have it are dropped. If one peer alone sent them it lied, and is never asked for that
artifact again; if several did, nobody can say who, and the next ones are asked for the whole piece.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envagent.peers.choose import Candidate, Reputation, in_order
from envproxy.engine.failures import NETWORK, translated
from envproxy.engine.flights import uninterrupted
from envproxy.errors import BadUpstreamBody, EnvproxyError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    import aiohttp

    from envagent.peers.events import EventLog, What
    from envagent.peers.holding import Holding
    from envagent.peers.wire import Wire
    from envproxy.swarm.messages import Peer, Wrong

PAUSES_S = (0.05, 0.25)  # the shortest and the longest after a piece that no peer gave
PIECES_AT_ONCE = 12  # in memory, of all artifacts together
SMALL_BYTES = 1 << 20
SMALL_AT_ONCE = 48  # pieces of at most SMALL_BYTES, beside the others: none of them waits for a big one to arrive


@dataclass(slots=True)
class Counts:
    """What this agent moved since it started, in bytes and pieces: for the status, nothing is decided by it."""

    origin_bytes: int = 0
    peer_bytes_down: int = 0
    peer_bytes_up: int = 0
    pieces_wrong: int = 0
    back_to_source: int = 0
    of: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Part:
    """A piece in memory: what came so far, and from whom."""

    data: bytearray
    filled: int = 0
    givers: list[str] = field(default_factory=list)

    def restart(self) -> None:
        self.filled = 0
        self.givers.clear()

    def append(self, chunk: bytes) -> None:
        if self.filled + len(chunk) > len(self.data):
            raise BadUpstreamBody(f"more than the {len(self.data)} bytes of a piece came")
        self.data[self.filled : self.filled + len(chunk)] = chunk
        self.filled += len(chunk)


class Pieces:
    """Brings single pieces. `clock` is monotonic, in seconds; `fault` is told (sha256, piece, node, what)."""

    def __init__(
        self,
        wire: Wire,
        reputation: Reputation,
        events: EventLog,
        *,
        zone: str,
        random: Random,
        clock: Callable[[], float],
        fault: Callable[[str, int, str, Wrong], None],
    ) -> None:
        self.counts = Counts()
        self.taking: Counter[str] = Counter()
        self._wire = wire
        self._reputation = reputation
        self._events = events
        self._zone = zone
        self._random = random
        self._clock = clock
        self._fault = fault
        self._slots = asyncio.Semaphore(PIECES_AT_ONCE)
        self._small_slots = asyncio.Semaphore(SMALL_AT_ONCE)

    def avoided(self, sha256: str, peers: Mapping[str, Peer]) -> list[str]:
        """The peers that are not to be asked for the artifact now."""
        now = self._clock()
        return [node for node in peers if not self._reputation.trusts(node, sha256, now)]

    async def from_proxy(self, holding: Holding, index: int, sha256: str) -> bool:
        """Bring a piece from the proxy; whether it is here now. Raises EnvproxyError if the proxy fails."""
        async with self._slot(holding, index):
            part = self._part(holding, index)
            began = self._clock()
            async with self._wire.from_proxy(holding.sha256, index, 0) as answer:
                await _read(answer, part)
            if not await self._kept(holding, index, sha256, part, "", began):
                return False
            self.counts.origin_bytes += part.filled
            return True

    async def from_peers(self, holding: Holding, index: int, sha256: str, peers: list[Peer]) -> bool:
        """Bring a piece from the first of the peers that can; whether it is here now."""
        by_node = {peer.node: peer for peer in peers}
        async with self._slot(holding, index):
            part = self._part(holding, index)
            for one in self._in_order(peers, holding.sha256):
                if await self._from_peer(holding, index, sha256, part, by_node[one.node]):
                    return True
        await asyncio.sleep(self._random.uniform(*PAUSES_S))  # all are busy, or the directory does not know yet
        return False

    async def _from_peer(self, holding: Holding, index: int, sha256: str, part: _Part, peer: Peer) -> bool:
        began = self._clock()
        self.taking[peer.node] += 1
        part.givers.append(peer.node)
        try:
            async with self._wire.from_peer(peer, holding.sha256, index, part.filled) as answer:
                await _read(answer, part)
        except EnvproxyError as error:
            self._note_failure(holding.sha256, index, peer, error)
            return False
        finally:
            self.taking[peer.node] -= 1
        if await self._kept(holding, index, sha256, part, peer.node, began):
            self._reputation.succeeded(peer.node)
            self.counts.peer_bytes_down += part.filled
            self.counts.of[peer.node] += part.filled
            return True
        if set(part.givers) == {peer.node}:
            self._reputation.lied(peer.node, holding.sha256)
            self._fault(holding.sha256, index, peer.node, "bad_hash")
        part.restart()
        return False

    async def _kept(self, holding: Holding, index: int, sha256: str, part: _Part, giver: str, began: float) -> bool:
        """Verify and write a piece that came whole."""
        is_right = await uninterrupted(asyncio.to_thread(holding.add, index, part.data, sha256))
        what: What = "got" if is_right else "wrong"
        self._events.note(what, holding.sha256, index, giver, count=part.filled, seconds=self._clock() - began)
        self.counts.pieces_wrong += not is_right
        return is_right

    def _note_failure(self, sha256: str, index: int, peer: Peer, error: EnvproxyError) -> None:
        """A peer that is only busy did nothing wrong, unless it always is."""
        self._events.note("failed", sha256, index, peer.node)
        if isinstance(error, UpstreamError) and error.answered == 503:
            self._reputation.had_no_slot(peer.node, self._clock())
            return
        self._reputation.failed(peer.node, self._clock())
        if isinstance(error, UpstreamError):
            self._fault(sha256, index, peer.node, "slow" if error.cause == "timeout" else "unreachable")

    def _in_order(self, peers: list[Peer], sha256: str) -> list[Candidate]:
        return in_order(
            [Candidate(peer.node, peer.address, peer.zone) for peer in peers],
            sha256=sha256,
            zone=self._zone,
            taking=self.taking,
            reputation=self._reputation,
            now=self._clock(),
        )

    def _slot(self, holding: Holding, index: int) -> asyncio.Semaphore:
        """What bounds the memory for pieces of that size."""
        start, stop = holding.layout.span(index)
        return self._small_slots if stop - start <= SMALL_BYTES else self._slots

    @staticmethod
    def _part(holding: Holding, index: int) -> _Part:
        start, stop = holding.layout.span(index)
        return _Part(bytearray(stop - start))


async def _read(answer: aiohttp.ClientResponse, part: _Part) -> None:
    """All that the server sends. Raises UpstreamError if that is less than the piece, BadUpstreamBody if more."""
    try:
        async for chunk in answer.content.iter_any():
            part.append(chunk)
    except NETWORK as error:
        raise translated(error, answer.url) from error
    if part.filled != len(part.data):
        raise UpstreamError(f"only {part.filled} of {len(part.data)} bytes of a piece came", cause="connect")
