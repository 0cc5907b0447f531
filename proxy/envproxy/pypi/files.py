"""The files of an index: from the store if they are there, else on their way from upstream.

A URL names (index, project, digest, filename). A file that was cached once is found in the catalog and served without
asking anybody, also after it left its page, if the policy lets it; everything else must be on the page that the
project's owner shows now, under that very digest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.engine.download import Download, Expected
from envproxy.engine.freshness import Moment
from envproxy.engine.upstream import Body, Upstream
from envproxy.errors import NoSuchThing, PolicyRefused
from envproxy.policy import Verdict

from .index import Index, Listed
from .page import ProjectFile
from .show import UNHASHED
from .sidecars import Sidecars
from .source import Source

V = TypeVar("V")

_REMEMBERED = 20_000  # files whose catalog row is kept in memory, a few hundred bytes each


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file URL names. `digest` is a SHA-256 or UNHASHED."""

    project: str
    digest: str
    filename: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The file is in the store (it was a moment ago)."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Arriving:
    """The file is on its way; `sha256` is known if its index gave it."""

    download: Download
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a wheel, and when upstream got the wheel, which policies ask for."""

    sha256: str
    upload_time: datetime | None


Remembered = OrderedDict[tuple[str, Wanted], V]


class Refusals(Protocol):
    """Told of each refusal by policy."""

    def __call__(self, index: str, rule: str) -> None: ...  # noqa: D102


class Files:
    """See the module. `refused(index, rule)` is told of refusals; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        artifacts: Artifacts,
        catalog: Catalog,
        sidecars: Sidecars,
        *,
        refused: Refusals,
        clock: Callable[[], float],
    ) -> None:
        self._artifacts = artifacts
        self._catalog = catalog
        self._sidecars = sidecars
        self._refused = refused
        self._clock = clock
        self._rows: Remembered[Artifact] = OrderedDict()
        self._metadata: Remembered[Metadata] = OrderedDict()

    async def open(self, index: Index, wanted: Wanted) -> Stored | Arriving:
        """The file. Raises NoSuchThing, PolicyRefused, UpstreamError."""
        row = await self._row(index, wanted)
        if row is not None:
            await self._check_row(index, wanted, row)
            return Stored(row.sha256)
        return await self._fetch(index, wanted)

    async def reopen(self, index: Index, wanted: Wanted) -> Stored | Arriving:
        """The file again, after the store turned out not to have it any more."""
        self._rows.pop((index.name, wanted), None)
        return await self._fetch(index, wanted)

    async def sidecar(self, index: Index, wanted: Wanted) -> tuple[str, bool]:
        """The digest of the wheel's metadata, which is stored now, and whether it was at hand. Raises as `open`."""
        known = _recall(self._metadata, (index.name, wanted))
        if known is not None:
            self._check_served(index, wanted, known.upload_time)
            return known.sha256, True
        listed = await self._listed(index, wanted)
        found = await self._sidecars.find(listed.file, listed.source)
        digest = found or await self._sidecars.make(wanted.project, listed.file, listed.source, self._bring)
        _remember(self._metadata, (index.name, wanted), Metadata(digest, listed.file.upload_time))
        return digest, found is not None

    def forget_sidecar(self, index: Index, wanted: Wanted) -> None:
        """The store turned out not to have the metadata any more."""
        self._metadata.pop((index.name, wanted), None)

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        self._rows.clear()
        self._metadata.clear()

    async def _row(self, index: Index, wanted: Wanted) -> Artifact | None:
        """The catalog's row of a file that some source of this index once had."""
        key = (index.name, wanted)
        if (row := _recall(self._rows, key)) is not None:
            return row
        sha256 = None if wanted.digest == UNHASHED else wanted.digest
        for source in index.sources:
            row = await self._catalog.find_artifact(source.name, wanted.project, wanted.filename, sha256)
            if row is not None and await self._artifacts.size(row.sha256) is not None:
                _remember(self._rows, key, row)
                return row
        return None

    async def _check_row(self, index: Index, wanted: Wanted, row: Artifact) -> None:
        """What the policy says of a cached file, also if it left its page."""
        self._check_served(index, wanted, datetime.fromisoformat(row.upload_time) if row.upload_time else None)
        if index.policy.removed == "refuse" and not await self._is_listed(index, wanted):
            self._enforce(index, index.policy.judge_gone(wanted.project, wanted.filename, "removed"))

    def _check_served(self, index: Index, wanted: Wanted, uploaded: datetime | None) -> None:
        """What policy and upstream's last word say of something at hand; upstream is asked anew behind our back."""
        self._enforce(index, index.verdict(wanted.project, wanted.filename, uploaded))
        ready = index.glance(wanted.project)
        if ready is None or ready.span.at(self._clock()) is not Moment.FRESH:
            index.refresh_behind(wanted.project)
        if ready is not None and ready.status == "quarantined":
            self._enforce(index, index.policy.judge_gone(wanted.project, wanted.filename, "quarantined"))

    async def _is_listed(self, index: Index, wanted: Wanted) -> bool:
        listed = await index.listed(wanted.project, wanted.filename)
        return listed is not None and wanted.digest in (UNHASHED, listed.file.sha256)

    async def _listed(self, index: Index, wanted: Wanted) -> Listed:
        """The file as its page lists it now, allowed by policy."""
        self._enforce(index, index.policy.judge_name(wanted.project))
        listed = await index.listed(wanted.project, wanted.filename)
        if listed is None:
            raise NoSuchThing(f"no source of index {index.name} lists {wanted.filename}")
        if wanted.digest not in (UNHASHED, listed.file.sha256):
            raise NoSuchThing(
                f"{wanted.filename} with SHA-256 {wanted.digest} is not listed any more",
                hint=f"its index now lists {listed.file.sha256}; renew the lock file",
            )
        self._enforce(index, index.verdict(wanted.project, wanted.filename, listed.file.upload_time))
        return listed

    async def _fetch(self, index: Index, wanted: Wanted) -> Stored | Arriving:
        listed = await self._listed(index, wanted)
        return await self._acquire(wanted.project, listed.file, listed.source)

    async def _bring(self, project: str, file: ProjectFile, source: Source) -> str:
        """Have a file in the store, whole; returns its digest (see `sidecars.FetchWheel`)."""
        found = await self._acquire(project, file, source)
        if isinstance(found, Stored):
            return found.sha256
        async for _ in found.download.chunks(max(0, await found.download.opened() or 0)):
            pass
        assert found.download.digest is not None
        return found.download.digest

    async def _acquire(self, project: str, file: ProjectFile, source: Source) -> Stored | Arriving:
        keep = partial(self._keep, project, file, source)
        if file.sha256 is not None and (size := await self._artifacts.size(file.sha256)) is not None:
            await keep(file.sha256, size)
            return Stored(file.sha256)
        upstream = source.upstream
        if upstream is None:
            raise NoSuchThing(f"{source.name} has lost the bytes of {file.filename}", hint="run envproxy scrub")
        download = self._artifacts.download(
            file.sha256 or f"{source.name}:{file.url}",
            file.filename,
            lambda offset, validator: _open(upstream, file.url, offset, validator),
            Expected(file.hashes),
            stored=keep,
        )
        return Arriving(download, file.sha256)

    async def _keep(self, project: str, file: ProjectFile, source: Source, sha256: str, size: int) -> None:
        await self._catalog.add_artifact(
            Artifact(
                source=source.name,
                project=project,
                filename=file.filename,
                sha256=sha256,
                size=size,
                url=file.url,
                upload_time=file.upload_time.isoformat() if file.upload_time else None,
                first_seen=self._clock(),
            )
        )

    def _enforce(self, index: Index, verdict: Verdict) -> None:
        if not verdict.allowed:
            self._refused(index.name, verdict.rule)
            raise PolicyRefused(verdict.reason)


def _open(upstream: Upstream, url: str, offset: int, validator: str | None) -> AbstractAsyncContextManager[Body]:
    return upstream.stream(url, offset=offset, if_range=validator)


def _recall(memory: Remembered[V], key: tuple[str, Wanted]) -> V | None:
    value = memory.get(key)
    if value is not None:
        memory.move_to_end(key)
    return value


def _remember(memory: Remembered[V], key: tuple[str, Wanted], value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
