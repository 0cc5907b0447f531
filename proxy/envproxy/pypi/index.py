"""An index: an ordered list of sources under one URL, with owners of names and a policy.

Pages are rendered once per change (of the page, of what is known of its sidecars, of a policy verdict) and then
served from the `Shelf`. A page past its freshness goes out once more while it is refreshed behind the client's back;
one that is older is refreshed first. Who owns a name is decided in `owners`, what is shown of a page in `show`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from envproxy.engine.flights import Flights
from envproxy.engine.freshness import Moment, absent_span, max_age
from envproxy.errors import NoSuchThing
from envproxy.policy import Policy, Verdict

from .entries import ProjectFile
from .names import version_of
from .owners import Claim, Owners
from .page import Page
from .render import Encoding, Format, Rendition, Variant
from .shelf import Ready, Shelf
from .show import Shown, show
from .sidecars import Sidecars
from .source import Source

CacheResult = Literal["hit", "miss", "stale", "revalidated", "negative"]
Answer = tuple[Ready, CacheResult]
_RENDERED_AT_ONCE = 2  # pages: it is work for the interpreter, and each takes several times its size
RECHECK_S = 2.0  # a client that asks past caches is believed at most this often per page


@dataclass(frozen=True, slots=True)
class Owned:
    """A project's page, with the source that owns the name."""

    page: Page
    source: Source


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that an index shows, with the source that has it."""

    file: ProjectFile
    source: Source


def find_index(indexes: Mapping[str, Index], name: str) -> Index:
    """The index of that name. Raises NoSuchThing with those that there are."""
    if name not in indexes:
        raise NoSuchThing(f"there is no index {name[:50]!r} here", hint=f"configured indexes: {', '.join(indexes)}")
    return indexes[name]


class Index:
    """See the module. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        name: str,
        owners: Owners,
        *,
        policy: Policy,
        sidecars: Sidecars,
        shelf: Shelf,
        flights: Flights[tuple[str, str, int], Answer],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.owners = owners
        self.policy = policy
        self._sidecars = sidecars
        self._shelf = shelf
        self._flights = flights
        self._rendering = asyncio.Semaphore(_RENDERED_AT_ONCE)
        self.clock = clock

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources in order."""
        return self.owners.sources

    def candidates(self, project: str) -> Sequence[Source]:
        """The sources that may own a name, in the order in which they are asked."""
        return self.owners.candidates(project)

    def glance(self, project: str) -> Ready | None:
        """What is ready of a project, without asking anybody."""
        return self._shelf.get(self.name, project)

    def is_fresh(self, ready: Ready) -> bool:
        """Whether a ready page may go out as it is: the hot path."""
        return ready.stale is None and self._moment(ready) is Moment.FRESH

    async def get(self, project: str, *, ask: bool = False) -> Answer:
        """The project as it is to be shown. `ask` goes past our freshness. Raises `UpstreamError`."""
        ready = self.glance(project)
        if ask and (ready is None or self.clock() - ready.made_at > RECHECK_S):
            return await self._fly(project, partial(self._refresh, ask=True))
        result: CacheResult = "hit"
        if ready is None:
            ready, result = await self._fly(project, self._recall)
        elif self._moment(ready) is Moment.FIRST:
            return await self._fly(project, self._refresh)
        elif ready.rendition is None and ready.refusal is None:
            result = "negative"
        if self._moment(ready) is Moment.BEHIND:
            self.refresh_behind(project)
            return ready, "stale"
        return ready, "stale" if ready.stale else result

    def refresh_behind(self, project: str) -> None:
        """Refresh a page while nobody waits for it."""
        edition = self._shelf.edition
        _ = self._flights.start((self.name, project, edition), lambda: self._refresh(project, edition))

    async def keep_fresh(self, project: str) -> None:
        """Refresh behind if what is known of the project is past its freshness, whether or not a page is ready."""
        now = self.clock()
        known = self.glance(project) or await self.owners.recall(project, now)
        if known is None or known.span.at(now) is not Moment.FRESH:
            self.refresh_behind(project)

    async def status(self, project: str) -> str:
        """The project's marker (PEP 792) as far as it is known, without asking anybody."""
        ready = self.glance(project)
        return ready.status if ready is not None else await self.owners.status(project)

    async def build(self, project: str, ready: Ready, fmt: Format, encoding: Encoding) -> Variant:
        """One representation of a ready page; built once, then kept with it."""
        assert ready.rendition is not None
        async with ready.building:  # many want it at once, and the largest take a second and much memory
            variant = await asyncio.to_thread(ready.rendition.build, fmt, encoding)
        if self.glance(project) is ready:
            self._shelf.put(self.name, project, ready)
        return variant

    async def owned(self, project: str) -> Owned | None:
        """The page as the owner of the project has it now, with what is hidden; None if nobody has it."""
        ready, _ = await self.get(project)
        source = next((source for source in self.sources if source.name == ready.owner), None)
        return None if source is None else Owned(await source.page(project), source)

    async def listed(self, project: str, filename: str) -> Listed | None:
        """The file as the owner of the project lists it now, shown or hidden; None if it does not."""
        owned = await self.owned(project)
        file = await asyncio.to_thread(owned.page.find, filename) if owned is not None else None
        return Listed(file, owned.source) if owned is not None and file is not None else None

    def verdict(self, project: str, filename: str, upload_time: datetime | None) -> Verdict:
        """What the policy says of one file now."""
        if self.policy.is_open:
            return Verdict(allowed=True)
        return self.policy.judge(project, version_of(filename, project), filename, upload_time, self._now())

    def max_age(self, ready: Ready) -> int:
        """Seconds for which a client may keep the page."""
        left = max_age(self.clock(), ready.span.fresh_until, flips_at=ready.flips_at)
        return int(min(left, ready.shared_s))

    def _moment(self, ready: Ready) -> Moment:
        now = self.clock()
        return Moment.FIRST if ready.flips_at is not None and now >= ready.flips_at else ready.span.at(now)

    async def _fly(self, project: str, work: Callable[[str, int], Awaitable[Answer]]) -> Answer:
        edition = self._shelf.edition
        return await self._flights.join((self.name, project, edition), lambda: work(project, edition))

    async def _recall(self, project: str, edition: int) -> Answer:
        """The project as its sources last knew it; as they know it now if that is nothing, or too old to be shown."""
        is_denied = not self.policy.judge_name(project).allowed
        claim = None if is_denied else await self.owners.recall(project, self.clock())
        return await (self._refresh(project, edition) if claim is None else self._make(project, edition, claim, None))

    async def _refresh(self, project: str, edition: int, *, ask: bool = False) -> Answer:
        """The project as its sources know it now; they are not asked for a name that the policy refuses."""
        old = self.glance(project)
        verdict = self.policy.judge_name(project)
        if not verdict.allowed:
            now = self.clock()
            ready = Ready((), None, absent_span(now), now, refusal=verdict.reason, rule=verdict.rule)
            self._shelf.put(self.name, project, ready)
            return ready, "hit" if old else "miss"
        claim = await self.owners.ask(project, past_freshness=ask)
        return await self._make(project, edition, claim, old)

    async def _make(self, project: str, edition: int, claim: Claim, old: Ready | None) -> Answer:
        """Make the page of a claim ready. What was rendered from the same basis is used again."""
        now = self.clock()
        ready = Ready(claim.basis, None, claim.span, now, stale=claim.stale, shared_s=claim.shared_s)
        is_same = old is not None and old.basis == ready.basis and (old.flips_at is None or now < old.flips_at)
        if claim.owner is not None:
            ready.owner, ready.status = claim.owner.name, claim.standings[-1].status
            if old is not None and is_same:
                ready.rendition, shown = old.rendition, Shown(None, old.refusal, old.rule, old.flips_at)
            else:
                ready.rendition, shown = await self._render(project, claim.owner)
            ready.refusal, ready.rule, ready.flips_at = shown.refusal, shown.rule, shown.flips_at
        if self._shelf.edition == edition:  # else this was read before an upload, and the next request reads again
            self._shelf.put(self.name, project, ready)
        return ready, _result(ready, asked=claim.asked, is_same=is_same)

    async def _render(self, project: str, owner: Source) -> tuple[Rendition | None, Shown]:
        page = await owner.page(project)
        sidecars = await self._sidecars.known(owner, page)

        def rendered() -> tuple[Rendition | None, Shown]:
            shown = show(page, self.policy, self._now(), sidecars, source=owner.name)
            return Rendition(shown.json) if shown.json is not None else None, shown

        async with self._rendering:
            return await asyncio.to_thread(rendered)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


def _result(ready: Ready, *, asked: bool, is_same: bool) -> CacheResult:
    """How the answer came about, for X-Envmesh-Cache."""
    if ready.stale is not None:
        return "stale"
    if not asked:
        return "hit" if ready.owner else "negative"
    return "revalidated" if is_same and ready.owner else "miss"
