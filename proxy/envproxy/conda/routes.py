"""What the URLs of the Conda face mean, and which headers go out.

    /conda/<channel>[/label/<label>]/<subdir>/<file>     repodata, shard index, packages, and what lies beside them
    /conda/<channel>[/label/<label>]/<subdir>/shards/<sha256>.msgpack.zst
    /conda/<channel>[/label/<label>]/channeldata.json, notices.json, rss.xml
    /t/<token>/conda/..., /conda/t/<token>/...           the same, with the token in the path as Conda clients put it

Channels are siblings, for `channel_relations` are relative (CEP 42). Every answer has a Cache-Control, for without
one rattler guesses, and a strong ETag of its own, for conda and mamba send one file's ETag for another.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from aiohttp import web

from envproxy.demands import HEADER, demands
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.download import Download
from envproxy.engine.freshness import wants_revalidation
from envproxy.engine.send import Representation, describe, etag_of, send_blob, send_bytes, send_download
from envproxy.errors import ClientError, NoSuchThing, UpstreamError
from envproxy.metrics import Metrics
from envproxy.middleware import CACHE_HEADER

from .channel import (
    AT_THE_ROOT,
    BESIDE_PACKAGES,
    FLAT,
    NOARCH,
    SHARD_INDEX,
    SHARD_SUFFIX,
    Filename,
    check_label,
    parse_filename,
    place,
    signed_package,
)
from .face import Channel, Listing
from .making import FlatForm
from .packages import Package, Remote
from .subdirs import Piece

_TRIES = 3  # to send what may be evicted, or replaced, between the look and the send
MAX_AGE_S = 300  # of an index: CEP 16 asks for no more than an hour
_FLAT: Mapping[str, FlatForm] = {"repodata.json": "json", "repodata.json.zst": "zst"}
_TYPES = {".json": "application/json", ".zst": "application/zstd", ".bz2": "application/x-bzip2", ".xml": "text/xml"}
_PACKAGE = r"[^/]+\.(?:conda|tar\.bz2)"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIXES = {
    "plain": "/conda/{channel}",
    "token": "/conda/t/{token}/{channel}",
    "rattler": "/t/{token}/conda/{channel}",
}


class CondaRoutes:
    """The handlers. `shared` is "public" or, when reading needs credentials, "private" (RFC 9111, 5.2.2)."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        artifacts: Artifacts,
        metrics: Metrics,
        *,
        shared: str,
        clock: Callable[[], float],
    ) -> None:
        self._channels = channels
        self._artifacts = artifacts
        self._metrics = metrics
        self._shared = shared
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Register every URL of the face."""
        for form, prefix in _PREFIXES.items():
            for label in ("", "/label/{label}"):
                name = f"{form}.label" if label else form
                add = app.router.add_get
                add(f"{prefix}{label}/{{subdir}}/shards/{{file}}", self.shard, name=f"shard.{name}")
                add(f"{prefix}{label}/{{subdir}}/{{file:{_PACKAGE}}}", self.package, name=f"package.{name}")
                add(f"{prefix}{label}/{{subdir}}/{{file}}", self.file, name=f"repodata.{name}")
                add(f"{prefix}{label}/{{file}}", self.root_file, name=f"repodata.root.{name}")

    async def shard(self, request: web.Request) -> web.StreamResponse:
        """One shard, named by its digest."""
        channel, where, file = self._channel(request), _place(request), request.match_info["file"]
        digest = file.removesuffix(SHARD_SUFFIX)
        if not _SHA256.fullmatch(digest) or digest == file:
            raise ClientError(f"{file[:80]!r} is not the name of a shard", hint="it is <sha256>.msgpack.zst (CEP 16)")
        what = Representation(etag_of(digest), self._immutable, _TYPES[".zst"])
        for _ in range(_TRIES):
            try:
                found = await channel.shard(where, bytes.fromhex(digest))
                data = await asyncio.to_thread(found.read) if isinstance(found, Piece) else b""
            except FileNotFoundError:  # evicted a moment ago
                await channel.renew(where)
                continue
            if isinstance(found, Download):
                return await self._send_arriving(request, found, what, "metadata")
            self._count("metadata", "hit", "disk", len(data))
            return await send_bytes(request, data, what)
        raise UpstreamError(f"the shard {digest} was evicted and cannot be made again", cause="bad_body")

    async def package(self, request: web.Request) -> web.StreamResponse:
        """One package."""
        channel, where, file = self._channel(request), _place(request), request.match_info["file"]
        name = parse_filename(file)
        if name is None:
            raise ClientError(f"{file[:80]!r} is not the name of a package", hint="it is name-version-build.conda")
        return await self._send_package(request, channel, where, name)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Any other file of a subdir."""
        channel, where, file = self._channel(request), _place(request), request.match_info["file"]
        find: Callable[[bool], Awaitable[Listing]]
        if file == SHARD_INDEX:
            find = lambda ask: channel.index(where, ask=ask)  # noqa: E731
        elif file in _FLAT:
            find = lambda ask: channel.flat(where, _FLAT[file], ask=ask)  # noqa: E731
        elif file in BESIDE_PACKAGES or file in FLAT or signed_package(file):
            find = lambda ask: channel.file(f"{where}/{file}", ask=ask)  # noqa: E731
        else:
            raise NoSuchThing(f"{file[:80]!r} is none of the files of a subdir (CEP 26, 36)")
        return await self._listing(request, channel, where, find)

    async def root_file(self, request: web.Request) -> web.StreamResponse:
        """A file of the channel itself."""
        channel, file, label = self._channel(request), request.match_info["file"], request.match_info.get("label")
        if file not in AT_THE_ROOT:
            raise NoSuchThing(f"{file[:80]!r} is none of the files of a channel (CEP 26)")
        path = f"label/{check_label(label)}/{file}" if label else file
        return await self._listing(request, channel, NOARCH, lambda ask: channel.file(path, ask=ask))

    async def _listing(
        self, request: web.Request, channel: Channel, where: str, find: Callable[[bool], Awaitable[Listing]]
    ) -> web.StreamResponse:
        ask = wants_revalidation(request.headers.get("Cache-Control"))
        for _ in range(_TRIES):
            try:
                return await self._send_listing(request, await find(ask))
            except FileNotFoundError:  # evicted a moment ago, or replaced
                await channel.renew(where)
                ask = False
        raise UpstreamError(f"{request.match_info['file']} is replaced as fast as it is made", cause="bad_body")

    async def _send_listing(self, request: web.Request, listing: Listing) -> web.StreamResponse:
        left = min(MAX_AGE_S, int(listing.fresh_until - self._clock()))
        control = f"{self._shared}, max-age={left}" if left > 0 else "no-cache"
        headers = {"Cache-Control": control, CACHE_HEADER: listing.result}
        suffix = "." + request.match_info["file"].rpartition(".")[2]
        what = Representation(etag_of(listing.sha256), headers, _TYPES.get(suffix, "application/octet-stream"))
        response = await send_blob(request, self._artifacts.path(listing.sha256), what)
        self._count("index", listing.result, "disk", response.content_length or 0)
        return response

    async def _send_package(
        self, request: web.Request, channel: Channel, where: str, name: Filename
    ) -> web.StreamResponse:
        wanted = _demanded(request)
        for _ in range(_TRIES):
            find = channel.look if request.method == "HEAD" else channel.package
            package = await find(where, name, wanted)
            what = self._representation(package)
            if isinstance(package, Remote):
                return describe(request, _missed(what), total=package.size)
            if isinstance(package.source, Download):
                return await self._send_arriving(request, package.source, what, "artifact")
            try:
                response = await send_blob(request, package.source.path, what)
            except FileNotFoundError:  # evicted since it was looked up
                channel.forget_package(where, name, package.sha256 or "")
                continue
            self._artifacts.used(package.sha256 or "")
            self._count("artifact", "hit", "disk", response.content_length or 0)
            return response
        raise UpstreamError(f"{name.text} is evicted as fast as it comes", cause="bad_body", hint="raise store.limit")

    async def _send_arriving(
        self, request: web.Request, download: Download, what: Representation, kind: str
    ) -> web.StreamResponse:
        """From upstream; a HEAD is answered when upstream is, for no index tells the length of a shard."""
        response = await send_download(request, download, _missed(what))
        self._count(kind, "miss", "upstream", response.content_length or 0)
        return response

    def _representation(self, package: Package | Remote) -> Representation:
        """Of a package. One for which nobody states a digest may have another tomorrow."""
        etag = None if package.sha256 is None else etag_of(package.sha256)
        if package.is_stated:
            return Representation(etag, self._immutable)
        return Representation(etag, {"Cache-Control": "no-cache", CACHE_HEADER: "hit"})

    @property
    def _immutable(self) -> dict[str, str]:
        return {"Cache-Control": f"{self._shared}, max-age=31536000, immutable", CACHE_HEADER: "hit"}

    def _count(self, kind: str, result: str, source: str, size: int) -> None:
        self._metrics.cache_requests["conda", kind, result].inc()
        self._metrics.bytes_served[(source,)].inc(size)

    def _channel(self, request: web.Request) -> Channel:
        name = request.match_info["channel"]
        channel = self._channels.get(name)
        if channel is None:
            known = ", ".join(self._channels)
            raise NoSuchThing(f"there is no channel {name[:50]!r} here", hint=f"configured channels: {known}")
        return channel


def _missed(what: Representation) -> Representation:
    return replace(what, headers={**what.headers, CACHE_HEADER: "miss"})


def _demanded(request: web.Request) -> str | None:
    """The digest that the client demands. Raises ClientError for what is none, which would check nothing."""
    demanded = {text.lower() for text in demands(request)}
    if not demanded:
        return None
    digest = demanded.pop()
    if demanded or not _SHA256.fullmatch(digest):
        raise ClientError(f"{HEADER} is not one SHA-256", hint="it is 64 hexadecimal digits")
    return digest


def _place(request: web.Request) -> str:
    return place(request.match_info["subdir"], request.match_info.get("label"))
