"""Uploads into hosted channels, as three kinds of clients send them: the file as the body, the rest around it.

    PUT    /conda/<channel>/<subdir>/<filename>             curl -T, envproxy conda upload
    POST   /api/v1/upload/<channel>                         rattler-build, pixi: X-File-Name, X-File-SHA256
    POST   /api/channels/<channel>/upload/<filename>        quetz clients: ?sha256=, X-API-Key
    DELETE /conda/<channel>/<subdir>/<filename>[?yank=1]    takes it away, or lists it as removed

A package is what its name says, has its bytes in the store, and is in repodata before the answer goes out. The same
again is 200, other bytes under a published name are 409. Whoever goes away halfway leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from envproxy.auth import Gate
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import HostedPackage
from envproxy.engine.flights import uninterrupted
from envproxy.engine.store import Partial
from envproxy.errors import ClientError, NoSuchThing

from .archive import Archive, read_archive
from .channel import Filename, check_subdir, parse_filename
from .hosted import HostedChannel

_READ_BYTES = 256 * 1024


class CondaUploadRoutes:
    """The handlers. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        channels: Mapping[str, HostedChannel],
        gate: Gate,
        artifacts: Artifacts,
        catalog: Catalog,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._channels = channels
        self._gate = gate
        self._artifacts = artifacts
        self._catalog = catalog
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Register the URLs."""
        add = app.router.add_route
        package = "/conda/{channel}/{subdir}/{file}"
        add("PUT", package, self.put, name="upload.conda")
        add("DELETE", package, self.delete, name="upload.conda.delete")
        add("POST", "/api/v1/upload/{channel}", self.post_named_by_header, name="upload.conda.prefix")
        add("POST", "/api/channels/{channel}/upload/{file}", self.post_named_by_path, name="upload.conda.quetz")

    async def put(self, request: web.Request) -> web.Response:
        """Take a package into the subdir of its URL."""
        subdir = check_subdir(request.match_info["subdir"])
        return await self._take(request, request.match_info["file"], None, subdir)

    async def post_named_by_header(self, request: web.Request) -> web.Response:
        """Take a package as prefix.dev does."""
        return await self._take(request, request.headers.get("X-File-Name", ""), request.headers.get("X-File-SHA256"))

    async def post_named_by_path(self, request: web.Request) -> web.Response:
        """Take a package as quetz does."""
        return await self._take(request, request.match_info["file"], request.query.get("sha256"))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete or yank a package."""
        self._admit(request)
        channel, subdir = self._channel(request), check_subdir(request.match_info["subdir"])
        name = _name(request.match_info["file"])
        change = self._catalog.yank_package if "yank" in request.query else self._catalog.delete_package
        if not await change(channel.name, subdir, name.text):
            raise NoSuchThing(f"{channel.name}/{subdir} has no {name.text}")
        await uninterrupted(channel.publish(subdir))
        return web.Response(text=f"{name.text} {'yanked' if 'yank' in request.query else 'deleted'}\n")

    async def _take(
        self, request: web.Request, file: str, stated: str | None, subdir: str | None = None
    ) -> web.Response:
        uploader = self._admit(request)
        channel, name = self._channel(request), _name(file)
        partial = await self._artifacts.receive(request.content_length or 0)
        try:
            async for chunk in request.content.iter_chunked(_READ_BYTES):
                await asyncio.to_thread(partial.append, chunk)
            archive = await asyncio.to_thread(read_archive, partial.path, name)
            _check(archive, name, stated, subdir)
            is_new = await uninterrupted(self._publish(channel, name, archive, partial, uploader))
        finally:
            await asyncio.to_thread(partial.close)
        said = "published" if is_new else "was published before, with the same bytes"
        text = f"{archive.subdir}/{name.text} {said} in {channel.name}\n"
        return web.Response(status=201 if is_new else 200, text=text)

    async def _publish(
        self, channel: HostedChannel, name: Filename, archive: Archive, partial: Partial, uploader: str
    ) -> bool:
        now = self._clock()
        record = {**archive.record, "indexed_timestamp": int(now * 1000)}

        async def pin(sha256: str, size: int) -> bool:
            return await self._catalog.add_package(
                HostedPackage(
                    channel=channel.name,
                    subdir=archive.subdir,
                    filename=name.text,
                    sha256=sha256,
                    size=size,
                    record=msgspec.json.encode(record),
                    uploaded_at=now,
                    uploader=uploader,
                    yanked=False,
                )
            )

        is_new = await self._artifacts.publish(partial, pin)
        if is_new:
            await channel.publish(archive.subdir)
        return is_new

    def _admit(self, request: web.Request) -> str:
        key = request.headers.get("X-API-Key")
        return self._gate.admit(f"Bearer {key}" if key else request.headers.get("Authorization"), "upload")

    def _channel(self, request: web.Request) -> HostedChannel:
        name = request.match_info["channel"]
        channel = self._channels.get(name)
        if channel is None:
            known = ", ".join(self._channels) or "none"
            raise ClientError(
                f"there is no hosted channel {name[:50]!r} here",
                hint=f"add [conda.hosted.NAME] to the configuration; it has: {known}",
            )
        return channel


def _name(file: str) -> Filename:
    name = parse_filename(file)
    if name is None:
        raise ClientError(f"{file[:80]!r} is not the name of a package", hint="it is name-version-build.conda")
    return name


def _check(archive: Archive, name: Filename, stated: str | None, subdir: str | None) -> None:
    if subdir is not None and archive.subdir != subdir:
        raise ClientError(f"{name.text} is for {archive.subdir}, not for {subdir}")
    if stated and stated.lower() != archive.record["sha256"]:
        raise ClientError(f"{name.text} arrived with SHA-256 {archive.record['sha256']}, not {stated[:64]}")
