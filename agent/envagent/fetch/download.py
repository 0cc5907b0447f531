"""One artifact from whichever source has it: verified while it streams, resumed, and tried elsewhere if need be.

A source that has nothing of the name, or something else under it, is not asked again; one that fails for the moment
is, in rounds with pauses between them. A refusal by the proxy (401, 403) is final: asking upstream would go around a
policy. Any number of processes may want one artifact at once; one of them downloads it and the others wait for the
file. Bytes are hashed and written in threads, a batch behind the network.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

from envagent.fetch.arrival import Arrival
from envagent.fetch.network import HOW_TO_LOG_IN
from envproxy.engine.endurance import may_resume
from envproxy.engine.flights import uninterrupted
from envproxy.errors import BadUpstreamBody, DigestMismatch, NoSuchThing, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envagent.fetch.network import Network
    from envagent.fetch.report import Report
    from envagent.fetch.sources import Place
    from envagent.lock.model import Package
    from envproxy.engine.answers import Body

P = ParamSpec("P")
T = TypeVar("T")

PAUSES_S = (0.5, 2.0, 5.0)
"""After each round of all sources; a server that asks for more (Retry-After) gets up to the longest pause."""
LONGEST_PAUSE_S = 30.0
BATCH_BYTES = 1 << 20
_LOCK_AGAIN = "the same command again gets the same answer; `envagent lock` finds files that are there"
POLL_S = 0.05  # how often to look whether another process has brought what it is at


class Unavailable(Exception):
    """No source gave the artifact; `reasons` says of each why not."""

    def __init__(self, reasons: Iterable[str], *, hint: str) -> None:
        self.reasons = tuple(dict.fromkeys(reasons))
        super().__init__("; ".join(self.reasons))
        self.hint = hint


@dataclass(slots=True)
class Patience:
    """How long to wait for servers that fail. Shared: what one download waited for in vain, the others need not."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    pauses_s: tuple[float, ...] = PAUSES_S

    def is_lost(self) -> None:
        """Every server was given its time and still fails."""
        self.pauses_s = ()


