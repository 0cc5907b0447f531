"""The packages of one mirrored channel: from the store if they are there, else on their way from upstream.

A package is fetched under the digest that the client demands (rattler's `x-expected-sha256`) or that repodata states,
and never handed out otherwise. A demand is no name: bytes that are here, or arriving, under another name or for
another channel are a package of this one only if its index says so; else its own upstream must give them, under the
name that was asked for. One that left its index stays downloadable for those who have a lock, if the policy lets it;
one that no index ever stated a digest for keeps the digest of its first download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.engine.download import Download
from envproxy.engine.expected import Expected
from envproxy.engine.mirrors import Mirrors
from envproxy.engine.remembered import Remembered
from envproxy.errors import NoSuchThing, PolicyRefused, UpstreamError
from envproxy.policy import Verdict

from .channel import Filename
from .policy import Candidate, ChannelPolicy
from .shards import Record
from .subdirs import Piece, Subdirs

_Key = tuple[str, str, str]  # place, file name and digest of a package

RECHECK_S = 2.0  # an index that lacks a package is believed without asking for so long


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is here or arriving; its `sha256` is None while it cannot be told.

    `is_stated` if the client or the index names that digest: then the bytes are these for ever.
    """

    sha256: str | None
    source: Piece | Download
    is_stated: bool


