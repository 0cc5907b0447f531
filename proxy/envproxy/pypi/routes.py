"""What the URLs of the PyPI face mean, and which representation goes out.

    /pypi/<index>/simple/                                     every project (PEP 503, 691)
    /pypi/<index>/simple/<project>/                           one project
    /pypi/<index>/files/<project>/<sha256>/<filename>         one file
    /pypi/<index>/files/<project>/<sha256>/<filename>.metadata  its metadata (PEP 658)

Links on pages are relative, so they hold behind any prefix or host name. A non-normal name is sent to its normal one.
Every answer that comes out of the cache says so in X-Envmesh-Cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.freshness import CAP_S, wants_revalidation
from envproxy.engine.prebuilt import Prebuilt, render_head, suits
from envproxy.engine.send import Representation, describe, etag_of, send_blob, send_bytes, send_download
from envproxy.errors import ClientError, NoSuchThing, PolicyRefused, UpstreamError
from envproxy.metrics import Metrics
from envproxy.middleware import CACHE_HEADER
from envproxy.problems import of_error

from .files import Arriving, Files, Remote, Stored, Wanted
from .index import Index, find_index
from .listing import Listing
from .names import check_filename, normalize
from .negotiate import choose_encoding, choose_format, matches
from .render import Variant
from .shelf import Ready
from .show import UNHASHED
from .sidecars import Made

VARY = "Accept, Accept-Encoding"
IMMUTABLE = "max-age=365000000, immutable"  # as PyPI's own file host says; uv revalidates without it
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIDECAR = ".metadata"
_SERVED = 20_000  # paths, a few hundred bytes each


class PypiRoutes:
    """The handlers. `listings` are by name of their index, as `indexes` are.

    `shared` is "public" or, when reading needs credentials, "private" (RFC 9111, 5.2.2).
    """

    def __init__(
        self,
        indexes: Mapping[str, Index],
        listings: Mapping[str, Listing],
        files: Files,
        artifacts: Artifacts,
        metrics: Metrics,
        *,
        shared: str,
    ) -> None:
        self._indexes = indexes
        self._listings = listings
        self._files = files
        self._artifacts = artifacts
        self._metrics = metrics
        self._shared = shared
        self._served: dict[str, tuple[Index, str]] = {}  # which page a path is, for `ready_made`

    def add_to(self, app: web.Application) -> None:
        """Register every URL of the face."""
        index, file = "/pypi/{index}", "/files/{project}/{digest}/{filename}"
        add = app.router.add_get
        add(index + "/simple/", self.listing, name="listing")
        add(index + "/simple", self.listing_without_slash, name="listing.redirect")
        add(index + "/simple/{project}/", self.project, name="project")
        add(index + "/simple/{project}", self.project_without_slash, name="project.redirect")
        add(index + file + _SIDECAR, self.metadata, name="metadata")
        add(index + file, self.file, name="file")

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """Every project."""
        listing = self._listings[self._index(request).name]
        made, result = await listing.get(ask=wants_revalidation(request.headers.get("Cache-Control")))
        fmt = choose_format(request.headers.get("Accept"))
        seconds = min(CAP_S, listing.fresh_for(made))
        headers = {
            CACHE_HEADER: result,
            "Vary": "Accept",
            "Cache-Control": f"{self._shared}, max-age={seconds}" if seconds else "no-cache",
        }
        blob = made.blob(fmt)
        # The two HTML formats share a blob but are two representations.
        what = Representation(f'"{blob[:32]}-{fmt.name.lower()}"', headers, fmt.content_type)
        response = await send_blob(request, self._artifacts.path(blob), what)
        self._artifacts.used(blob)
        self._metrics.cache_requests["pypi", "index", result].inc()
        self._metrics.bytes_served[("disk",)].inc(response.content_length or 0)
        return response

    async def listing_without_slash(self, request: web.Request) -> web.Response:
        """As for a project."""
        self._index(request)
        raise web.HTTPMovedPermanently("simple/")

    async def project(self, request: web.Request) -> web.StreamResponse:
        """One project's page."""
        index = self._index(request)
        name = request.match_info["project"]
        ask = wants_revalidation(request.headers.get("Cache-Control"))
        ready, result = index.glance(name), "hit"
        if ready is None or ask or not index.is_fresh(ready):
            project = normalize(name)
            if project != name:
                raise web.HTTPMovedPermanently(f"../{project}/")
            ready, result = await index.get(project, ask=ask)
        if ready.rendition is None and ready.refusal is None and result != "stale":
            result = "negative"
        self._metrics.cache_requests["pypi", "index", result].inc()
        return await self._page(request, index, name, ready, result)

    def ready_made(self, request: web.BaseRequest) -> Prebuilt | None:
        """The answer to a request for a page that was served before, if it is fresh and ready in the wanted form."""
        known = self._served.get(request.rel_url.raw_path)
        if known is None or request.method not in ("GET", "HEAD") or not suits(request):
            return None
        index, project = known
        sent = request.headers
        ready = index.glance(project)
        if ready is None or ready.rendition is None or not index.is_fresh(ready):
            return None
        variant = ready.rendition.get(choose_format(sent.get("Accept")), choose_encoding(sent.get("Accept-Encoding")))
        if variant is None or wants_revalidation(sent.get("Cache-Control")):
            return None
        self._metrics.cache_requests["pypi", "index", "hit"].inc()
        return self._prebuilt(request, index, ready, variant, "hit")

    async def project_without_slash(self, request: web.Request) -> web.Response:
        """PEP 503: the canonical URL ends with a slash. Relative, so that it holds behind any prefix."""
        self._index(request)
        raise web.HTTPMovedPermanently(f"{normalize(request.match_info['project'])}/")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file, from the store or while it arrives."""
        index, wanted = self._index(request), self._wanted(request)
        find = self._files.look if request.method == "HEAD" else self._files.open
        for _ in range(2):
            found = await find(index, wanted)
            if isinstance(found, Remote):
                return describe(request, self._representation(found.sha256, "miss"), total=found.size)
            if isinstance(found, Arriving):
                return await self._send_arriving(request, found)
            try:
                return await self._send_stored(request, found.sha256, "artifact")
            except FileNotFoundError:  # evicted since it was looked up
                self._files.forget_file(index, wanted)
        raise UpstreamError(
            f"{wanted.filename} is evicted as fast as it comes", cause="bad_body", hint="raise store.limit"
        )

    async def metadata(self, request: web.Request) -> web.StreamResponse:
        """The core metadata of one wheel (PEP 658)."""
        index, wanted = self._index(request), self._wanted(request)
        if not wanted.filename.endswith(".whl"):
            raise NoSuchThing(f"only wheels have metadata sidecars, {wanted.filename} is none")
        found = await self._files.sidecar(index, wanted)
        if isinstance(found, Stored):
            try:
                return await self._send_stored(request, found.sha256, "metadata")
            except FileNotFoundError:
                self._files.forget_sidecar(index, wanted)
            found = await self._files.sidecar(index, wanted)
        if isinstance(found, Stored):
            return await self._send_stored(request, found.sha256, "metadata")
        return await self._just_made(request, found)

    async def _page(
        self, request: web.Request, index: Index, project: str, ready: Ready, result: str
    ) -> web.StreamResponse:
        rendition = ready.rendition
        if rendition is None:
            return self._nothing_to_show(index, project, ready, result)
        sent = request.headers
        fmt, encoding = choose_format(sent.get("Accept")), choose_encoding(sent.get("Accept-Encoding"))
        variant = rendition.get(fmt, encoding) or await index.build(project, ready, fmt, encoding)
        if suits(request):
            if len(self._served) > _SERVED:
                self._served.clear()
            self._served[request.rel_url.raw_path] = (index, project)
            return self._prebuilt(request, index, ready, variant, result)
        status = _status(request, variant)
        self._metrics.bytes_served[("memory",)].inc(len(variant.body) if status == 200 else 0)
        return web.Response(
            status=status,
            body=variant.body if status == 200 else None,
            headers=self._headers(index, ready, variant, status, result),
        )

    def _prebuilt(
        self, request: web.BaseRequest, index: Index, ready: Ready, variant: Variant, result: str
    ) -> Prebuilt:
        status = _status(request, variant)
        body = variant.body if status == 200 and request.method != "HEAD" else b""
        if body:
            self._metrics.bytes_served[("memory",)].inc(len(body))
        return Prebuilt(status, self._head(index, ready, variant, status, result), body, cache=result)

    def _head(self, index: Index, ready: Ready, variant: Variant, status: int, result: str) -> bytes:
        """The head for this second, rendered once."""
        second = int(index.clock())
        key = (status, variant.etag, result)
        if ready.heads_at != second:
            ready.heads_at = second
            ready.heads.clear()
        head = ready.heads.get(key)
        if head is None:
            headers = self._headers(index, ready, variant, status, result)
            head = ready.heads[key] = render_head(status, headers, now=second)
        return head

    def _headers(self, index: Index, ready: Ready, variant: Variant, status: int, result: str) -> dict[str, str]:
        headers = {CACHE_HEADER: result, "Vary": VARY, "Cache-Control": self._cache_control(index, ready)}
        headers["ETag"] = variant.etag
        if status == 200:
            headers["Content-Type"] = variant.content_type
            headers["Content-Length"] = str(len(variant.body))
            if variant.encoding is not None:
                headers["Content-Encoding"] = variant.encoding
        return headers

    def _nothing_to_show(self, index: Index, project: str, ready: Ready, result: str) -> web.Response:
        """A refusal or an absence; what is remembered of it is an answer out of the cache as any other."""
        if ready.refusal is not None:
            self._metrics.policy_refusals[index.name, ready.rule].inc()
            response = of_error(PolicyRefused(ready.refusal))
        else:
            response = of_error(NoSuchThing(f"index {index.name} has no project {project}"))
            response.headers["Cache-Control"] = self._cache_control(index, ready)
        response.headers[CACHE_HEADER] = result
        return response

    def _cache_control(self, index: Index, ready: Ready) -> str:
        seconds = index.max_age(ready)
        return f"{self._shared}, max-age={seconds}" if seconds else "no-cache"

    async def _send_stored(
        self, request: web.Request, sha256: str, kind: str, result: str = "hit"
    ) -> web.StreamResponse:
        what = self._representation(sha256, result)
        response = await send_blob(request, self._artifacts.path(sha256), what)
        self._artifacts.used(sha256)
        self._metrics.cache_requests["pypi", kind, result].inc()
        self._metrics.bytes_served[("disk",)].inc(response.content_length or 0)
        return response

    async def _send_arriving(self, request: web.Request, found: Arriving) -> web.StreamResponse:
        self._metrics.cache_requests["pypi", "artifact", "miss"].inc()
        response = await send_download(request, found.download, self._representation(found.sha256, "miss"))
        self._metrics.bytes_served[("upstream",)].inc(response.content_length or 0)
        return response

    async def _just_made(self, request: web.Request, found: Made) -> web.StreamResponse:
        """Metadata from memory: it is being stored, or on a full disk nowhere else."""
        result, origin = ("miss", "upstream") if found.is_new else ("hit", "memory")
        self._metrics.cache_requests["pypi", "metadata", result].inc()
        self._metrics.bytes_served[(origin,)].inc(len(found.body))
        return await send_bytes(request, found.body, self._representation(found.sha256, result))

    def _representation(self, sha256: str | None, result: str) -> Representation:
        return Representation(etag_of(sha256) if sha256 else None, self._immutable(result))

    def _immutable(self, result: str) -> dict[str, str]:
        return {CACHE_HEADER: result, "Cache-Control": f"{self._shared}, {IMMUTABLE}"}

    def _index(self, request: web.Request) -> Index:
        return find_index(self._indexes, request.match_info["index"])

    def _wanted(self, request: web.Request) -> Wanted:
        info = request.match_info
        project, digest, filename = normalize(info["project"]), info["digest"], info["filename"]
        check_filename(filename)
        if digest != UNHASHED and not _SHA256.fullmatch(digest):
            raise ClientError(f"{digest[:80]!r} is not a SHA-256", hint="take file URLs from the project's page")
        return Wanted(project, digest, filename)


def _status(request: web.BaseRequest, variant: Variant) -> int:
    known = request.headers.get("If-None-Match")
    return 304 if known is not None and matches(known, variant.etag) else 200
