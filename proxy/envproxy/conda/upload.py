"""Uploads into hosted channels, as clients of four kinds of servers send them.

    PUT    /conda/<channel>/<subdir>/<filename>             envproxy conda upload, curl -T, clients of Artifactory
    POST   /api/v1/upload/<channel>                         clients of prefix.dev: a form, or the file as the body
    POST   /api/channels/<channel>/upload/<filename>        clients of quetz: ?sha256=, X-API-Key
    DELETE /conda/<channel>/<subdir>/<filename>[?yank=1]    takes it away, or lists it as removed

A package is what its name says, has its bytes in the store, and is in repodata before the answer goes out. The same
again is 200, other bytes under a published name are 409. Whoever goes away halfway leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from envproxy.auth import Gate
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import HostedPackage
from envproxy.engine.flights import uninterrupted
from envproxy.engine.store import Partial
from envproxy.errors import ClientError, NoSuchThing, StorageFull

from .archive import Archive, read_archive
from .channel import Filename, check_subdir, parse_filename
from .hosted import HostedChannel, check_listable

_READ_BYTES = 256 * 1024
_UNREADABLE = (ValueError, RuntimeError, HttpProcessingError)  # what aiohttp raises over a broken form


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a client sends: a package by its filename, and, where it says so, its digest and where it belongs."""

    file: str
    pieces: AsyncIterator[bytes]
    sha256: str | None = None
    subdir: str | None = None


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
        uploader, subdir = self._admit(request), check_subdir(request.match_info["subdir"])
        return await self._take(request, uploader, Parcel(request.match_info["file"], _body(request), subdir=subdir))

    async def post_named_by_header(self, request: web.Request) -> web.Response:
        """Take a package as prefix.dev does: as the part `file` of a form, else as the body."""
        uploader = self._admit(request)
        named, pieces = request.headers, _body(request)
        if request.content_type == "multipart/form-data":
            form, part = await _file_in(request)
            named, pieces = part.headers, _part(form, part)
        parcel = Parcel(named.get("X-File-Name", ""), pieces, named.get("X-File-SHA256"))
        return await self._take(request, uploader, parcel)

    async def post_named_by_path(self, request: web.Request) -> web.Response:
        """Take a package as quetz does."""
        uploader, stated = self._admit(request), request.query.get("sha256")
        return await self._take(request, uploader, Parcel(request.match_info["file"], _body(request), stated))

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

    async def _take(self, request: web.Request, uploader: str, parcel: Parcel) -> web.Response:
        channel, name = self._channel(request), _name(parcel.file)
        partial = await self._artifacts.receive(request.content_length or 0)
        try:
            async for piece in parcel.pieces:
                await asyncio.to_thread(partial.append, piece)
                if partial.full:
                    raise StorageFull(f"the disk had room for {partial.stored} bytes of {name.text}")
            archive = await asyncio.to_thread(read_archive, partial.path, name)
            _check(archive, name, parcel)
            package = self._package(channel, name, archive, uploader)
            await asyncio.to_thread(check_listable, package)
            is_new = await uninterrupted(self._publish(channel, package, partial))
        finally:
            await asyncio.to_thread(partial.close)
        said = "published" if is_new else "was published before, with the same bytes"
        text = f"{archive.subdir}/{name.text} {said} in {channel.name}\n"
        return web.Response(status=201 if is_new else 200, text=text)

    def _package(self, channel: HostedChannel, name: Filename, archive: Archive, uploader: str) -> HostedPackage:
        now = self._clock()
        return HostedPackage(
            channel=channel.name,
            subdir=archive.subdir,
            filename=name.text,
            sha256=archive.record["sha256"],
            size=archive.record["size"],
            record=msgspec.json.encode({**archive.record, "indexed_timestamp": int(now * 1000)}),
            uploaded_at=now,
            uploader=uploader,
            yanked=False,
        )

    async def _publish(self, channel: HostedChannel, package: HostedPackage, partial: Partial) -> bool:
        async def pin(_sha256: str, _size: int) -> bool:
            return await self._catalog.add_package(package)

        is_new = await self._artifacts.publish(partial, pin)
        await channel.publish(package.subdir)  # old ones too: it may be what failed the last time
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


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_chunked(_READ_BYTES):
        yield piece


async def _file_in(request: web.Request) -> tuple[MultipartReader, BodyPartReader]:
    """The form and its file. Raises ClientError."""
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                return form, part
    except _UNREADABLE as error:
        raise _broken(error) from error
    raise ClientError("the form has no file in it", hint="the file is the part called file")


async def _part(form: MultipartReader, part: BodyPartReader) -> AsyncIterator[bytes]:
    """The bytes of a part; what follows it, such as an attestation, is read and dropped."""
    try:
        while not part.at_eof():
            yield await part.read_chunk(_READ_BYTES)
        while await form.next() is not None:
            continue
    except _UNREADABLE as error:
        raise _broken(error) from error


def _broken(error: Exception) -> ClientError:
    return ClientError(f"the form cannot be read: {error}")


def _name(file: str) -> Filename:
    name = parse_filename(file)
    if name is None:
        raise ClientError(f"{file[:80]!r} is not the name of a package", hint="it is name-version-build.conda")
    return name


def _check(archive: Archive, name: Filename, parcel: Parcel) -> None:
    if parcel.subdir is not None and archive.subdir != parcel.subdir:
        raise ClientError(f"{name.text} is for {archive.subdir}, not for {parcel.subdir}")
    if parcel.sha256 and parcel.sha256.lower() != archive.record["sha256"]:
        raise ClientError(f"{name.text} arrived with SHA-256 {archive.record['sha256']}, not {parcel.sha256[:64]}")
