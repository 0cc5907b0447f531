"""The artifacts of the faces, by the path at which clients find them: what an agent names when it wants one.

A path is looked up by its face, so ownership and policies hold for agents as for everybody. Only artifacts that have
a SHA-256 can be shared, and an agent gets none under another digest than the one it asks for.

    /pypi/<index>/files/<project>/<sha256>/<filename>
    /conda/<channel>[/label/<label>]/<subdir>/<filename>
    /files/<name>/<path>
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

from envproxy.conda.channel import Filename, parse_filename, place
from envproxy.conda.face import Channel
from envproxy.conda.packages import Remote as RemotePackage
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.download import Download
from envproxy.errors import NoSuchThing
from envproxy.files.collection import Arriving as ArrivingFile
from envproxy.files.collection import Collection
from envproxy.files.collection import Remote as RemoteFile
from envproxy.files.path import FilePath
from envproxy.pypi.files import Arriving, Files, Remote, Wanted
from envproxy.pypi.index import Index
from envproxy.pypi.names import check_filename, normalize

_PYPI: Final = re.compile(r"/pypi/(?P<name>[^/]+)/files/(?P<project>[^/]+)/(?P<sha256>[0-9a-f]{64})/(?P<file>[^/]+)")
_CONDA: Final = re.compile(r"/conda/(?P<name>[^/]+)(?:/label/(?P<label>[^/]+))?/(?P<subdir>[^/]+)/(?P<file>[^/]+)")
_FILES: Final = re.compile(r"/files/(?P<name>[^/]+)/(?P<path>.+)")


class Artifact(Protocol):
    """One artifact on its face. Both raise NoSuchThing, PolicyRefused, UpstreamError."""

    async def look(self) -> int | None:
        """Its size in bytes as far as its upstream or page says it; None also if it is here. Nothing is fetched."""

    async def open(self) -> str | Download:
        """Its SHA-256 if it is in the store, else its download."""

    def forget(self) -> None:
        """The store turned out not to have it any more."""


@dataclass(frozen=True, slots=True)
class Release:
    """A file of an index."""

    files: Files
    index: Index
    wanted: Wanted

    async def look(self) -> int | None:
        """See `Artifact`."""
        found = await self.files.look(self.index, self.wanted)
        return found.size if isinstance(found, Remote) else None

    async def open(self) -> str | Download:
        """See `Artifact`."""
        found = await self.files.open(self.index, self.wanted)
        return found.download if isinstance(found, Arriving) else found.sha256

    def forget(self) -> None:
        """See `Artifact`."""
        self.files.forget_file(self.index, self.wanted)


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a channel."""

    channel: Channel
    place: str
    name: Filename
    sha256: str

    async def look(self) -> int | None:
        """See `Artifact`."""
        found = await self.channel.look(self.place, self.name, self.sha256)
        return found.size if isinstance(found, RemotePackage) else None

    async def open(self) -> str | Download:
        """See `Artifact`."""
        found = await self.channel.package(self.place, self.name, self.sha256)
        return found.source if isinstance(found.source, Download) else found.sha256 or ""

    def forget(self) -> None:
        """See `Artifact`."""
        self.channel.forget_package(self.place, self.name, self.sha256)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a collection."""

    collection: Collection
    path: FilePath
    sha256: str

    async def look(self) -> int | None:
        """See `Artifact`."""
        found = await self.collection.look(self.path, self.sha256)
        return found.size if isinstance(found, RemoteFile) else None

    async def open(self) -> str | Download:
        """See `Artifact`."""
        found = await self.collection.open(self.path, self.sha256)
        return found.download if isinstance(found, ArrivingFile) else found.sha256

    def forget(self) -> None:
        """See `Artifact`: a collection looks each time."""


class Places:
    """Finds artifacts. `public` are the places, such as `pypi/main`, that everybody may read (privacy.py)."""

    def __init__(
        self,
        indexes: Mapping[str, Index],
        files: Files,
        channels: Mapping[str, Channel],
        collections: Mapping[str, Collection],
        artifacts: Artifacts,
        *,
        public: frozenset[str],
    ) -> None:
        self._indexes = indexes
        self._files = files
        self._channels = channels
        self._collections = collections
        self._artifacts = artifacts
        self._public = public

    def is_private(self, path: str) -> bool:
        """Whether what lies there is for some only."""
        return "/".join(path.split("/", 3)[1:3]) not in self._public

    async def look(self, path: str, sha256: str) -> int | None:
        """The size of an artifact, None if nobody says it. Raises as `Artifact`, ClientError for other paths."""
        size = await self._find(path, sha256).look()
        return size if size is not None else await self._artifacts.size(sha256)

    async def open(self, path: str, sha256: str) -> Path | Download:
        """The artifact in the store, or its download. Raises as `look`."""
        artifact = self._find(path, sha256)
        found = await artifact.open()
        if found == sha256 and await self._artifacts.size(sha256) is None:  # evicted since its face looked
            artifact.forget()
            found = await artifact.open()
        if isinstance(found, Download):
            return found
        if found != sha256:
            raise NoSuchThing(f"what {path} names has another SHA-256 than {sha256}", hint="renew the lock file")
        return self._artifacts.path(sha256)

    def _find(self, path: str, sha256: str) -> Artifact:
        for pattern, find in ((_PYPI, self._release), (_CONDA, self._package), (_FILES, self._file)):
            if match := pattern.fullmatch(path):
                parts = {name: unquote(part or "") for name, part in match.groupdict().items()}
                if (artifact := find(parts, sha256)) is not None:
                    return artifact
        raise NoSuchThing(f"{path[:200]!r} is not the path of an artifact of this proxy")

    def _release(self, parts: Mapping[str, str], sha256: str) -> Release | None:
        index = self._indexes.get(parts["name"])
        if index is None or parts["sha256"] != sha256:
            return None
        check_filename(parts["file"])
        return Release(self._files, index, Wanted(normalize(parts["project"]), sha256, parts["file"]))

    def _package(self, parts: Mapping[str, str], sha256: str) -> Package | None:
        channel, name = self._channels.get(parts["name"]), parse_filename(parts["file"])
        if channel is None or name is None:
            return None
        return Package(channel, place(parts["subdir"], parts["label"] or None), name, sha256)

    def _file(self, parts: Mapping[str, str], sha256: str) -> File | None:
        collection = self._collections.get(parts["name"])
        if collection is None:
            return None
        path = FilePath.parse(parts["path"])
        return None if collection.may_change(path) else File(collection, path, sha256)
