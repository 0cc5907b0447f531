"""Metadata sidecars (PEP 658, PEP 714) for every wheel, whatever upstream offers.

In this order: what the catalog has; the cached wheel's own METADATA; upstream's sidecar, byte for byte and checked
against the digest that the page announces; METADATA read out of the wheel upstream by range; or, where upstream
does not do ranges, out of the wheel fetched whole. Each is made once, by one flight. A wheel that has no usable
METADATA is remembered and announced no more; only verified bytes can say so, never a failure or an absence upstream.
The metadata goes out before it is stored, and unstored on a full disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from yarl import URL

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog, Sidecar
from envproxy.engine.flights import Flights, Tasks, uninterrupted
from envproxy.engine.upstream import Absent, Fetched, Upstream
from envproxy.errors import BadUpstreamBody, NoSuchThing, StorageFull, UpstreamError

from .entries import ProjectFile
from .metadata import extract, extract_from_file
from .page import Page
from .show import Wheel, wheel_key
from .source import Source

FetchWheel = Callable[[str, ProjectFile, Source], Awaitable[str]]
"""Brings a wheel of (project, file, source) into the store; returns its SHA-256."""

PROBE_AGAIN_S = 3600.0  # how long a host that had no sidecar for a wheel is not asked for unannounced ones


_INSTEAD = frozenset({"4xx", "5xx", "bad_body"})  # failures of one URL; the wheel may be had all the same


@dataclass(frozen=True, slots=True)
class Made:
    """Metadata that was made just now (or a moment ago, if not `is_new`), and is stored unless the disk is full."""

    sha256: str
    body: bytes
    is_new: bool = True


class Sidecars:
    """See the module. `changed(project)` is called when what pages announce of a project turned out wrong."""

    def __init__(
        self,
        artifacts: Artifacts,
        catalog: Catalog,
        flights: Flights[str, Made],
        tasks: Tasks,
        *,
        changed: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._artifacts = artifacts
        self._catalog = catalog
        self._flights = flights
        self._tasks = tasks
        self._unstored: dict[str, Made] = {}  # on its way to the disk: whoever asked need not wait for that
        self._changed = changed
        self._clock = clock
        self._bare_hosts: dict[str, float] = {}

    async def known(self, source: Source, page: Page) -> dict[str, str | None]:
        """What is known of the sidecars of a page's wheels, by wheel key; None for a wheel that has none."""
        keys = await asyncio.to_thread(_wheel_keys, source.name, page)
        stored = await self._catalog.sidecars_for(keys)
        if not self._unstored:
            return stored
        return stored | {key: made.sha256 for key in keys if (made := self._unstored.get(key)) is not None}

    async def find(self, source: str, wheel: Wheel) -> str | None:
        """The digest under which the sidecar of a source's wheel is stored, None if it is yet to be made.

        Raises `NoSuchThing` for a wheel that has none.
        """
        row = await self._catalog.find_sidecar(wheel_key(source, wheel))
        if row is None:
            return None
        if row.metadata_sha256 is None:
            raise NoSuchThing(f"{wheel.filename} has no metadata: {row.reason}")
        return row.metadata_sha256 if await self._artifacts.size(row.metadata_sha256) is not None else None

    async def make(self, project: str, file: ProjectFile, source: Source, fetch_wheel: FetchWheel) -> Made:
        """Get the sidecar, and store it behind. Raises `NoSuchThing`, `UpstreamError` or `StorageFull`."""
        key = wheel_key(source.name, file)
        if (made := self._unstored.get(key)) is not None:
            return replace(made, is_new=False)
        return await self._flights.join(key, lambda: self._make(key, project, file, source, fetch_wheel))

    async def _make(self, key: str, project: str, file: ProjectFile, source: Source, fetch_wheel: FetchWheel) -> Made:
        try:
            body, origin = await self._body(project, file, source, fetch_wheel)
        except _NoMetadata as error:
            await self._catalog.save_sidecar(Sidecar(key, None, error.message))
            self._changed(project)
            raise
        made = Made(sha256(body).hexdigest(), body)
        if not _is_as_announced(body, file):
            await self._keep(key, made, origin)
            self._changed(project)
            raise UpstreamError(
                f"{source.name} announces another digest for the metadata of {file.filename} than it has",
                cause="bad_body",
                hint="the next page that this index serves names the right one: run the install again",
            )
        self._unstored[key] = made
        _ = self._tasks.spawn(uninterrupted(self._keep(key, made, origin)), name=f"sidecar:{file.filename}")
        return made

    async def _keep(self, key: str, made: Made, origin: str) -> None:
        try:
            with suppress(StorageFull):
                await self._artifacts.put(made.body, "metadata")
            await self._catalog.save_sidecar(Sidecar(key, made.sha256, origin))
        finally:
            self._unstored.pop(key, None)

    async def _body(
        self, project: str, file: ProjectFile, source: Source, fetch_wheel: FetchWheel
    ) -> tuple[bytes, str]:
        own = None
        if file.sha256 is not None and await self._artifacts.size(file.sha256) is not None:
            own = await self._from_store(file.sha256, file)
            if _is_as_announced(own, file):
                return own, "cached wheel"
        if source.upstream is not None:
            relayed = await self._relayed(source.upstream, file)
            if relayed is not None and _is_as_announced(relayed, file):
                return relayed, "upstream"
            ranged = await _from_ranges(source.upstream, file) if own is None else None
            if ranged is not None:
                return ranged, "range"
        return own or await self._from_store(await fetch_wheel(project, file, source), file), "wheel"

    async def _from_store(self, digest: str, file: ProjectFile) -> bytes:
        """Out of a verified wheel: what is wrong with it now will be wrong for ever."""
        try:
            return await asyncio.to_thread(extract_from_file, self._artifacts.path(digest), filename=file.filename)
        except (BadUpstreamBody, NoSuchThing) as error:
            raise _NoMetadata(error.message) from error
        except FileNotFoundError as error:
            raise StorageFull(f"no room to keep {file.filename}, out of which its metadata is read") from error

    async def _relayed(self, upstream: Upstream, file: ProjectFile) -> bytes | None:
        """Upstream's own sidecar: asked for if announced, else unless its host had none a while ago.

        None also if that fails: should upstream be down, the wheel will say so.
        """
        host = URL(file.url).host or ""
        announced = file.core_metadata is not False
        if not announced and self._clock() < self._bare_hosts.get(host, 0.0):
            return None
        try:
            answer = await upstream.fetch(f"{file.url}.metadata", accept="*/*", vital=False)
        except UpstreamError as error:
            if error.cause != "4xx":
                return None
            answer = Absent()  # object stores answer 403 for what they do not have
        if isinstance(answer, Fetched):
            return answer.body if _is_metadata(answer.body) else None
        if not announced:
            self._bare_hosts[host] = self._clock() + PROBE_AGAIN_S
        return None


