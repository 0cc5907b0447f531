"""One piece, from the proxy or from one peer after the other: verified before it counts, resumed where it broke.

A peer that falls silent is left for the next one, which sends the rest. Invariant: the SHA-256 of a piece comes from
the proxy, and bytes that do not have it count for nothing. If one peer alone sent them it lied, and is never asked
for that artifact again; if several did, nobody can say who, and the next ones are asked for the whole piece.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envagent.peers.body import CACHED_BYTES, batches, tapped
from envagent.peers.choose import Candidate, Reputation, in_order
from envproxy.engine.flights import uninterrupted
from envproxy.errors import EnvproxyError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from random import Random

    import aiohttp

    from envagent.peers.events import EventLog, What
    from envagent.peers.holding import Holding, Incoming
    from envagent.peers.wire import Wire
    from envproxy.swarm.messages import Peer, Wrong

PAUSES_S = (0.05, 0.25)  # the shortest and the longest after a piece that no peer gave
PIECES_AT_ONCE = 12  # of all artifacts together
SMALL_BYTES = 1 << 20
SMALL_AT_ONCE = 48  # artifacts of at most SMALL_BYTES, beside the pieces: none waits for those of a big one


@dataclass(slots=True)
class Counts:
    """What this agent moved since it started, in bytes and pieces: for the status, nothing is decided by it."""

    origin_bytes: int = 0
    peer_bytes_down: int = 0
    peer_bytes_up: int = 0
    pieces_wrong: int = 0
    back_to_source: int = 0
    of: Counter[str] = field(default_factory=Counter)


class _Part:
    """A piece that is coming, and from whom so far; `is_right` is None until it was verified.

    It is verified, and marked as here, by the thread that wrote the last of it.
    """

    def __init__(self, holding: Holding, index: int, sha256: str) -> None:
        self.incoming = holding.incoming(index)
        self.givers: list[str] = []
        self.is_right: bool | None = None
        self._holding = holding
        self._sha256 = sha256
        self._refused: OSError | None = None

    async def fill(self, answer: aiohttp.ClientResponse, clock: Callable[[], float]) -> None:
        """Take all that the server sends. Raises UpstreamError if that is less than the piece.

        A disk in trouble is not the server's fault, and raises nothing here, where it would count as that.
        """
        tap = tapped(answer)
        try:
            if tap is None:
                await self._take_as_it_comes(answer, clock)
            else:
                with tap:
                    await tap.run(lambda: self._take(tap.batches(CACHED_BYTES)))
        except OSError as error:
            self._refused = error
            return
        came, size = self.incoming.filled, self.incoming.size
        if came != size:
            raise UpstreamError(f"only {came} of {size} bytes of a piece came", cause="connect")

    def verdict(self) -> bool:
        """Whether what came is the piece. OSError of the disk passes."""
        if self._refused is not None:
            raise self._refused
        return self.is_right is True

    def restart(self) -> None:
        """Forget all bytes so far, and who sent them."""
        self.incoming.restart()
        self.givers.clear()
        self.is_right = None

    async def _take_as_it_comes(self, answer: aiohttp.ClientResponse, clock: Callable[[], float]) -> None:
        async with aclosing(batches(answer, clock)) as coming:
            async for chunks in coming:
                await uninterrupted(asyncio.to_thread(self._take, chunks))

    def _take(self, chunks: Iterable[bytes | memoryview]) -> None:
        for chunk in chunks:
            self.incoming.append([chunk])
        if self.incoming.filled == self.incoming.size and self.is_right is None:
            self.is_right = self._holding.keep(self.incoming, self._sha256)


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
        async with self._slot(holding):
            part = _Part(holding, index, sha256)
            with self._noting(part, holding.sha256, ""):
                async with self._wire.from_proxy(holding.sha256, index, 0) as answer:
                    await part.fill(answer, self._clock)
            return part.verdict()

    async def from_peers(self, holding: Holding, index: int, sha256: str, peers: list[Peer]) -> bool:
        """Bring a piece from the first of the peers that can; whether it is here now."""
        by_node = {peer.node: peer for peer in peers}
        async with self._slot(holding):
            part = _Part(holding, index, sha256)
            for one in self._in_order(peers, holding.sha256):
                if await self._from_peer(holding.sha256, part, by_node[one.node]):
                    return True
        await asyncio.sleep(self._random.uniform(*PAUSES_S))  # all are busy, or the directory does not know yet
        return False

    async def _from_peer(self, artifact: str, part: _Part, peer: Peer) -> bool:
        index = part.incoming.index
        self.taking[peer.node] += 1
        part.givers.append(peer.node)
        try:
            with self._noting(part, artifact, peer.node):
                async with self._wire.from_peer(peer, artifact, index, part.incoming.filled) as answer:
                    await part.fill(answer, self._clock)
        except EnvproxyError as error:
            self._note_failure(artifact, index, peer, error)
            return False
        finally:
            self.taking[peer.node] -= 1
        if part.verdict():
            self._reputation.succeeded(peer.node)
            return True
        if set(part.givers) == {peer.node}:
            self._reputation.lied(peer.node, artifact)
            self._fault(artifact, index, peer.node, "bad_hash")
        part.restart()
        return False

    @contextmanager
    def _noting(self, part: _Part, artifact: str, giver: str) -> Iterator[None]:
        """Count a piece that was verified in this block, also where the block was cancelled right after it."""
        began = self._clock()
        try:
            yield
        finally:
            if part.is_right is not None:
                self._note_verified(artifact, part.incoming, giver, self._clock() - began, is_right=part.is_right)

    def _note_verified(
        self, artifact: str, incoming: Incoming, giver: str, seconds: float, *, is_right: bool
    ) -> None:
        what: What = "got" if is_right else "wrong"
        self._events.note(what, artifact, incoming.index, giver, count=incoming.size, seconds=seconds)
        if not is_right:
            self.counts.pieces_wrong += 1
        elif giver:
            self.counts.peer_bytes_down += incoming.size
            self.counts.of[giver] += incoming.size
        else:
            self.counts.origin_bytes += incoming.size

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

    def _slot(self, holding: Holding) -> asyncio.Semaphore:
        """What bounds the transfers of artifacts of that size."""
        return self._small_slots if holding.layout.size <= SMALL_BYTES else self._slots