@dataclass(slots=True)
class Download:
    """One artifact that is not here yet; `places` are tried in order."""

    package: Package
    places: tuple[Place, ...]
    artifacts: Artifacts
    network: Network
    report: Report
    patience: Patience
    _reasons: dict[Place, str] = field(default_factory=dict)
    _hint: str = ""

    async def run(self, slots: asyncio.Semaphore) -> Path:
        """The verified artifact; `slots` bounds how many download at once. Raises Unavailable; OSError passes."""
        while True:
            async with slots:
                found = self.artifacts.claim(self.package.sha256, self.package.size)
                if isinstance(found, Arrival):
                    return await self._bring(found)
            if found is not None:
                return found
            await self.patience.sleep(POLL_S)

    async def _bring(self, arrival: Arrival) -> Path:
        try:
            self.report.received(await _in_thread(arrival.resume))
            if arrival.received == arrival.size and (path := await _in_thread(self._finished, arrival)):
                return path
            return await self._in_rounds(arrival)
        except OSError:
            arrival.discard()  # the disk is in trouble: leave nothing on it
            raise
        finally:
            arrival.give_up()

    async def _in_rounds(self, arrival: Arrival) -> Path:
        places = list(self.places)
        for round_ in itertools.count():
            asked_s = 0.0
            for place in tuple(places):
                try:
                    return await self._from(place, arrival)
                except (NoSuchThing, UpstreamError) as error:
                    self._note(place, error)
                    if _may_pass(error):
                        asked_s = max(asked_s, _asked_for(error))
                    else:
                        places.remove(place)
            if not places:
                break
            if round_ >= len(self.patience.pauses_s):
                self.patience.is_lost()
                break
            await self.patience.sleep(max(self.patience.pauses_s[round_], min(asked_s, LONGEST_PAUSE_S)))
        raise Unavailable(self._reasons.values(), hint=self._hint or (_LOCK_AGAIN if not places else ""))

    def _note(self, place: Place, error: NoSuchThing | UpstreamError) -> None:
        """Remember why a place failed. Raises Unavailable for a refusal by the proxy."""
        if place.is_proxy and isinstance(error, UpstreamError) and error.answered in {401, 403}:
            raise Unavailable([error.message], hint=HOW_TO_LOG_IN if error.answered == 401 else "") from error
        if isinstance(error, UpstreamError) and error.cause == "breaker_open" and place in self._reasons:
            return  # that it failed a moment ago is known already, and why
        self._reasons[place] = error.message
        self._hint = self._hint or error.hint
        self.report.troubled(self.package.filename, error.message)

    async def _from(self, place: Place, arrival: Arrival) -> Path:
        """Raises NoSuchThing or UpstreamError if it does not come whole from there."""
        if path := await self._from_node(place, arrival):
            return path
        while True:
            began = arrival.received
            try:
                async with self.network.stream(place, arrival.sha256, offset=began) as body:
                    _check(body, arrival, place)
                    if body.start != began:  # the server does not do ranges
                        self._forget(arrival)
                    is_from_start = arrival.received == 0
                    rest = await self._take(body, arrival)
                path = await _in_thread(self._completed, arrival, rest)
            except UpstreamError as error:
                if _may_pass(error) and arrival.received > began:
                    continue
                raise
            if path is not None:
                return path
            if is_from_start:
                raise DigestMismatch(f"{_host(place)} has other bytes than the lock names")

    async def _from_node(self, place: Place, arrival: Arrival) -> Path | None:
        """The file that a node of the swarm in this process has verified; None if it has none of that size."""
        if not await self.network.bring(place, arrival.sha256, self.report.received):
            return None
        path = self.artifacts.find(arrival.sha256, arrival.size)
        if path is not None:
            self.report.received(-arrival.received)
            self.artifacts.vouch(arrival.sha256)
            arrival.discard()
        return path

    async def _take(self, body: Body, arrival: Arrival) -> list[bytes]:
        """Append what comes; the last of it is returned, to be appended when the artifact is completed."""
        tell = asyncio.get_running_loop().call_soon_threadsafe

        def append(batches: Iterator[memoryview]) -> None:
            for batch in batches:
                arrival.append([batch])
                tell(self.report.received, len(batch))
                _refuse_more(arrival, arrival.received)

        try:
            if await body.taken_by(append):
                return []
            return await self._take_chunks(body, arrival)
        except UpstreamError:
            if arrival.received > arrival.size:  # of another file: nothing that the next place could go on with
                self._forget(arrival)
            raise

    async def _take_chunks(self, body: Body, arrival: Arrival) -> list[bytes]:
        blocks: list[bytes] = []
        size, total = 0, arrival.received
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in body.chunks(most=None):
                blocks.append(chunk)
                size, total = size + len(chunk), total + len(chunk)
                self.report.received(len(chunk))
                _refuse_more(arrival, total)
                if size >= BATCH_BYTES:
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(_in_thread(arrival.append, blocks))
                    blocks, size = [], 0
        except UpstreamError:
            if writing is not None:
                await writing
                writing = None
            await _in_thread(arrival.append, blocks)
            raise
        finally:
            if writing is not None:
                await writing
        return blocks

    def _forget(self, arrival: Arrival) -> None:
        self.report.received(-arrival.received)
        arrival.restart()

    def _completed(self, arrival: Arrival, rest: list[bytes]) -> Path | None:
        arrival.append(rest)
        if arrival.received < arrival.size:
            raise UpstreamError(f"only {arrival.received} of {arrival.size} bytes came", cause="connect")
        return self._finished(arrival)

    def _finished(self, arrival: Arrival) -> Path | None:
        """The artifact in its place; None if its bytes are wrong, and then there are none."""
        path = arrival.finish()
        if path is None:
            self.report.received(-arrival.size)
        return path


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but never ends before the thread does: nobody may close a file under it."""
    return await uninterrupted(asyncio.to_thread(work, *args, **kwargs))


def _check(body: Body, arrival: Arrival, place: Place) -> None:
    if body.total is not None and body.total != arrival.size:
        raise BadUpstreamBody(f"{_host(place)} has {body.total} bytes, the lock names {arrival.size}")
    if body.start not in {0, arrival.received}:
        raise BadUpstreamBody(f"{_host(place)} sent another part than was asked for")


def _refuse_more(arrival: Arrival, total: int) -> None:
    if total > arrival.size:
        raise BadUpstreamBody(f"more than {arrival.size} bytes came")


def _may_pass(error: NoSuchThing | UpstreamError) -> bool:
    """Whether the same server may do better in a while."""
    if not isinstance(error, UpstreamError):
        return False
    return error.answered == 429 or may_resume(error.cause, idle=0, seen=0, fits=True)


def _asked_for(error: NoSuchThing | UpstreamError) -> float:
    """The seconds of Retry-After that a busy server asks for."""
    return float(error.retry_after_s) if isinstance(error, UpstreamError) and error.answered in {429, 503} else 0.0


def _host(place: Place) -> str:
    return "the proxy" if place.is_proxy else urlsplit(place.url).netloc
