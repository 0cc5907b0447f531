"""The list of every project of an index (PEP 503, 691): for people and mirrors, no installer asks for it.

It is made of the lists of all sources when somebody asks for it, kept as two blobs, and made anew a day later behind
the back of whoever asks then. A source that fails makes no thinner list: the last one goes out, or an error. Names
that the policy refuses altogether are left out, and no list that was made under another policy ever goes out. Names
need not exist any more; nothing else in the proxy ever looks at a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from envproxy.engine.answers import Absent, Incoming
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog, Page
from envproxy.engine.flights import Flights, uninterrupted
from envproxy.engine.store import Partial
from envproxy.engine.upstream import Upstream
from envproxy.errors import EnvproxyError, UpstreamError

from .admission import EVERY_NAME, Admission
from .index import CacheResult
from .render import Format
from .roster import NameReader, Roster
from .source import Source

FRESH_S = 86_400.0
RECHECK_S = 600.0  # a client that asks past caches is believed at most this often: PyPI's list is 40 MB
RETRY_S = 60.0  # how long a list that could not be made is not tried again
PATIENCE_S = 8.0  # how long a client waits for a list in the making (pip gives up after 15 s without a byte)
COME_BACK_S = 10  # and when it shall come again


@dataclass(frozen=True, slots=True)
class Made:
    """A list: the SHA-256 of its two blobs, when it was made (seconds since the epoch), and of which names."""

    json: str
    html: str
    made_at: float
    admission: Admission = EVERY_NAME

    def blob(self, fmt: Format) -> str:
        """The blob that holds this format."""
        return self.json if fmt is Format.JSON else self.html


class Listing:
    """The list of one index. `patience_s` is how long a client waits; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        index: str,
        sources: Sequence[Source],
        artifacts: Artifacts,
        catalog: Catalog,
        flights: Flights[str, Made],
        *,
        admission: Admission,
        clock: Callable[[], float],
    ) -> None:
        self.patience_s = PATIENCE_S
        self._index = index
        self._sources = tuple(sources)
        self._artifacts = artifacts
        self._catalog = catalog
        self._flights = flights
        self._admission = admission
        self._clock = clock
        # What is hosted here is listed at once, it costs next to nothing.
        self._fresh_s = FRESH_S if any(source.upstream for source in sources) else 0.0
        self._made: Made | None = None
        self._failure: EnvproxyError | None = None
        self._retry_at = 0.0

    async def get(self, *, ask: bool = False) -> tuple[Made, CacheResult]:
        """The list. `ask` goes past our freshness. Raises `UpstreamError`, `StorageFull`."""
        last, now = await self._last(), self._clock()
        if last is not None and now - last.made_at < (min(RECHECK_S, self._fresh_s) if ask else self._fresh_s):
            return last, "hit"
        if self._failure is not None and now < self._retry_at:
            return self._in_outage(last, self._failure)
        making = self._flights.start(self._index, self._make)
        if last is not None and self._fresh_s and not ask:
            return last, "stale"
        try:
            async with asyncio.timeout(self.patience_s):
                made = await asyncio.shield(making)
        except TimeoutError:
            slow = UpstreamError(
                f"the list of index {self._index} is being made", cause="timeout", retry_after_s=COME_BACK_S
            )
            return self._in_outage(last, slow)
        except EnvproxyError as error:
            return self._in_outage(last, error)
        return made, "revalidated" if last is not None and last.json == made.json else "miss"

    def fresh_for(self, made: Made) -> int:
        """Seconds for which the list is still fresh."""
        return max(0, int(made.made_at + self._fresh_s - self._clock()))

    def _in_outage(self, last: Made | None, failure: EnvproxyError) -> tuple[Made, CacheResult]:
        if last is None:
            raise failure
        return last, "stale"

    async def _last(self) -> Made | None:
        """The list made last, from memory or the catalog, unless its blobs were evicted or its names are others."""
        made = self._made or await self._remembered()
        if made is None or made.admission != self._admission:
            return None
        if None in [await self._artifacts.size(blob) for blob in (made.json, made.html)]:
            return None
        self._made = made
        return made

    async def _remembered(self) -> Made | None:
        row = await self._catalog.load_page(*self._key)
        return None if row is None or row.body is None else msgspec.json.decode(row.body, type=Made)

    @property
    def _key(self) -> tuple[str, str]:
        """Where the catalog keeps it: no source and no project has such a name."""
        return f"{self._index}/", ""

    async def _make(self) -> Made:
        try:
            made = await self._merged()
        except EnvproxyError as error:
            self._failure, self._retry_at = error, self._clock() + RETRY_S
            raise
        self._failure, self._made = None, made
        await self._catalog.save_page(
            Page(
                *self._key,
                state="known",
                body=msgspec.json.encode(made),
                fingerprint=made.json,
                etag=None,
                last_modified=None,
                changed_at=made.made_at,
                checked_at=made.made_at,
                fresh_until=made.made_at + self._fresh_s,
            )
        )
        return made

    async def _merged(self) -> Made:
        roster = await asyncio.to_thread(Roster, self._admission)
        try:
            for source in self._sources:
                if source.upstream is not None:
                    await _read(source.upstream, roster)
                else:
                    names = await self._catalog.hosted_projects(source.name)
                    await uninterrupted(asyncio.to_thread(roster.add, [name.encode() for name in names]))
            json, html = [await self._stored(roster.written(fmt)) for fmt in (Format.JSON, Format.HTML)]
        finally:
            await asyncio.to_thread(roster.close)
        return Made(json, html, self._clock(), self._admission)

    async def _stored(self, pieces: Iterator[bytes]) -> str:
        partial = await self._artifacts.receive(0)
        sha256 = await uninterrupted(asyncio.to_thread(_fill, partial, pieces))
        await self._catalog.add_blob(sha256, partial.seen, "listing", self._clock())
        return sha256


async def _read(upstream: Upstream, roster: Roster) -> None:
    """Add the names of an upstream's list; one that has no list (404) has no names to give."""
    async with upstream.stream_changed(upstream.site.url) as answer:
        if isinstance(answer, Absent):
            return
        if not isinstance(answer, Incoming):
            raise UpstreamError(f"{upstream.name} answered 304 for a list it was never asked for", cause="bad_body")
        reader = NameReader(upstream.name)
        async with aclosing(answer.body.chunks()) as pieces:
            async for piece in pieces:
                await uninterrupted(asyncio.to_thread(_take, reader, roster, piece))
        reader.close()


def _take(reader: NameReader, roster: Roster, piece: bytes) -> None:
    roster.add(reader.feed(piece))


def _fill(partial: Partial, pieces: Iterator[bytes]) -> str:
    try:
        for piece in pieces:
            partial.append(piece)
        return partial.commit(None)
    finally:
        partial.close()
