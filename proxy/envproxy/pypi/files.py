"""The files of an index: from the store if they are there, else on their way from upstream.

A URL names (index, project, digest, filename). A file that was cached once is found in the catalog and served without
asking anybody, also after it left its page, if the policy lets it; everything else must be on the page that the
project's owner shows now, under that very digest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol
from weakref import ref

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.engine.download import Download
from envproxy.engine.expected import Expected
from envproxy.engine.flights import Flights
from envproxy.engine.remembered import Remembered
from envproxy.engine.upstream import Body, Upstream
from envproxy.errors import NoSuchThing, PolicyRefused
from envproxy.policy import Verdict

from .entries import ProjectFile
from .index import Index, Listed
from .show import UNHASHED
from .sidecars import Made, Sidecars
from .source import Source


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
class Remote:
    """The file is at its upstream only, `size` bytes long if page or server say so; `sha256` as in `Arriving`."""

    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The digest of a file or of a wheel's metadata, and when upstream got it, which policies ask for."""

    sha256: str
    upload_time: datetime | None


@dataclass(frozen=True, slots=True)
class _Led:
    """The download that a look-up led to, for as long as it lasts, and when upstream got the file."""

    download: ref[Download]
    upload_time: datetime | None


Key = tuple[str, Wanted]
"""The name of an index, and what is wanted of it."""


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
        flights: Flights[tuple[str, Wanted], Stored | Arriving],
        *,
        refused: Refusals,
        clock: Callable[[], float],
    ) -> None:
        self._artifacts = artifacts
        self._catalog = catalog
        self._sidecars = sidecars
        self._flights = flights
        self._refused = refused
        self._clock = clock
        self._rows = Remembered[Key, Artifact]()
        self._metadata = Remembered[Key, Facts]()
        self._listed_on = Remembered[Key, tuple[str, ...]]()
        self._led = Remembered[Key, _Led]()  # look-ups that led to a download, for who comes after

    async def open(self, index: Index, wanted: Wanted) -> Stored | Arriving:
        """The file. Raises NoSuchThing, PolicyRefused, UpstreamError.

        A crowd that wants one file costs one look-up: the others join it, or the download that it led to.
        """
        key = (index.name, wanted)
        if key not in self._rows:
            if (arriving := self._arriving(index, wanted)) is not None:
                return arriving
            return await self._flights.join(key, lambda: self._find(index, wanted))
        return await self._find(index, wanted)

    async def look(self, index: Index, wanted: Wanted) -> Stored | Remote:
        """Where the file is, without fetching it. Raises as `open`."""
        cached = await self._cached(index, wanted)
        if cached is not None:
            return cached
        listed = await self._listed(index, wanted)
        file, sha256 = listed.file, listed.file.sha256
        if sha256 is not None and await self._artifacts.size(sha256) is not None:
            return Stored(sha256)
        size = file.size if file.size is not None else await _upstream_of(listed.source, file).length(file.url)
        return Remote(size, sha256)

    def forget_file(self, index: Index, wanted: Wanted) -> None:
        """The store turned out not to have the file any more."""
        self._rows.drop((index.name, wanted))

    async def sidecar(self, index: Index, wanted: Wanted) -> Stored | Made:
        """The metadata of a wheel, stored or just made. Raises as `open`."""
        known = self._metadata.recall((index.name, wanted)) or await self._sidecar_of_cached(index, wanted)
        if known is not None:
            await self._check(index, wanted, known.upload_time)
            return Stored(known.sha256)
        listed = await self._listed(index, wanted)
        digest = await self._sidecars.find(listed.source.name, listed.file)
        if digest is None:
            return await self._sidecars.make(wanted.project, listed.file, listed.source, self._bring)
        self._metadata.keep((index.name, wanted), Facts(digest, listed.file.upload_time))
        return Stored(digest)

    def forget_sidecar(self, index: Index, wanted: Wanted) -> None:
        """The store turned out not to have the metadata any more."""
        self._metadata.drop((index.name, wanted))

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        self._rows.clear()
        self._metadata.clear()
        self._listed_on.clear()
        self._led.clear()

    def _arriving(self, index: Index, wanted: Wanted) -> Arriving | None:
        """The file's download that is in the air, if a look-up of this very file led to it."""
        led = self._led.recall((index.name, wanted))
        flying = led.download() if led is not None else None
        if led is None or flying is None or self._artifacts.join(wanted.digest) is not flying:
            return None
        self._enforce(index, index.verdict(wanted.project, wanted.filename, led.upload_time))
        return Arriving(flying, wanted.digest)

    async def _find(self, index: Index, wanted: Wanted) -> Stored | Arriving:
        return await self._cached(index, wanted) or await self._fetch(index, wanted)

    async def _cached(self, index: Index, wanted: Wanted) -> Stored | None:
        row = await self._row(index, wanted)
        if row is None:
            return None
        await self._check(index, wanted, _uploaded(row))
        return Stored(row.sha256)

    async def _row(self, index: Index, wanted: Wanted) -> Artifact | None:
        """The catalog's row of a file that some source of this index once had.

        Without the upload time that the policy wants it is of no use: then the page may know better by now.
        """
        key = (index.name, wanted)
        if (row := self._rows.recall(key)) is not None:
            return row
        wants_time = index.policy.min_age_s or index.policy.freeze_at
        sha256 = None if wanted.digest == UNHASHED else wanted.digest
        for source in index.candidates(wanted.project):
            row = await self._catalog.find_artifact(source.name, wanted.project, wanted.filename, sha256)
            if row is not None and await self._artifacts.size(row.sha256) is not None:
                if wants_time and row.upload_time is None:
                    return None
                if sha256 is not None:  # a name alone may mean another source's file tomorrow
                    self._rows.keep(key, row)
                return row
            if await self._owns(source, wanted):
                return None
        return None

    async def _owns(self, source: Source, wanted: Wanted) -> bool:
        """Whether the file can only be this source's, or may be: a name alone never leads to a later one's file."""
        last = await source.last(wanted.project)
        return wanted.digest == UNHASHED if last is None else last.state != "absent"

    async def _sidecar_of_cached(self, index: Index, wanted: Wanted) -> Facts | None:
        """The stored metadata of a wheel that is cached, which need not be on its page any more."""
        row = await self._row(index, wanted)
        if row is None or wanted.digest == UNHASHED:
            return None
        digest = await self._sidecars.find(row.source, row)
        if digest is None:
            return None
        return self._metadata.keep((index.name, wanted), Facts(digest, _uploaded(row)))

    async def _check(self, index: Index, wanted: Wanted, uploaded: datetime | None) -> None:
        """What policy and upstream's last word say of something at hand, also if it left its page.

        Upstream is asked anew behind the client's back, or first if what left its page is to be refused.
        """
        self._enforce(index, index.verdict(wanted.project, wanted.filename, uploaded))
        await index.keep_fresh(wanted.project)
        if index.policy.quarantined == "refuse" and await index.status(wanted.project) == "quarantined":
            self._enforce(index, index.policy.judge_gone(wanted.project, wanted.filename, "quarantined"))
        if index.policy.removed == "refuse" and not await self._is_listed(index, wanted):
            self._enforce(index, index.policy.judge_gone(wanted.project, wanted.filename, "removed"))

    async def _is_listed(self, index: Index, wanted: Wanted) -> bool:
        """Whether the page still has the file; a page is searched once for each file that is asked for."""
        key = (index.name, wanted)
        ready, _ = await index.get(wanted.project)
        if ready.basis and self._listed_on.recall(key) == ready.basis:
            return True
        listed = await index.listed(wanted.project, wanted.filename)
        if listed is None or wanted.digest not in (UNHASHED, listed.file.sha256):
            return False
        self._listed_on.keep(key, ready.basis)
        return True

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
        found = await self._acquire(wanted.project, listed.file, listed.source)
        if isinstance(found, Arriving) and found.sha256 is not None:
            self._led.keep((index.name, wanted), _Led(ref(found.download), listed.file.upload_time))
        return found

    async def _bring(self, project: str, file: ProjectFile, source: Source) -> str:
        """Have a file in the store, whole; returns its digest (see `sidecars.FetchWheel`)."""
        found = await self._acquire(project, file, source)
        if isinstance(found, Stored):
            return found.sha256
        return await found.download.blob()

    async def _acquire(self, project: str, file: ProjectFile, source: Source) -> Stored | Arriving:
        keep = partial(self._keep, project, file, source)
        if file.sha256 is not None and (size := await self._artifacts.size(file.sha256)) is not None:
            await keep(file.sha256, size)
            return Stored(file.sha256)
        upstream = _upstream_of(source, file)
        download = self._artifacts.download(
            file.sha256 or f"{source.name}:{file.url}",
            file.filename,
            lambda offset, validator: _open(upstream, file.url, offset, validator),
            Expected(file.hashes),
            owner=f"{source.name}/{project}/{file.filename}",
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


def _upstream_of(source: Source, file: ProjectFile) -> Upstream:
    if source.upstream is None:
        raise NoSuchThing(f"{source.name} has lost the bytes of {file.filename}", hint="run envproxy scrub")
    return source.upstream


def _open(upstream: Upstream, url: str, offset: int, validator: str | None) -> AbstractAsyncContextManager[Body]:
    return upstream.stream(url, offset=offset, if_range=validator)


def _uploaded(row: Artifact) -> datetime | None:
    return datetime.fromisoformat(row.upload_time) if row.upload_time else None
