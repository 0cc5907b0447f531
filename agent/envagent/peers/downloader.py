"""One artifact on its way to this node: what the directory leases is taken from the proxy, the rest from peers.

Each turn tells the directory what is here and what is moving, and starts what it gives; a piece that lands ends the
turn, for others wait to hear of it. In a large swarm it ends with the pace that the directory sets, and more pieces
queue here (asking.py). Without the directory a download goes on with known peers (alone.py), and begins if one piece
is all there is; it takes single pieces from the proxy after a random pause. Readers get verified bytes in order while
the rest arrives (growing.py).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from envagent.peers.alone import Holder, holders, of_one_piece, rarest
from envagent.peers.asking import AT_ONCE, Asking
from envagent.peers.growing import Growing
from envagent.peers.questions import Questions
from envagent.peers.wire import OriginFailed
from envproxy.errors import BadUpstreamBody, DigestMismatch, EnvproxyError, StorageFull, UpstreamError
from envproxy.swarm import bitmap
from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import Want

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from envagent.peers.holding import Holding
    from envagent.peers.surroundings import Surroundings, Wanted
    from envproxy.swarm.messages import Given, Offer

WAIT_S = 1.0  # for news, in the directory
PATIENCE_S = 60.0  # without a single piece, while the directory does not answer
FIRST_PATIENCE_S = 10.0  # before anything is known of the artifact: its clients can tell nothing from a slow network
ALONE_S = 5.0  # with the peers, after the directory did not answer: it may take its whole timeout again
PAUSES_S = (0.2, 2.0)  # the shortest and the longest before the proxy is asked without a lease
MOST_WRONG = 3  # pieces of the proxy itself that are not what it says they are
_DIGEST = 32


class Download(Growing):
    """See the module. `run()` does the work; any number of readers go by what `Growing` has for them."""

    def __init__(self, wanted: Wanted, around: Surroundings) -> None:
        super().__init__()
        self.wanted = wanted
        self._around = around
        self._hashes: list[str] = []
        self._moving: dict[int, asyncio.Task[None]] = {}
        self._wrong = 0
        self._proxy_fails = False
        self._failure: EnvproxyError | None = None
        self._refused: OSError | None = None
        self._landed = asyncio.Event()
        self._asking = Asking()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._questions = Questions()
        self._last_news = around.clock()
        self._alone_until = 0.0

    @property
    def moving(self) -> list[int]:
        """The pieces under way."""
        return sorted(self._moving)

    # --- the work ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring the artifact. Raises EnvproxyError; readers get the same error."""
        try:
            while self.holding is None or not self.holding.is_whole:
                await self._turn()
            await self._complete(self.holding)
        except EnvproxyError as error:
            self._error = error
            raise
        except OSError as error:
            self._error = self._unwritable(error)
            raise self._error from error
        except BaseException:
            self._error = UpstreamError(f"the download of {self.wanted.sha256} was stopped", cause="connect")
            raise
        finally:
            await self._stop()
            self._tell()

    async def _turn(self) -> None:
        """Ask the directory once, when it is time, and start what it gives."""
        self._landed.clear()
        self._check()
        if await self._goes_on_alone():
            await self._landed_or(self._around.membership.renewal_s)
            return
        if self._proxy_fails:  # then what it leases next may be the same
            self._proxy_fails = False
            await self._landed_or(self._around.random.uniform(*PAUSES_S))
        await self._rest(self._asking.pause_s(self._around.clock()))
        if self._is_done:
            return
        self._landed.clear()  # what landed until now is told
        try:
            given = await self._answer()
        except UpstreamError as error:
            await self._without_directory(error)
            return
        if given is None:
            return
        if given.again:
            await self._around.membership.obey(given.again)
            return
        self._asking = self._asking.answered(given.pace_s)
        if given.size is not None:
            await self._begin(given.size, private=given.private)
            self._learn(given)
            self._start_given(given)
        if not self._asking.count(len(self._moving)):
            await self._landed_or(self._around.membership.renewal_s)

    @property
    def _is_done(self) -> bool:
        """Whether there is nothing to ask for any more."""
        return self._refused is not None or (self.holding is not None and self.holding.is_whole)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless that makes no difference any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._is_done:
                    await self._landed.wait()
                    self._landed.clear()

    async def _answer(self) -> Given | None:
        """Ask for as many pieces as there is room for; None if a piece lands before, which has to be told."""
        count, pace_s = self._asking.count(len(self._moving)), self._asking.pace_s
        self._asking = self._asking.asked(self._around.clock())
        return await self._questions.ask(self._ask(count), self._landed, is_patient=pace_s > 0)

    def _check(self) -> None:
        """Raise what makes it vain to go on."""
        if self._refused is not None:
            raise self._unwritable(self._refused) from self._refused
        if self._wrong >= MOST_WRONG:
            raise DigestMismatch(f"the proxy sends other pieces of {self.wanted.sha256} than it says")
        if self._failure is not None and not self._moving and (self._is_late or self._is_vain(self._failure)):
            raise self._failure

    def _unwritable(self, error: OSError) -> StorageFull:
        return StorageFull(
            f"{self.wanted.sha256} cannot be written: {error.strerror}",
            hint="make room on the disk of this node; the pieces that are here are kept",
        )

    @property
    def _is_late(self) -> bool:
        patience = FIRST_PATIENCE_S if self.holding is None else PATIENCE_S
        return self._around.clock() - self._last_news > patience

    def _is_vain(self, error: EnvproxyError) -> bool:
        """Whether the proxy says that the artifact is not to be had, and there is nothing yet to be patient for."""
        if isinstance(error, OriginFailed):
            return self.holding is None or not self.holding.verified
        return isinstance(error, DigestMismatch)

    async def _ask(self, count: int, held: int | None = None) -> Given:
        """Tell the directory what is here, or that it is only `held`, and ask for so many pieces."""
        around = self._around
        if held is None:
            held = self.holding.verified if self.holding else 0
        await around.membership.join()
        identity = around.membership.identity
        return await around.wire.want(
            Want(
                node=identity.node,
                epoch=identity.epoch,
                directory=around.membership.directory,
                sha256=self.wanted.sha256,
                path=self.wanted.path,
                held=bitmap.to_bytes(held),
                moving=bitmap.to_bytes(sum(1 << index for index in self._moving)),
                count=count,
                hashes=len(self._hashes),
                avoid=around.pieces.avoided(self.wanted.sha256, around.membership.known),
                wait_s=WAIT_S,
                serial=next(around.serials),
            )
        )

    async def _begin(self, size: int, *, private: bool) -> None:
        if self.holding is None:
            await asyncio.to_thread(self._around.publicity.learn, self.wanted.sha256, private=private)
            self.holding = await self._around.inventory.begin(self.wanted.sha256, Layout.of(size))
            self._tell()
        elif self.holding.layout.size != size:  # readers were told the other, so only a new download helps
            stated = self.holding.layout.size
            raise BadUpstreamBody(f"{self.wanted.path} has {size} bytes, not the {stated} that were stated first")

    def _learn(self, given: Given) -> None:
        """Take the hashes that are new; an answer to an older question may repeat some."""
        digests = [given.hashes[at : at + _DIGEST].hex() for at in range(0, len(given.hashes), _DIGEST)]
        if given.hashes_from <= len(self._hashes):
            self._hashes += digests[len(self._hashes) - given.hashes_from :]

    def _start_given(self, given: Given) -> None:
        assert self.holding is not None
        self._around.membership.meet(given.offers)
        for index in given.leases:
            self._start(index, self._from_proxy(self.holding, index))
        for offer in given.offers:
            self._start(offer.piece, self._from_peers(self.holding, offer))

    def _hash(self, index: int) -> str:
        """The digest of a piece, "" while it is not known: then no bytes have it."""
        return self._hashes[index] if index < len(self._hashes) else ""

    def _start(self, index: int, work: Coroutine[None, None, bool]) -> None:
        if index in self._moving or (self.holding and self.holding.verified >> index & 1):
            work.close()
            return

        async def moved() -> None:
            try:
                if await work:
                    self._last_news, self._failure = self._around.clock(), None
                    self._asking = self._asking.with_landed()
            except OSError as error:
                self._refused = error
            finally:
                del self._moving[index]
                self._landed.set()
                self._tell()

        self._moving[index] = asyncio.create_task(moved(), name=f"piece:{index}")

    async def _from_proxy(self, holding: Holding, index: int) -> bool:
        """A leased piece; if the proxy fails, the directory leases it again, to this agent or another."""
        try:
            is_here = await self._around.pieces.from_proxy(holding, index, self._hash(index))
        except EnvproxyError as error:
            self._proxy_fails, self._failure = True, error
            return False
        self._wrong += not is_here
        return is_here

    async def _from_peers(self, holding: Holding, offer: Offer) -> bool:
        """An offered piece, once so few others move."""
        async with self._at_once:
            return await self._around.pieces.from_peers(holding, offer.piece, self._hash(offer.piece), offer.peers)

    async def _complete(self, holding: Holding) -> None:
        path = await self._around.inventory.finish(holding)
        if path is None:
            raise DigestMismatch(
                f"the pieces of {self.wanted.sha256} are what the proxy says, but the whole is not",
                hint="the file was changed upstream or on the way; nothing of it was kept",
            )
        self.path = path
        self._tell()
        self._around.membership.announce_soon()
        with suppress(EnvproxyError):  # the next heartbeat says it again
            await self._ask(count=0)

    async def _stop(self) -> None:
        await self._questions.stop()
        tasks = list(self._moving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._moving.clear()  # one that was cancelled before it began has not gone by itself
        if self.holding is not None and self.path is None and self._around.inventory.holding(self.wanted.sha256):
            if isinstance(self._error, DigestMismatch):  # pieces, too, were what wrong bytes said they were
                await self._around.inventory.drop(self.holding)
            else:
                await self._around.inventory.set_aside(self.holding)

    async def renounce(self) -> None:
        """After a failure: tell the directory that nothing can be had here or moves, so that others go on."""
        with suppress(EnvproxyError):  # then the leases end with their time
            await self._ask(count=0, held=0)

    # --- the directory is lost -----------------------------------------------------------------------------

    async def _without_directory(self, error: UpstreamError) -> None:
        """Go on with known peers; take what nobody has from the proxy, one piece after a random pause."""
        around = self._around
        if self._is_vain(error) or (self.holding is None and error.answered is not None):
            raise error  # the proxy is there, and its upstream is not
        self._failure = error
        self._alone_until = around.clock() + ALONE_S
        if self.holding is None and await self._whole_from_known():
            return
        await self._goes_on_alone()
        await self._landed_or(around.random.uniform(*PAUSES_S))
        if self.holding is not None and not self._moving and (index := self._any_missing(self.holding)) is not None:
            around.pieces.counts.back_to_source += 1
            self._start(index, self._from_proxy(self.holding, index))

    async def _goes_on_alone(self) -> bool:
        """Whether pieces of known peers move, and the directory was lost a moment ago: then it can wait."""
        if self.holding is None or self._around.clock() >= self._alone_until:
            return False
        if len(self._moving) < AT_ONCE:
            await self._start_known(self.holding)
        return bool(self._moving)

    async def _known_holders(self) -> list[Holder]:
        """What peers say that are known, and not to be left alone now."""
        around, sha256 = self._around, self.wanted.sha256
        avoided = around.pieces.avoided(sha256, around.membership.known)
        peers = [peer for node, peer in around.membership.known.items() if node not in avoided]
        return await holders(around.wire, peers, sha256)

    async def _whole_from_known(self) -> bool:
        """Bring an artifact of one piece from known peers; whether it is here.

        Its size is their word: readers hear it when the bytes are right. It stays private until the proxy says not.
        """
        around, sha256 = self._around, self.wanted.sha256
        for layout, peers in of_one_piece(await self._known_holders()):
            holding = await around.inventory.begin(sha256, layout)
            try:
                if holding.is_whole or await around.pieces.from_peers(holding, 0, sha256, peers):
                    self.holding = holding
                    return True
            finally:
                if self.holding is None:
                    await around.inventory.set_aside(holding)
        return False

    async def _start_known(self, holding: Holding) -> None:
        """Start pieces that known peers have, the rarest first."""
        found, pieces = await self._known_holders(), self._around.pieces
        startable = rarest(found, holding.layout, self._missing(holding), self._around.random)
        for index, givers in startable[: AT_ONCE - len(self._moving)]:
            self._start(index, pieces.from_peers(holding, index, self._hash(index), givers))

    def _missing(self, holding: Holding) -> list[int]:
        """The pieces that could be verified and are neither here nor moving."""
        absent = bitmap.pieces(holding.layout.all & ~holding.verified)
        return [index for index in absent if index < len(self._hashes) and index not in self._moving]

    def _any_missing(self, holding: Holding) -> int | None:
        return self._around.random.choice(missing) if (missing := self._missing(holding)) else None

    async def _landed_or(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._landed.wait()