@dataclass(frozen=True, slots=True)
class Remote:
    """A package that is at its upstream only; `size` in bytes. Both are None where nobody stated them."""

    sha256: str | None
    size: int | None

    @property
    def is_stated(self) -> bool:
        """Whether somebody names its digest, as for a `Package`."""
        return self.sha256 is not None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be fetched: a name, what its index says of it, and the digest that it must have."""

    place: str
    name: Filename
    record: Record | None
    sha256: str | None

    @property
    def is_stated(self) -> bool:
        """Whether the index itself says that this name has this digest."""
        return self.record is not None and self.sha256 is not None and self.record.hashes.get("sha256") == self.sha256

    @property
    def size(self) -> int | None:
        """The bytes that it must have, if the index states them."""
        return self.record.size if self.record else None


def source_of(channel: str) -> str:
    """What the catalog calls the source of a channel's packages."""
    return f"conda/{channel}"


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
        self._source = source_of(channel)
        self._subdirs = subdirs
        self._mirrors = mirrors
        self._policy = policy
        self._artifacts = artifacts
        self._catalog = catalog
        self._refused = refused
        self._clock = clock
        self._rows = Remembered[_Key, Artifact]()  # of packages that are here

    def forget(self) -> None:
        """Drop what is in memory: the catalog or the store changed behind our back."""
        self._rows.clear()

    def forget_package(self, place: str, name: Filename, sha256: str) -> None:
        """The store turned out not to have the package any more."""
        self._rows.drop((place, name.text, sha256))

    async def open(self, place: str, name: Filename, demanded: str | None) -> Package:
        """The package. Raises NoSuchThing, PolicyRefused, UpstreamError."""
        row = None if demanded is None else await self._row(place, name, demanded)
        is_settled = demanded is not None and await self._is_settled(demanded, row)
        record = None if is_settled else await self._record(place, name, demanded)
        found = await self._find(place, name, demanded, record, row)
        return found if isinstance(found, Package) else await self._fetch(found)

    async def look(self, place: str, name: Filename, demanded: str | None) -> Package | Remote:
        """Where the package is, without fetching it. Raises as `open`."""
        row = None if demanded is None else await self._row(place, name, demanded)
        found = await self._find(place, name, demanded, await self._record(place, name, demanded), row)
        if isinstance(found, Package):
            return found
        size = found.size
        if size is None:
            base = await self._base_url(place, found.sha256)
            size = await self._mirrors.length(place, base, name.text)
        return Remote(found.sha256, size)

    async def _find(
        self, place: str, name: Filename, demanded: str | None, record: Record | None, row: Artifact | None
    ) -> Package | _Wanted:
        """The package if it is here, else what is to be fetched; `row` is that of what is demanded, if it is here."""
        stated = record.hashes.get("sha256") if record else None
        wanted = _Wanted(place, name, record, demanded or stated)
        if demanded is None:
            row = await self._row(place, name, stated)
        if row is not None:
            self._check(name, row, record)
            is_stated = row.sha256 in (demanded, stated)
            return Package(row.sha256, Piece(self._artifacts.path(row.sha256)), is_stated)
        if demanded and stated and demanded != stated:
            raise NoSuchThing(
                f"{name.text} with SHA-256 {demanded} is not in {self._channel}/{place} any more",
                hint=f"its index now states {stated}; renew the lock file",
            )
        self._judge(Candidate.of(name, record.fields if record else {}))
        if stated and (size := await self._artifacts.size(stated)) is not None:
            await self._keep(wanted, stated, size)  # another channel has the same file
            return Package(stated, Piece(self._artifacts.path(stated)), is_stated=True)
        return wanted

    async def _row(self, place: str, name: Filename, sha256: str | None) -> Artifact | None:
        """The catalog's row of a package that is here."""
        if sha256 is not None and (known := self._rows.recall((place, name.text, sha256))) is not None:
            return known
        row = await self._catalog.find_artifact(self._source, place, name.text, sha256)
        if row is None or await self._artifacts.size(row.sha256) is None:
            return None
        # Without a digest another row may be meant tomorrow.
        return row if sha256 is None else self._rows.keep((place, name.text, sha256), row)

    async def _is_settled(self, demanded: str, row: Artifact | None) -> bool:
        """Whether nothing depends on what the index says: no policy must see the record, and it saves no download,
        as it may if such bytes are here or arriving under another name.
        """
        if self._needs_record:
            return False
        if row is not None:
            return True
        return demanded not in self._artifacts.busy() and await self._artifacts.size(demanded) is None

    async def _record(self, place: str, name: Filename, demanded: str | None) -> Record | None:
        """What the index says. While it cannot be told, a digest will do, be it demanded or of the last download."""
        try:
            record = await self._subdirs.record(place, name.text)
            if record is None and await self._may_be_news(place):
                await self._subdirs.snapshot(place, ask=True)
                record = await self._subdirs.record(place, name.text)
        except UpstreamError:
            will_do = demanded is not None and not self._needs_record
            if not will_do and await self._catalog.find_artifact(self._source, place, name.text, demanded) is None:
                raise
            return None
        return record

    @property
    def _needs_record(self) -> bool:
        return not self._policy.is_open or self._policy.removed == "refuse"

    async def _may_be_news(self, place: str) -> bool:
        snapshot, _ = await self._subdirs.snapshot(place)
        return self._clock() - snapshot.checked_at > RECHECK_S

    async def _fetch(self, wanted: _Wanted) -> Package:
        """One download for all who want the same file: of its digest if the index states it, else of its name."""
        name, expected = wanted.name, Expected(wanted.record.hashes if wanted.record else {}, wanted.name.magic)
        own = f"{self._source}/{wanted.place}/{name.text}"
        if wanted.sha256 is not None:
            own, expected = f"{own}#{wanted.sha256}", Expected({"sha256": wanted.sha256})
        base = await self._base_url(wanted.place, wanted.sha256)
        upstream = self._mirrors.file(wanted.place, base, name.text, wanted.size)

        async def stored(sha256: str, size: int) -> None:
            await self._keep(wanted, sha256, size)

        download = self._artifacts.join(own) if wanted.is_stated else None  # of who came before, without the index
        if download is None:
            key = wanted.sha256 if wanted.sha256 and wanted.is_stated else own
            download = self._artifacts.download(
                key, name.text, upstream.open, expected, owner=own, stored=stored, elsewhere=upstream.disown
            )
        return Package(wanted.sha256, download, is_stated=wanted.sha256 is not None)

    async def _base_url(self, place: str, wanted: str | None) -> str:
        """Where the index says that packages are; beside it, if upstream cannot tell and the digest is known."""
        try:
            snapshot, _ = await self._subdirs.snapshot(place)
        except UpstreamError:
            if wanted is None:
                raise
            return ""
        return snapshot.generation.base_url if snapshot.generation else ""

    async def _keep(self, wanted: _Wanted, sha256: str, size: int) -> None:
        candidate = Candidate.of(wanted.name, wanted.record.fields if wanted.record else {})
        await self._catalog.add_artifact(
            Artifact(
                source=self._source,
                project=wanted.place,
                filename=wanted.name.text,
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
                candidate = replace(candidate, published=datetime.fromisoformat(row.upload_time))
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
