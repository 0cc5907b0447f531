"""The legacy upload API, as twine, uv, poetry and pdm speak it: POST /pypi/<index>/legacy/.

Invariant: a file is on its page only when its bytes and its metadata are in the store, pinned, and say of themselves
what their name says. A filename means the same bytes for ever: the same again is 200, others are 409, which twine
takes as "skip" when told so and uv compares with the page. Whoever goes away halfway leaves nothing.

There is no register step, no signature and no attestation here: such fields are read and dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from packaging.utils import canonicalize_version

from envproxy.auth import Gate
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog, HostedFile, Sidecar
from envproxy.engine.flights import uninterrupted
from envproxy.engine.store import Partial
from envproxy.errors import ClientError

from .distribution import Distribution, read_distribution
from .form import Content, Form, read_form
from .hosted import HostedSource
from .index import Index, find_index
from .names import normalize
from .shelf import Shelf
from .show import wheel_key


class UploadRoutes:
    """The handler. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        indexes: Mapping[str, Index],
        gate: Gate,
        artifacts: Artifacts,
        catalog: Catalog,
        shelf: Shelf,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._indexes = indexes
        self._gate = gate
        self._artifacts = artifacts
        self._catalog = catalog
        self._shelf = shelf
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Register the URL, also without its slash: clients do not follow a redirect of an upload."""
        app.router.add_post("/pypi/{index}/legacy/", self.upload, name="upload")
        app.router.add_post("/pypi/{index}/legacy", self.upload, name="upload.bare")

    async def upload(self, request: web.Request) -> web.Response:
        """Take one file. Raises ClientError, Unauthorized, Conflict, StorageFull."""
        uploader = self._gate.admit(request.headers.get("Authorization"), "upload")
        index = find_index(self._indexes, request.match_info["index"])
        source = hosted_source(index)
        partial = await self._artifacts.receive(request.content_length or 0)
        try:
            dist = await self._verified(request, partial)
            _check_owner(index, source, dist.project)
            fresh = await uninterrupted(self._publish(source, dist, partial, uploader))
        finally:
            await asyncio.to_thread(partial.close)
        self._shelf.forget(dist.project)
        said = "published" if fresh else "was published before, with the same bytes"
        return web.Response(text=f"{dist.filename} {said} in {source.name}\n")

    async def _verified(self, request: web.Request, partial: Partial) -> Distribution:
        """The file of the form, whole in `partial`, after everything that can be checked about it."""
        content = Content(partial)
        form = await read_form(request, content)
        form.check(content.digests())
        dist = await asyncio.to_thread(read_distribution, partial.path, form.filename)
        _check_release(form, dist)
        return dist

    async def _publish(self, source: HostedSource, dist: Distribution, partial: Partial, uploader: str) -> bool:
        await self._catalog.check_hosted_name(source.name, dist.filename, partial.digest())
        metadata = await self._artifacts.put(dist.metadata, "metadata") if dist.is_wheel else None

        async def pin(sha256: str, size: int) -> bool:
            return await self._catalog.add_hosted(
                HostedFile(
                    source=source.name,
                    project=dist.project,
                    filename=dist.filename,
                    sha256=sha256,
                    size=size,
                    metadata_sha256=metadata,
                    requires_python=dist.requires_python,
                    upload_time=self._now(),
                    yanked=None,
                    version=dist.version,
                    uploader=uploader,
                )
            )

        fresh = await self._artifacts.publish(partial, pin)
        listed = (await source.page(dist.project)).find(dist.filename)
        if metadata is not None and listed is not None:
            await self._catalog.save_sidecar(Sidecar(wheel_key(source.name, listed), metadata, "upload"))
        return fresh

    def _now(self) -> str:
        """The upload time as PEP 700 wants it."""
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def hosted_source(index: Index) -> HostedSource:
    """Where uploads to the index go. Raises ClientError unless that is clear."""
    hosted = [source for source in index.sources if isinstance(source, HostedSource)]
    if len(hosted) == 1:
        return hosted[0]
    if hosted:
        names = ", ".join(source.name for source in hosted)
        raise ClientError(
            f"index {index.name} has several hosted sources ({names})",
            hint="upload to an index that has only the one you mean",
        )
    raise ClientError(
        f"index {index.name} has no hosted source, so nothing can be uploaded to it",
        hint=f"add [pypi.hosted.NAME] to the configuration, and NAME to the sources of {index.name}",
    )


def _check_owner(index: Index, source: HostedSource, project: str) -> None:
    """A file of a name that belongs to another source would never be seen."""
    if source not in index.candidates(project):
        raise ClientError(
            f"{project} belongs to another source of index {index.name} than {source.name}",
            hint="the owners of the index decide: change them, or the name",
        )


def _check_release(form: Form, dist: Distribution) -> None:
    """Name and version of the form, where it has them, must be those of the file."""
    name, version = form.fields.get("name"), form.fields.get("version")
    if name and normalize(name) != dist.project:
        raise ClientError(f"{dist.filename} is of the project {dist.project}, the form says {name[:100]!r}")
    if version and canonicalize_version(version) != canonicalize_version(dist.version):
        raise ClientError(f"{dist.filename} is version {dist.version}, the form says {version[:100]!r}")
