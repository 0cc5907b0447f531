"""Where projects come from: an upstream index, mirrored on demand, or one hosted here.

A source answers for a name with a `Standing`: known, absent or gone (known once, and upstream took it away). What it
cannot tell it raises as `UpstreamError`; a failure is never an absence. A known page past its freshness is asked for
again; while upstream fails, the last standing holds and says that it is stale. Nothing here is kept for long in
memory, and nothing decides what clients see.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, Protocol

from envproxy.engine import catalog as rows
from envproxy.engine.catalog import Catalog
from envproxy.engine.flights import Flights
from envproxy.engine.freshness import (
    ABSENT_IN_OUTAGE_S,
    BEHIND_S,
    RETRY_S,
    Moment,
    Span,
    absent_span,
    known_span,
    lifetime,
)
from envproxy.engine.remembered import Remembered
from envproxy.engine.report import Reporter
from envproxy.engine.upstream import Absent, Fetched, Upstream
from envproxy.errors import NoSuchThing, UpstreamError

from .page import Page, dump, load, parse

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PATIENCE_S = 3.0  # how long a client waits for a refresh when something stale can be served (pip gives up at 15 s)
PAGE_DEADLINE_S = 12.0  # and when nothing can

_RECENT_BYTES = 2 * 1024 * 1024  # of pages kept decoded

_ASKED_AT_ONCE = 12  # pages: each may take several times its size until it is stored

State = Literal["known", "absent", "gone"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a source says of one name.

    `fingerprint` changes whenever the page does; `status` is the project's marker (PEP 792); `stale` names why an
    outdated answer is used (the cause of an `UpstreamError`); `asked` is true when upstream confirmed this very
    answer just now; `shared_s` caps the max-age given to clients.
    """

    state: State
    span: Span
    fingerprint: str = ""
    status: str = "active"
    stale: str | None = None
    asked: bool = False
    checked_at: float = 0.0
    shared_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Read:
    """A page that upstream sent, and the bytes that the catalog keeps of it."""

    fingerprint: str
    page: Page
    stored: bytes
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """How long what upstream said holds; `read` is None if that is what is known."""

    lifetime_s: float
    read: _Read | None = None


class _Recent:
    """The pages that came last: what a client asks next is their sidecars and files."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, _Read] = OrderedDict()
        self._nbytes = 0

    def get(self, project: str, fingerprint: str) -> Page | None:
        read = self._pages.get(project)
        return read.page if read is not None and read.fingerprint == fingerprint else None

    def put(self, project: str, read: _Read) -> None:
        if (old := self._pages.pop(project, None)) is not None:
            self._nbytes -= len(old.stored)
        if len(read.stored) > _RECENT_BYTES // 4:
            return
        self._pages[project] = read
        self._nbytes += len(read.stored)
        while self._nbytes > _RECENT_BYTES:
            self._nbytes -= len(self._pages.popitem(last=False)[1].stored)


class Source(Protocol):
    """An upstream or hosted repository, as an index sees it."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def upstream(self) -> Upstream | None:
        """Whom to ask for files, None if all files are here."""

    async def standing(self, project: str, *, ask: bool = False) -> Standing:
        """What the source says of `project` (normalised); `ask` goes past freshness. Raises `UpstreamError`."""

    async def last(self, project: str) -> Standing | None:
        """What the source said last, however old, None if it was never asked. Asks nobody."""

    async def page(self, project: str) -> Page:
        """The page of a project that is known. Raises `NoSuchThing` if it went away meanwhile."""

    async def remember_absence(self, project: str) -> None:
        """Keep the absence of `project` for an outage: a later source owns the name."""


