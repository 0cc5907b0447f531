"""Who owns a name: the first source, in order, that has it or once had it.

No later source is ever asked for such a name, and a source that cannot be asked stops the search, since "unknown"
must not become "absent": that is how dependency confusion begins. Pins give patterns of names to one source for good.
That earlier sources do not have a name is kept for an outage of theirs. What is done with a name is not decided here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from envproxy.engine.freshness import Moment, Span, narrowest

from .source import Source, Standing


@dataclass(frozen=True, slots=True)
class Claim:
    """What the sources say of a name: their standings in order, the last one that of `owner`, if there is one."""

    owner: Source | None
    standings: tuple[Standing, ...]

    @property
    def basis(self) -> tuple[str, ...]:
        """Names the page that this leads to; empty if it leads to none."""
        return (self.owner.name, self.standings[-1].fingerprint) if self.owner else ()

    @property
    def span(self) -> Span:
        """How long all of it holds."""
        return narrowest([standing.span for standing in self.standings])

    @property
    def shared_s(self) -> float:
        """The longest max-age that clients may be given, in seconds."""
        return min(standing.shared_s for standing in self.standings)

    @property
    def stale(self) -> str | None:
        """Why some of it is outdated, the cause of an `UpstreamError`."""
        return next((standing.stale for standing in self.standings if standing.stale), None)

    @property
    def asked(self) -> bool:
        """Whether some upstream was asked for it just now."""
        return any(standing.asked for standing in self.standings)


class Owners:
    """The sources of one index. `pins` are (pattern of normalised names, name of a source)."""

    def __init__(self, sources: Sequence[Source], pins: Sequence[tuple[str, str]]) -> None:
        self.sources = tuple(sources)
        self._pins = tuple(pins)

    def candidates(self, project: str) -> Sequence[Source]:
        """The sources that may own the name, in the order in which they are asked."""
        for pattern, owner in self._pins:
            if fnmatchcase(project, pattern):
                return [source for source in self.sources if source.name == owner]
        return self.sources

    async def ask(self, project: str, *, past_freshness: bool) -> Claim:
        """What the sources say now. Raises `UpstreamError`."""

        async def standing(source: Source) -> Standing:
            return await source.standing(project, ask=past_freshness)

        claim = await self._claim(project, standing)
        assert claim is not None
        if claim.owner is not None:
            for earlier in self.candidates(project)[: len(claim.standings) - 1]:
                await earlier.remember_absence(project)
        return claim

    async def recall(self, project: str, now: float) -> Claim | None:
        """What they said last, None if one of them was never asked or that is too old to be shown. Asks nobody."""

        async def standing(source: Source) -> Standing | None:
            last = await source.last(project)
            return last if last is not None and last.span.at(now) is not Moment.FIRST else None

        return await self._claim(project, standing)

    async def status(self, project: str) -> str:
        """The project's marker (PEP 792) as it was given last; "active" if nobody was asked yet. Asks nobody."""
        for source in self.candidates(project):
            last = await source.last(project)
            if last is not None and last.state != "absent":
                return last.status
        return "active"

    async def _claim(self, project: str, tell: Callable[[Source], Awaitable[Standing | None]]) -> Claim | None:
        """The claim by what `tell` says of each candidate; None as soon as it says nothing."""
        standings: list[Standing] = []
        for source in self.candidates(project):
            standing = await tell(source)
            if standing is None:
                return None
            standings.append(standing)
            if standing.state != "absent":
                return Claim(source if standing.state == "known" else None, tuple(standings))
        return Claim(None, tuple(standings))