class _RangeReader:
    """One wheel upstream, read by ranges (see `metadata.RangeReader`)."""

    def __init__(self, upstream: Upstream, file: ProjectFile) -> None:
        self._upstream = upstream
        self._file = file

    async def size(self) -> int:
        size = self._file.size if self._file.size is not None else await self._upstream.length(self._file.url)
        if not size:
            raise _NoRanges
        return size

    async def read(self, start: int, end: int) -> bytes:
        data = await self._upstream.read_range(self._file.url, start, end)
        if data is None:
            raise _NoRanges
        return data


class _NoRanges(Exception):
    pass


class _NoMetadata(NoSuchThing):
    """A wheel's own bytes, verified, hold no usable METADATA."""


async def _from_ranges(upstream: Upstream, file: ProjectFile) -> bytes | None:
    """METADATA by range reads; None if that cannot be done here, or shows no sound one.

    Then the whole wheel, verified, has the last word: its size may be stated wrongly, HEAD may be forbidden.
    """
    try:
        return await extract(_RangeReader(upstream, file), filename=file.filename)
    except (_NoRanges, NoSuchThing):
        return None
    except UpstreamError as error:
        if error.cause not in _INSTEAD:
            raise
        return None


def _is_as_announced(body: bytes, file: ProjectFile) -> bool:
    """Whether a sidecar has the SHA-256 that the page announces, if it announces one."""
    announced = {} if isinstance(file.core_metadata, bool) else file.core_metadata
    return announced.get("sha256") in (None, sha256(body).hexdigest())


def _is_metadata(body: bytes) -> bool:
    """An error page with status 200 is no metadata: every METADATA has this field (core metadata specification)."""
    return b"Metadata-Version:" in body[:4096]


def _wheel_keys(source: str, page: Page) -> list[str]:
    wheels = (link for link in page.links() if link.filename.endswith(".whl"))
    return [wheel_key(source, wheel) for wheel in wheels]
