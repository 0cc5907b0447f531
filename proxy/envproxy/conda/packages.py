"""The packages of one mirrored channel: from the store if they are there, else on their way from upstream.

A package is fetched under the digest that the client demands (rattler's `x-expected-sha256`) or that repodata states,
and never handed out otherwise. One that left its index stays downloadable for those who have a lock, if the policy
lets it; one that no index ever stated a digest for keeps the digest of its first download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from envproxy.engine.answers import Body
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.engine.download import Download
from envproxy.engine.expected import Expected
from envproxy.errors import NoSuchThing, PolicyRefused, UpstreamError
from envproxy.policy import Verdict

from .channel import Filename
from .mirrors import Mirrors
from .policy import Candidate, ChannelPolicy
from .shards import Record
from .subdirs import Piece, Subdirs

RECHECK_S = 2.0  # an index that lacks a package is believed without asking for so long


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is here or arriving; `sha256` and `size` are None where nobody stated them."""

    sha256: str | None
    size: int | None
    source: Piece | Download


class Packages:
    """See the module. `refused` is told the rule of each refusal; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        channel: str,
        subdirs: Subdirs,
        mirrors: Mirrors,
        policy: ChannelPolicy,
        artifacts: Artifacts,
        catalog: Catalog,
        *,
        refused: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._source = f"conda/{channel}"
        self._subdirs = subdirs
        self._mirrors = mirrors
        self._policy = policy
        self._artifacts = artifacts
        self._catalog = catalog
        self._refused = refused
        self._clock = clock

    async def open(self, place: str, name: Filename, demanded: str | None) -> Package:
        """The package. Raises NoSuchThing, PolicyRefused, UpstreamError."""
        record = await self._record(place, name, demanded)
        stated = record.hashes.get("sha256") if record else None
        wanted = demanded or stated
        row = await self._catalog.find_artifact(self._source, place, name.text, wanted)
        if row is not None and await self._artifacts.size(row.sha256) is not None:
            self._check(name, row, record)
            return Package(row.sha256, row.size, Piece(self._artifacts.path(row.sha256)))
        if demanded and stated and demanded != stated:
            raise NoSuchThing(
                f"{name.text} with SHA-256 {demanded} is not in {self._channel}/{place} any more",
                hint=f"its index now states {stated}; renew the lock file",
            )
        self._judge(Candidate.of(name, record.fields if record else {}))
        if wanted and (size := await self._artifacts.size(wanted)) is not None and stated == wanted:
            await self._keep(place, name, record, wanted, size)  # another channel has the same file
            return Package(wanted, size, Piece(self._artifacts.path(wanted)))
        return await self._fetch(place, name, record, wanted)

    async def _record(self, place: str, name: Filename, demanded: str | None) -> Record | None:
        """What the index says. Who states a digest can do without, unless a policy must see the record or the bytes
        are here already, perhaps from another channel.
        """
        needs_none = self._policy.is_open and self._policy.removed == "keep"
        if demanded and needs_none and await self._is_settled(place, name, demanded):
            return None
        try:
            record = await self._subdirs.record(place, name.text)
            if record is None and await self._may_be_news(place):
                await self._subdirs.snapshot(place, ask=True)
                record = await self._subdirs.record(place, name.text)
        except UpstreamError:
            known = await self._catalog.find_artifact(self._source, place, name.text, demanded)
            if known is None:
                raise
            return None
        return record

    async def _is_settled(self, place: str, name: Filename, demanded: str) -> bool:
        if await self._artifacts.size(demanded) is None:
            return True
        return await self._catalog.find_artifact(self._source, place, name.text, demanded) is not None

    async def _may_be_news(self, place: str) -> bool:
        snapshot, _ = await self._subdirs.snapshot(place)
        return self._clock() - snapshot.checked_at > RECHECK_S

    async def _fetch(self, place: str, name: Filename, record: Record | None, wanted: str | None) -> Package:
        base = await self._base_url(place, wanted)
        size = record.size if record else None

        def open_body(offset: int, validator: str | None) -> AbstractAsyncContextManager[Body]:
            return self._mirrors.open(place, base, name.text, size, offset, validator)

        async def stored(sha256: str, size: int) -> None:
            await self._keep(place, name, record, sha256, size)

        download = self._artifacts.download(
            wanted or f"{self._source}/{place}/{name.text}",
            name.text,
            open_body,
            Expected({"sha256": wanted} if wanted else record.hashes if record else {}),
            stored=stored,
        )
        return Package(wanted, size, download)

    async def _base_url(self, place: str, wanted: str | None) -> str:
        """Where the index says that packages are; beside it, if upstream cannot tell and the digest is known."""
        try:
            snapshot, _ = await self._subdirs.snapshot(place)
        except UpstreamError:
            if wanted is None:
                raise
            return ""
        return snapshot.generation.base_url if snapshot.generation else ""

    async def _keep(self, place: str, name: Filename, record: Record | None, sha256: str, size: int) -> None:
        candidate = Candidate.of(name, record.fields if record else {})
        await self._catalog.add_artifact(
            Artifact(
                source=self._source,
                project=place,
                filename=name.text,
                sha256=sha256,
                size=size,
                url="",
                upload_time=candidate.published.isoformat() if candidate.published else None,
                first_seen=self._clock(),
            )
        )

    def _check(self, name: Filename, row: Artifact, record: Record | None) -> None:
        """What the policy says of a cached package, also if it left its index."""
        if not self._policy.is_open:
            fields: Mapping[str, Any] = record.fields if record else {}
            candidate = Candidate.of(name, fields)
            if candidate.published is None and row.upload_time:
                when = datetime.fromisoformat(row.upload_time)
                candidate = Candidate(name.text, name.name, name.version, name.build, when)
            self._judge(candidate)
        if record is None and self._policy.removed == "refuse":
            self._enforce(Verdict(allowed=False, reason=f"{name.text} left its index upstream", rule="removed"))

    def _judge(self, candidate: Candidate) -> None:
        if not self._policy.is_open:
            self._enforce(self._policy.judge(candidate, datetime.fromtimestamp(self._clock(), UTC)))

    def _enforce(self, verdict: Verdict) -> None:
        if not verdict.allowed:
            self._refused(verdict.rule)
            raise PolicyRefused(verdict.reason)
