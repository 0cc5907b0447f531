"""An index: an ordered list of sources under one URL, with name ownership and a policy.

The order is ownership: the first source that knows a name (or once knew it) owns it, and no later one is asked. A
source that cannot be asked stops the search, since "unknown" must not become "absent": that is how dependency
confusion begins. `owners` pins patterns of names to one source for good.

Pages are rendered once per change (of the page, of what is known of its sidecars, of a policy verdict) and then
served from the `Shelf`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from envproxy.engine.flights import Flights
from envproxy.engine.freshness import Moment, absent_span, max_age, narrowest
from envproxy.policy import Policy, Verdict

from .names import version_of
from .page import ProjectFile
from .render import Encoding, Format, Rendition, Variant
from .shelf import Ready, Shelf
from .show import Shown, show
from .sidecars import Sidecars
from .source import Source, Standing

CacheResult = Literal["hit", "miss", "stale", "revalidated", "negative"]
RECHECK_S = 2.0  # a client that asks past caches is believed at most this often per page


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that an index shows, with the source that has it."""

    file: ProjectFile
    source: Source


class Index:
    """See the module. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        *,
        owners: Sequence[tuple[str, str]],
        policy: Policy,
        sidecars: Sidecars,
        shelf: Shelf,
        flights: Flights[tuple[str, str], tuple[Ready, CacheResult]],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.sources = tuple(sources)
        self.policy = policy
        self._owners = tuple(owners)
        self._sidecars = sidecars
        self._shelf = shelf
        self._flights = flights
        self._clock = clock

    def candidates(self, project: str) -> Sequence[Source]:
        """The sources that may own a name, in the order in which they are asked."""
        for pattern, owner in self._owners:
            if fnmatchcase(project, pattern):
                return [source for source in self.sources if source.name == owner]
        return self.sources

    def glance(self, project: str) -> Ready | None:
        """What is ready of a project, without asking anybody."""
        return self._shelf.get(self.name, project)

    def is_fresh(self, ready: Ready) -> bool:
        """Whether a ready page may go out as it is: the hot path."""
        now = self._clock()
        return now < ready.span.fresh_until and (ready.flips_at is None or now < ready.flips_at) and not ready.stale

    async def get(self, project: str, *, ask: bool = False) -> tuple[Ready, CacheResult]:
        """The project as it is to be shown. `ask` goes past our freshness. Raises `UpstreamError`."""
        ready = self._shelf.get(self.name, project)
        now = self._clock()
        if ready is None or (ask and now - ready.made_at > RECHECK_S):
            return await self._refreshed(project, ask=ask)
        moment = ready.span.at(now)
        if ready.flips_at is not None and now >= ready.flips_at:
            moment = Moment.FIRST
        if moment is Moment.FRESH:
            return ready, "stale" if ready.stale else "hit" if ready.rendition else "negative"
        if moment is Moment.BEHIND:
            self.refresh_behind(project)
            return ready, "stale"
        return await self._refreshed(project)

    def refresh_behind(self, project: str) -> None:
        """Refresh a page while nobody waits for it."""
        _ = self._flights.start((self.name, project), lambda: self._refresh(project, ask=False))

    async def build(self, project: str, ready: Ready, fmt: Format, encoding: Encoding) -> Variant:
        """One representation of a ready page; built once, then kept with it."""
        assert ready.rendition is not None
        variant = ready.rendition.get(fmt, encoding)
        if variant is None:
            variant = await asyncio.to_thread(ready.rendition.build, fmt, encoding)
            if self._shelf.get(self.name, project) is ready:
                self._shelf.put(self.name, project, ready)
        return variant

    async def listed(self, project: str, filename: str) -> Listed | None:
        """The file as the owner of the project lists it now, shown or hidden; None if it does not."""
        ready, _ = await self.get(project)
        source = next((source for source in self.sources if source.name == ready.owner), None)
        if source is None:
            return None
        page = await source.page(project)
        file = await asyncio.to_thread(page.find, filename)
        return Listed(file, source) if file is not None else None

    def verdict(self, project: str, filename: str, upload_time: datetime | None) -> Verdict:
        """What the policy says of one file now."""
        if self.policy.is_open:
            return Verdict(allowed=True)
        return self.policy.judge(project, version_of(filename, project), filename, upload_time, self._now())

    def max_age(self, ready: Ready) -> int:
        """Seconds for which a client may keep the page."""
        left = max_age(self._clock(), ready.span.fresh_until, flips_at=ready.flips_at)
        return int(min(left, ready.shared_s))

    async def _refreshed(self, project: str, *, ask: bool = False) -> tuple[Ready, CacheResult]:
        return await self._flights.join((self.name, project), lambda: self._refresh(project, ask=ask))

    async def _refresh(self, project: str, *, ask: bool) -> tuple[Ready, CacheResult]:
        old = self._shelf.get(self.name, project)
        verdict = self.policy.judge_name(project)
        if not verdict.allowed:
            now = self._clock()
            ready = Ready(("refused",), None, absent_span(now), now, refusal=verdict.reason, rule=verdict.rule)
            self._shelf.put(self.name, project, ready)
            return ready, "hit" if old else "miss"
        owner, standings = await self._find_owner(project, ask=ask)
        ready = await self._made(project, owner, standings, old)
        self._shelf.put(self.name, project, ready)
        return ready, _result(ready, old, asked=any(standing.asked for standing in standings))

    async def _find_owner(self, project: str, *, ask: bool) -> tuple[Source | None, list[Standing]]:
        standings: list[Standing] = []
        without: list[Source] = []
        for source in self.candidates(project):
            standings.append(standing := await source.standing(project, ask=ask))
            if standing.state == "known":
                for earlier in without:
                    await earlier.remember_absence(project)
                return source, standings
            if standing.state == "gone":
                break  # a name that this source once had is never looked up in a later one
            without.append(source)
        return None, standings

    async def _made(self, project: str, owner: Source | None, standings: list[Standing], old: Ready | None) -> Ready:
        """What to show for these standings; what was rendered from the same basis is used again."""
        now = self._clock()
        ready = Ready(
            basis=(owner.name, standings[-1].fingerprint) if owner else (),
            owner=owner.name if owner else None,
            span=narrowest([standing.span for standing in standings]) if standings else absent_span(now),
            made_at=now,
            stale=next((standing.stale for standing in standings if standing.stale), None),
            shared_s=min((standing.shared_s for standing in standings), default=0.0),
        )
        if owner is None:
            return ready
        if old is not None and old.basis == ready.basis and (old.flips_at is None or now < old.flips_at):
            shown = Shown(None, old.refusal, old.rule, old.status, old.flips_at)
            ready.rendition = old.rendition
        else:
            page = await owner.page(project)
            sidecars = await self._sidecars.known(owner, page)
            shown = await asyncio.to_thread(show, page, self.policy, self._now(), sidecars, source=owner.name)
            ready.rendition = await asyncio.to_thread(Rendition, shown.json) if shown.json is not None else None
        ready.refusal, ready.rule, ready.status, ready.flips_at = (
            shown.refusal,
            shown.rule,
            shown.status,
            shown.flips_at,
        )
        return ready

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _result(ready: Ready, old: Ready | None, *, asked: bool) -> CacheResult:
    """How the answer came about, for X-Envmesh-Cache."""
    if ready.stale is not None:
        return "stale"
    if not asked:
        return "hit" if ready.owner or ready.refusal else "negative"
    return "revalidated" if old is not None and old.basis == ready.basis and ready.basis else "miss"