class MirroredSource:
    """An upstream index, project by project, kept in the catalog.

    `patience_s` is how long a caller waits for upstream if there is something stale to fall back on.
    """

    def __init__(
        self,
        upstream: Upstream,
        catalog: Catalog,
        flights: Flights[tuple[str, str], Standing],
        *,
        fresh_for_s: float,
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self.patience_s = PATIENCE_S
        self._upstream = upstream
        self._catalog = catalog
        self._flights = flights
        self._fresh_for_s = fresh_for_s
        self._reporter = reporter
        self._clock = clock
        self._standings = Remembered[str, Standing]()
        self._recent = _Recent()
        self._turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._upstream.name

    @property
    def upstream(self) -> Upstream:
        """The server behind it."""
        return self._upstream

    async def standing(self, project: str, *, ask: bool = False) -> Standing:
        """See `Source`."""
        last = await self.last(project)
        if last is not None and not ask and last.span.at(self._clock()) is Moment.FRESH:
            return last
        flight = self._flights.start((self.name, project), lambda: self._ask_in_turn(project, last))
        wait_s = self.patience_s if last is not None and self._holds(last) else PAGE_DEADLINE_S
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(flight)
        except TimeoutError:
            failure = UpstreamError(f"{self.name} did not answer for {project} in time", cause="timeout")
        except UpstreamError as error:
            failure = error
        return self._in_outage(project, last, failure)

    async def last(self, project: str) -> Standing | None:
        """See `Source`: from memory, or from the catalog after a restart."""
        if (standing := self._standings.recall(project)) is not None:
            return replace(standing, asked=False)
        row = await self._catalog.load_page(self.name, project)
        if row is None:
            return None
        if row.body is None:
            standing = Standing(row.state, absent_span(row.checked_at), checked_at=row.checked_at)
        else:
            span = known_span(row.checked_at, row.fresh_until - row.checked_at)
            status = (await asyncio.to_thread(load, row.body)).status
            standing = Standing(row.state, span, row.fingerprint, status, checked_at=row.checked_at)
        return self._standings.recall(project) or self._standings.keep(project, standing)

    async def page(self, project: str) -> Page:
        """See `Source`."""
        standing = self._standings.recall(project)
        if standing is not None and (page := self._recent.get(project, standing.fingerprint)) is not None:
            return page
        row = await self._catalog.load_page(self.name, project)
        if row is None or row.body is None:
            raise NoSuchThing(f"{self.name} has no project {project}")
        return await asyncio.to_thread(load, row.body)

    async def remember_absence(self, project: str) -> None:
        """See `Source`."""
        last = self._standings.recall(project)
        if last is not None and last.state == "absent" and last.asked:
            await self._catalog.save_page(_row(self.name, project, "absent", last.checked_at, last.span))

    async def _ask_in_turn(self, project: str, last: Standing | None) -> Standing:
        async with self._turns:
            return await self._ask(project, last)

    async def _ask(self, project: str, last: Standing | None) -> Standing:
        row = await self._catalog.load_page(self.name, project) if last and last.state == "known" else None
        answer = await self._answer(project, row)
        now = self._clock()
        if isinstance(answer, Absent):
            return await self._absent(project, last, now)
        span = known_span(now, answer.lifetime_s)
        if answer.read is not None:
            return await self._keep(project, answer.read, span)
        if row is None or last is None:
            raise UpstreamError(f"{self.name} answered 304 for {project}, which was not asked for", cause="bad_body")
        await self._catalog.touch_page(self.name, project, checked_at=now, fresh_until=span.fresh_until)
        confirmed = Standing("known", span, row.fingerprint, last.status, asked=True, checked_at=now)
        return self._standings.keep(project, confirmed)

    async def _answer(self, project: str, row: rows.Page | None) -> _Answer | Absent:
        """What upstream says; of a page that it sent only what was read of it stays in memory."""
        answer = await self._upstream.fetch(
            f"{self._upstream.site.url}{project}/",
            accept=ACCEPT,
            etag=row.etag if row else None,
            last_modified=row.last_modified if row else None,
        )
        if isinstance(answer, Absent):
            return answer
        lifetime_s = lifetime(answer.cache_control, answer.age, default_s=self._fresh_for_s)
        if isinstance(answer, Fetched):
            known = row.fingerprint if row else None
            return _Answer(lifetime_s, await asyncio.to_thread(_read, answer, project, known))
        return _Answer(lifetime_s)

    async def _keep(self, project: str, read: _Read, span: Span) -> Standing:
        now = self._clock()
        await self._catalog.save_page(
            rows.Page(
                source=self.name,
                project=project,
                state="known",
                body=read.stored,
                fingerprint=read.fingerprint,
                etag=read.etag,
                last_modified=read.last_modified,
                changed_at=now,
                checked_at=now,
                fresh_until=span.fresh_until,
            )
        )
        self._recent.put(project, read)
        status = read.page.status
        return self._standings.keep(
            project, Standing("known", span, read.fingerprint, status, asked=True, checked_at=now)
        )

    async def _absent(self, project: str, last: Standing | None, now: float) -> Standing:
        """A definite 404: of a name that was known it is a removal, which the catalog must remember."""
        was_known = last is not None and last.state in ("known", "gone")
        span = absent_span(now)
        standing = Standing("gone" if was_known else "absent", span, asked=True, checked_at=now)
        if was_known:
            await self._catalog.save_page(_row(self.name, project, "gone", now, span))
        return self._standings.keep(project, standing)

    def _holds(self, last: Standing) -> bool:
        """Whether a standing counts while upstream cannot be asked."""
        return last.state != "absent" or self._clock() - last.checked_at < ABSENT_IN_OUTAGE_S

    def _in_outage(self, project: str, last: Standing | None, failure: UpstreamError) -> Standing:
        if last is None or not self._holds(last):
            raise failure
        self._reporter.stale_served(self.name, failure.cause)
        # Whoever comes later in the outage need not wait for its end: the next try runs behind.
        retry_at = self._clock() + RETRY_S
        return replace(last, span=Span(retry_at, retry_at + BEHIND_S), stale=failure.cause, shared_s=0.0)


def _read(answer: Fetched, project: str, known: str | None) -> _Read | None:
    """What upstream sent, None if that is known. The fingerprint names the bytes and where links in them start."""
    named = sha256(answer.url.encode() + b"\n")
    named.update(answer.body)
    fingerprint = named.hexdigest()
    if fingerprint == known:
        return None
    page = parse(answer.body, content_type=answer.content_type, url=answer.url, project=project)
    return _Read(fingerprint, page, dump(page), answer.etag, answer.last_modified)


def _row(source: str, project: str, state: State, checked_at: float, span: Span) -> rows.Page:
    return rows.Page(
        source=source,
        project=project,
        state=state,
        body=None,
        fingerprint="",
        etag=None,
        last_modified=None,
        changed_at=checked_at,
        checked_at=checked_at,
        fresh_until=span.fresh_until,
    )
