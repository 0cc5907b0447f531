"""What the URLs of the files face mean, and which headers go out.

    /files/<name>/<path>                a file of the collection
    /files/<name>/<path>?sha256=<hex>   the same, only with these bytes (X-Expected-SHA256 says it, too)
    /files/<name>/<sha256>              a file by its digest, as pyenv asks its mirrors

A pinned file is immutable for every cache on the way, unless a header is all that says which bytes it has; one that
may change says how long it is fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from envproxy.demands import demands
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.freshness import max_age, wants_revalidation
from envproxy.engine.send import Representation, describe, etag_of, send_blob, send_download
from envproxy.errors import ClientError, NoSuchThing, UpstreamError
from envproxy.metrics import Metrics
from envproxy.middleware import CACHE_HEADER

from .collection import Arriving, Collection, Remote, Stored
from .path import FilePath, demanded


class FilesRoutes:
    """The handlers. `shared` is "public" or, when reading needs credentials, "private" (RFC 9111, 5.2.2)."""

    def __init__(
        self,
        collections: Mapping[str, Collection],
        artifacts: Artifacts,
        metrics: Metrics,
        *,
        shared: str,
        clock: Callable[[], float],
    ) -> None:
        self._collections = collections
        self._artifacts = artifacts
        self._metrics = metrics
        self._shared = shared
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Register the URL of the face."""
        app.router.add_get("/files/{name}/{path:.*}", self.file, name="file.collection")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file."""
        collection = self._collection(request)
        path = FilePath.parse(request.match_info["path"])
        wanted = demanded(path, _stated(request))
        for _ in range(2):
            try:
                if wanted is None and collection.may_change(path):
                    return await self._send_changing(request, collection, path)
                return await self._send_pinned(request, collection, path, wanted)
            except FileNotFoundError:  # evicted a moment ago
                continue
        raise UpstreamError(f"{path.text} is evicted as fast as it comes", cause="bad_body", hint="raise store.limit")

    async def _send_pinned(
        self, request: web.Request, collection: Collection, path: FilePath, wanted: str | None
    ) -> web.StreamResponse:
        find = collection.look if request.method == "HEAD" else collection.open
        found = await find(path, wanted)
        control = {"Cache-Control": self._control(request, collection, path)}
        result = "hit" if isinstance(found, Stored) else "miss"
        what = Representation(etag_of(found.sha256) if found.sha256 else None, {**control, CACHE_HEADER: result})
        if isinstance(found, Remote):
            return describe(request, what, total=found.size)
        if isinstance(found, Arriving):
            response = await send_download(request, found.download, what)
            self._count("artifact", "miss", "upstream", response)
            return response
        response = await send_blob(request, found.path, what)
        self._artifacts.used(found.sha256)
        self._count("artifact", "hit", "disk", response)
        return response

    async def _send_changing(
        self, request: web.Request, collection: Collection, path: FilePath
    ) -> web.StreamResponse:
        ask = wants_revalidation(request.headers.get("Cache-Control"))
        found, result = await collection.changing.get(path, ask=ask)
        left = max_age(self._clock(), found.fresh_until)
        control = f"{self._shared}, max-age={left}" if left else "no-cache"
        what = Representation(etag_of(found.sha256), {"Cache-Control": control, CACHE_HEADER: result})
        response = await send_blob(request, self._artifacts.path(found.sha256), what)
        self._count("index", result, "disk", response)
        return response

    def _control(self, request: web.Request, collection: Collection, path: FilePath) -> str:
        """For ever, if the same bytes are there for whoever asks without the header."""
        is_in_url = path.digest is not None or "sha256" in request.query
        if demands(request) and not is_in_url and not collection.is_pinned(path):
            return "no-cache"
        return f"{self._shared}, max-age=31536000, immutable"

    def _count(self, kind: str, result: str, source: str, response: web.StreamResponse) -> None:
        self._metrics.cache_requests["files", kind, result].inc()
        self._metrics.bytes_served[(source,)].inc(response.content_length or 0)

    def _collection(self, request: web.Request) -> Collection:
        name = request.match_info["name"]
        collection = self._collections.get(name)
        if collection is None:
            known = ", ".join(self._collections)
            raise NoSuchThing(f"there are no files {name[:50]!r} here", hint=f"configured are: {known}")
        return collection


def _stated(request: web.Request) -> str | None:
    """The digest that the client states. Raises ClientError where it states two."""
    stated = {*request.query.getall("sha256", []), *demands(request)}
    if len(stated) > 1:
        raise ClientError("the request states more than one SHA-256")
    return stated.pop() if stated else None
