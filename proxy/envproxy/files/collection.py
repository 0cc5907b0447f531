"""One collection: files below one URL, each with one SHA-256 for as long as this proxy remembers it.

Which digest a file has, the first of these says that says anything: the request (or the file's own name), the pins of
the configuration, the first download ever, the checksums that upstream publishes beside it. What nobody states is
trusted on first use; from then on other bytes under that name are refused. Bytes that another face has, or that came
under another name, are no file of this collection: its own upstream must give them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from envproxy.engine.answers import Body
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.engine.download import Download
from envproxy.engine.expected import Expected
from envproxy.engine.upstream import Upstream
from envproxy.errors import NoSuchThing
from envproxy.tables import FilesConfig

from .changing import Changing
from .path import FilePath, digest_in


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is here."""

    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class Arriving:
    """A file on its way; `sha256` is None where nobody states it."""

    sha256: str | None
    download: Download


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that is upstream only; `size` in bytes. Both are None where nobody states them."""

    sha256: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    path: FilePath
    sha256: str | None


def source_of(name: str) -> str:
    """What the catalog calls the source of a collection's files."""
    return f"files/{name}"


class Collection:
    """See the module. Raises NoSuchThing, UpstreamError, StorageFull. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        config: FilesConfig,
        upstream: Upstream,
        changing: Changing,
        artifacts: Artifacts,
        catalog: Catalog,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.changing = changing
        self._config = config
        self._pins = dict(config.pins)
        self._source = source_of(config.name)
        self._upstream = upstream
        self._artifacts = artifacts
        self._catalog = catalog
        self._clock = clock

    def may_change(self, path: FilePath) -> bool:
        """Whether upstream may put other bytes there: then nothing pins it, and `changing` has it."""
        is_sums = fnmatchcase(path.name, self._config.checksums.replace("{name}", "*"))
        return is_sums or any(fnmatchcase(path.text, pattern) for pattern in self._config.changing)

    def is_pinned(self, path: FilePath) -> bool:
        """Whether the configuration says which SHA-256 the file has."""
        return path.text in self._pins

    async def open(self, path: FilePath, demanded: str | None) -> Stored | Arriving:
        """The file. `demanded` is the SHA-256 that the client wants it to have."""
        found = await self._find(path, demanded)
        return found if isinstance(found, Stored) else self._fetch(found)

    async def look(self, path: FilePath, demanded: str | None) -> Stored | Remote:
        """Where the file is, without fetching it."""
        found = await self._find(path, demanded)
        if isinstance(found, Stored):
            return found
        return Remote(found.sha256, await self._upstream.length(self._config.url + found.path.quoted))

    async def _find(self, path: FilePath, demanded: str | None) -> Stored | _Wanted:
        if path.digest and not path.folder:
            path = await self._named_otherwise(path, path.digest)
        sha256 = await self._digest(path, demanded)
        if sha256 is not None:
            row = await self._catalog.find_artifact(self._source, path.folder, path.name, sha256)
            if row is not None and await self._artifacts.size(sha256) is not None:
                return Stored(sha256, self._artifacts.path(sha256))
        return _Wanted(path, sha256)

    async def _named_otherwise(self, path: FilePath, sha256: str) -> FilePath:
        """The file that a digest stands for: one that was served, or a pinned one; else it is upstream's own name."""
        row = await self._catalog.find_digest(self._source, sha256)
        if row is not None:
            return FilePath(row.project, row.filename)
        return next((FilePath.parse(pinned) for pinned, pin in self._pins.items() if pin == sha256), path)

    async def _digest(self, path: FilePath, demanded: str | None) -> str | None:
        """What the file must be: see the module."""
        pin = self._pins.get(path.text)
        if demanded and pin and demanded != pin:
            raise NoSuchThing(
                f"{path.text} with SHA-256 {demanded} is not in {self._config.name}",
                hint=f"this proxy pins it to {pin}",
            )
        if known := demanded or pin:
            return known
        first = await self._catalog.first_artifact(self._source, path.folder, path.name)
        return first.sha256 if first else await self._published(path)

    async def _published(self, path: FilePath) -> str | None:
        """The digest that upstream states beside the file."""
        if not self._config.checksums:
            return None
        sums = await self.changing.text(path.beside(self._config.checksums.replace("{name}", path.name)))
        return digest_in(sums, path.name) if sums is not None else None

    def _fetch(self, wanted: _Wanted) -> Arriving:
        url = self._config.url + wanted.path.quoted

        def open_body(offset: int, validator: str | None) -> AbstractAsyncContextManager[Body]:
            return self._upstream.stream(url, offset=offset, if_range=validator)

        async def stored(sha256: str, size: int) -> None:
            await self._catalog.add_artifact(
                Artifact(self._source, wanted.path.folder, wanted.path.name, sha256, size, url, None, self._clock())
            )

        key = f"{self._source}/{wanted.path.text}#{wanted.sha256 or ''}"
        expected = Expected({"sha256": wanted.sha256} if wanted.sha256 else {})
        download = self._artifacts.download(
            key, wanted.path.name, open_body, expected, owner=self._source, stored=stored
        )
        return Arriving(wanted.sha256, download)
