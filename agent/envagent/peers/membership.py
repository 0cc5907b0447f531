"""The agent's place in the swarm: it says hello, shows that it lives, and tells what it has.

What the directory knows is soft, so it is told again whenever it asks, and after each of its restarts. Until it
answers, everything works with the peers that are known from before; but a node whose secret it refuses at the start
has no place in the swarm. Invariant: an artifact that is not known to be public is announced as private.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import AccessRefused
from envagent.peers.wire import HOW_TO_JOIN
from envproxy.errors import EnvproxyError, NoSuchThing, PolicyRefused, Unauthorized, UpstreamError
from envproxy.swarm.messages import MAX_HOLDINGS, Beat, Hello, Holding, Welcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from envagent.peers.wire import Wire
    from envproxy.swarm.messages import Again, Offer, Peer

RETRY_S = 1.0  # between two attempts to reach a directory that does not answer
KNOWN_PEERS = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is: `epoch` grows with each start, `address` is the origin at which peers reach it."""

    node: str
    epoch: int
    address: str
    zone: str = ""
    tenant: str = ""
    slots: int = 8


class Publicity:
    """Which artifacts everybody may have: a file of digests, one a line. What is not in it is private."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._public = set(path.read_text().split()) if path.exists() else set()

    def is_private(self, sha256: str) -> bool:
        """Whether only this tenant may have the artifact."""
        return sha256 not in self._public

    def learn(self, sha256: str, *, private: bool) -> None:
        """What the directory says of an artifact (blocking). OSError passes."""
        if private == self.is_private(sha256):
            return
        if private:
            self._public.discard(sha256)
            self._path.write_text("".join(f"{one}\n" for one in sorted(self._public)))
        else:
            self._public.add(sha256)
            with self._path.open("a") as file:
                file.write(f"{sha256}\n")


class Membership:
    """See the module. `whole()` gives the sizes of whole artifacts by digest (blocking), `busy()` running uploads."""

    def __init__(
        self,
        identity: Identity,
        wire: Wire,
        publicity: Publicity,
        *,
        whole: Callable[[], Mapping[str, int]],
        busy: Callable[[], int],
    ) -> None:
        self.identity = identity
        self.welcome: Welcome | None = None
        self.known: OrderedDict[str, Peer] = OrderedDict()
        self._wire = wire
        self._publicity = publicity
        self._whole = whole
        self._busy = busy
        self._announced: dict[str, int] = {}
        self._joining = asyncio.Lock()
        self._soon = asyncio.Event()

    @property
    def directory(self) -> str:
        """The directory that knows this agent, "" for none."""
        return self.welcome.directory if self.welcome else ""

    @property
    def renewal_s(self) -> float:
        """After which the directory must hear again of what moves, or the leases of it end."""
        return self.welcome.lease_s / 2 if self.welcome else RETRY_S

    def meet(self, offers: Iterable[Offer]) -> None:
        """Remember the peers that the directory names, for when it is lost: the latest KNOWN_PEERS."""
        for peer in (peer for offer in offers for peer in offer.peers):
            self.known[peer.node] = peer
            self.known.move_to_end(peer.node)
        while len(self.known) > KNOWN_PEERS:
            self.known.popitem(last=False)

    def announce_soon(self) -> None:
        """There is a new whole artifact: do not wait for the next heartbeat."""
        self._soon.set()

    async def come(self) -> None:
        """Say hello for the first time. Raises AccessRefused; where that fails otherwise `beat_often` tries again."""
        try:
            await self.join()
        except (Unauthorized, PolicyRefused) as error:
            raise AccessRefused(f"{_what_fails(error)}: {error}", hint=HOW_TO_JOIN) from error
        except (EnvproxyError, OSError) as error:
            _log.info("the first hello failed: %s", error)

    async def join(self) -> Welcome:
        """Say hello and announce all, unless the directory knows this agent. Raises as `Wire.hello`."""
        async with self._joining:
            if self.welcome is None:
                me = self.identity
                self.welcome = await self._wire.hello(
                    Hello(
                        node=me.node,
                        epoch=me.epoch,
                        address=me.address,
                        zone=me.zone,
                        tenant=me.tenant,
                        slots=me.slots,
                    )
                )
                await self._announce(anew=True)
            return self.welcome

    async def obey(self, again: Again) -> None:
        """Do what the directory asks for. Raises as `Wire.hello`."""
        if again == "hello":
            self.welcome = None
            await self.join()
        elif again == "announce":
            async with self._joining:
                await self._announce(anew=True)

    async def beat_often(self) -> None:
        """Beat for ever; what fails, the directory or the disk, is tried again, and said once."""
        said = ""
        while True:
            try:
                welcome = await self.join()
                async with self._joining:
                    again = await self._announce(anew=False)
                await self.obey(again)
                pause, said = welcome.heartbeat_s, ""
            except (EnvproxyError, OSError) as error:
                if said != (said := _what_fails(error)):
                    _log.warning("%s: %s", said, error)
                pause = RETRY_S
            await self._pause(pause)

    async def leave(self) -> None:
        """Say goodbye, if anybody listens."""
        if self.welcome is None:
            return
        try:
            await self._wire.beat(self._beat(leaving=True))
        except EnvproxyError as error:
            _log.info("nobody heard that this agent leaves: %s", error)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        except TimeoutError:
            pass
        self._soon.clear()

    async def _announce(self, *, anew: bool) -> Again:
        """Tell what is new since the last time, or all, in as many messages as it takes."""
        whole = dict(await asyncio.to_thread(self._whole))
        if anew:
            self._announced = {}
        news = [sha256 for sha256 in whole if sha256 not in self._announced]
        gone = [sha256 for sha256 in self._announced if sha256 not in whole][:MAX_HOLDINGS]
        again: Again = ""
        for start in range(0, max(1, len(news)), MAX_HOLDINGS):
            part = news[start : start + MAX_HOLDINGS]
            holdings = [
                Holding(sha256=sha256, size=whole[sha256], private=self._publicity.is_private(sha256))
                for sha256 in part
            ]
            self._announced |= {sha256: whole[sha256] for sha256 in part}
            for sha256 in gone:
                self._announced.pop(sha256, None)
            message = self._beat(holdings=holdings, gone=gone, anew=anew and start == 0)
            again = (await self._wire.beat(message)).again
            gone = []
        return again

    def _beat(
        self,
        *,
        holdings: list[Holding] | None = None,
        gone: list[str] | None = None,
        anew: bool = False,
        leaving: bool = False,
    ) -> Beat:
        return Beat(
            node=self.identity.node,
            epoch=self.identity.epoch,
            directory=self.directory,
            busy=self._busy(),
            artifacts=len(self._announced),
            anew=anew,
            leaving=leaving,
            holdings=holdings or [],
            gone=gone or [],
        )


def _what_fails(error: EnvproxyError | OSError) -> str:
    match error:
        case OSError():
            return "the artifacts here cannot be listed"
        case Unauthorized() | PolicyRefused():
            return "the proxy refuses the swarm-secret of this node"
        case NoSuchThing():
            return "the proxy has no swarm"
        case UpstreamError(answered=int()):
            return "the directory of the swarm fails"
        case _:
            return "the directory of the swarm does not answer"
