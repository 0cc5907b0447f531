"""One upstream server: pages, byte ranges and bodies, with its credentials, its TLS and its manners.

The border to the network: below it are aiohttp's exceptions, above it only those of `errors.py`. Every answer is one
of three kinds: something (`Fetched`, `Body`), nothing on good authority (`Absent`, `NoSuchThing`), or a failure
(`UpstreamError`), and a failure never looks like an absence. Credentials go to the upstream's own origin and nowhere
else, also across redirects. It caches nothing.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Semaphore
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # typeshed lacks it

import aiohttp
from yarl import URL

from envproxy import __version__
from envproxy.errors import BadUpstreamBody, NoSuchThing, UpstreamError

from .answers import READ_BYTES, Absent, Body, Fetched, Incoming, NotModified
from .breaker import Breaker
from .credentials import Credentials, Login, authorization
from .failures import NETWORK, file_of, said_of, translated
from .freshness import retry_after

if TYPE_CHECKING:
    import ssl

    from .report import Outcome, Reporter
    from .site import Site

__all__ = ["Absent", "Body", "Fetched", "NotModified", "Upstream"]

PROBE_PATIENCE_S = 3.0  # how long requests wait for what a breaker's probe finds
PAGE_LIMIT_BYTES = 128_000_000  # the largest page seen in the wild is 50 MB; beyond this it is not a page
_MOST_REDIRECTS = 5
_ABSENT = frozenset({404, 410})
_NO_HEAD = frozenset({403, 405})  # as file hosts answer a HEAD whose URL is signed for GET, or that they do not do
_NO_DEMANDS: Mapping[str, str] = MappingProxyType({})


class Upstream:
    """Talks to one upstream. `open()` it inside the event loop, `close()` it at the end.

    `credentials` are for its own origin; `login` gives (user, password) for any other host that netrc names;
    `http_proxies` is what `urllib.request.getproxies` gives. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        site: Site,
        *,
        credentials: Credentials | None,
        login: Login,
        tls: ssl.SSLContext | bool,
        http_proxies: Mapping[str, str],
        reporter: Reporter,
        clock: Callable[[], float],
        page_limit_bytes: int = PAGE_LIMIT_BYTES,
    ) -> None:
        self.site = site
        self._credentials = credentials
        self._login = login
        self._tls = tls
        self._http_proxies = dict(http_proxies)
        self._reporter = reporter
        self._clock = clock
        self._page_limit_bytes = page_limit_bytes
        self._breakers: dict[URL, Breaker] = {}
        self._settled = asyncio.Event()  # set, and then replaced, whenever an origin answered or failed
        self._session: aiohttp.ClientSession | None = None
        # A fifth of the connections stays for pages and metadata, which must not queue behind large files.
        self._files = Semaphore(max(1, site.max_connections - site.max_connections // 5))

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.site.name

    def open(self) -> None:
        """Make the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.site.max_connections, ssl=self._tls, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self.site.connect_timeout_s, sock_read=self.site.read_timeout_s
            ),
            headers={"User-Agent": f"envproxy/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BYTES,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        url: str,
        *,
        accept: str,
        etag: str | None = None,
        last_modified: str | None = None,
        vital: bool = True,
    ) -> Fetched | NotModified | Absent:
        """GET a page, conditionally if a validator is given. One more try on a dropped connection or a 5xx.

        A 5xx for what is not `vital`, because there is another way to it, does not count as an upstream that is down.
        """
        headers = {"Accept": accept}
        if etag:
            headers["If-None-Match"] = etag
        elif last_modified:
            headers["If-Modified-Since"] = last_modified
        try:
            return await self._fetch_once(url, headers, vital=vital)
        except UpstreamError as error:
            if error.cause not in ("connect", "5xx") or self._breaker(self._target(url)).is_open:
                raise
        return await self._fetch_once(url, headers, vital=vital)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        offset: int = 0,
        if_range: str | None = None,
        demands: Mapping[str, str] = _NO_DEMANDS,
        vital: bool = True,
    ) -> AsyncIterator[Body]:
        """GET a file from byte `offset` on, as it lies there (identity coding); `demands` are headers beside ours.

        The body may start at 0 all the same, if upstream ignores ranges or `if_range` (a `Body.validator`) does not
        hold any more: see `Body.start`. `vital` is as for `fetch`. Raises `NoSuchThing` on 404 and 410,
        `UpstreamError` on everything else.
        """
        headers = {**demands, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if if_range is not None:
                headers["If-Range"] = if_range
        async with self._files, self._request("GET", url, headers, decompress=False, vital=vital) as response:
            self._check_file(response)
            yield self._body(response)

    @asynccontextmanager
    async def stream_changed(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> AsyncIterator[Incoming | NotModified | Absent]:
        """GET a file that is too large for memory, conditionally if a validator is given. Raises `UpstreamError`.

        A JSON file may come gzipped on the way, others as they lie there.
        """
        headers = {"Accept-Encoding": "gzip" if url.endswith(".json") else "identity"}
        if etag:
            headers["If-None-Match"] = etag
        elif last_modified:
            headers["If-Modified-Since"] = last_modified
        async with self._request("GET", url, headers, decompress=True) as response:
            if response.status == 304:
                yield NotModified(response.headers.get("Cache-Control"), response.headers.get("Age"))
            elif response.status in _ABSENT or (response.status == 403 and self.site.forbidden_is_absent):
                yield Absent()
            else:
                self._refuse_unless(response, {200})
                yield Incoming.of(response, self._body(response))

    async def read_range(self, url: str, start: int, stop: int) -> bytes | None:
        """Bytes [start, stop) of a file, None if upstream does not do ranges. Raises as `stream`."""
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        async with self._request("GET", url, headers, decompress=False) as response:
            self._check_file(response)
            if response.status != 206:
                return None
            if (first := self._body(response).start) != start:
                raise BadUpstreamBody(f"{self.name} sent {file_of(response.url)} from {first} on, not from {start}")
            data = await self._read(response, limit=stop - start)
            if len(data) != stop - start:
                raise BadUpstreamBody(
                    f"{self.name} sent {len(data)} bytes of {file_of(response.url)}, not {stop - start}"
                )
            return data

    async def length(self, url: str) -> int | None:
        """Content-Length of a file by HEAD, None if upstream does not say or refuses HEAD. Raises as `stream`."""
        async with self._request("HEAD", url, {"Accept-Encoding": "identity"}, decompress=False) as response:
            if response.status in _NO_HEAD:
                return None
            self._check_file(response)
            return response.content_length

    async def _fetch_once(self, url: str, headers: dict[str, str], *, vital: bool) -> Fetched | NotModified | Absent:
        async with self._request("GET", url, headers, decompress=True, vital=vital) as response:
            cache_control, age = response.headers.get("Cache-Control"), response.headers.get("Age")
            if response.status == 304:
                return NotModified(cache_control, age)
            if response.status in _ABSENT or (response.status == 403 and self.site.forbidden_is_absent):
                return Absent()
            self._refuse_unless(response, {200})
            return Fetched(
                body=await self._read(response, limit=self._page_limit_bytes),
                url=str(response.url.with_user(None)),
                content_type=response.headers.get("Content-Type"),
                etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
                cache_control=cache_control,
                age=age,
            )

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, headers: dict[str, str], *, decompress: bool, vital: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request under the breaker; yields whatever answer came, raises `UpstreamError` if none did.

        The reporter hears of it once, at its end: also what goes wrong with the body counts as its outcome.
        """
        target = self._target(url)
        breaker = self._breaker(target)
        if not await self._admitted(breaker):
            self._reporter.upstream_answered(self.name, "breaker_open", 0.0)
            raise UpstreamError(
                f"{self.name} ({target.host}) failed a moment ago and is not asked again yet", cause="breaker_open"
            )
        is_probe = breaker.is_open
        outcome: Outcome | None = None  # none if we are cancelled before an answer
        began = time.perf_counter()
        seconds: float | None = None
        try:
            async with self._answer(method, target, headers, decompress=decompress) as response:
                seconds = time.perf_counter() - began
                outcome = self._judge(response, breaker, is_probe=is_probe, vital=vital)
                yield response
        except UpstreamError as error:
            outcome = error.cause
            if seconds is None or error.cause in ("connect", "timeout"):
                self._settle(breaker, failed=True, was_probe=is_probe)
            raise
        finally:
            if outcome is None:
                self._settle(breaker, failed=None, was_probe=is_probe)
            else:
                elapsed = time.perf_counter() - began if seconds is None else seconds
                self._reporter.upstream_answered(self.name, outcome, elapsed)

    async def _admitted(self, breaker: Breaker) -> bool:
        """Whether a request may go out; while a probe is under way, what it finds decides for all who wait."""
        if breaker.admits():
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_PATIENCE_S):
                while breaker.is_probing:
                    await self._settled.wait()
        return breaker.admits()

    @asynccontextmanager
    async def _answer(
        self, method: str, target: URL, headers: dict[str, str], *, decompress: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """What is at `target`, after redirects. Only failures to get an answer are translated here."""
        assert self._session is not None, "open() first"
        try:
            response = await self._session.request(
                method,
                target.with_user(None),
                headers={**headers, **authorization(target, self._credentials, self._login)},
                auto_decompress=decompress,
                proxy=self._http_proxy(target),
                max_redirects=_MOST_REDIRECTS + 1,
            )
        except NETWORK as error:
            raise translated(error, target) from error
        try:
            yield response
        finally:
            response.release()

    def _judge(self, response: aiohttp.ClientResponse, breaker: Breaker, *, is_probe: bool, vital: bool) -> Outcome:
        """What kind of answer came; the breaker learns of it at once, before the body."""
        status = response.status
        if status == 429 or (status >= 500 and vital):
            stated = response.headers.get("Retry-After")
            pause_s = 0.0 if stated is None else retry_after(stated)
            self._settle(breaker, failed=True, was_probe=is_probe, pause_s=pause_s)
        else:
            self._settle(breaker, failed=None if status >= 500 else False, was_probe=is_probe)
        if status >= 400:
            return "5xx" if status >= 500 else "4xx"
        return "not_modified" if status == 304 else "ok"

    def _settle(self, breaker: Breaker, *, failed: bool | None, was_probe: bool, pause_s: float = 0.0) -> None:
        """Tell the breaker how a request ended; `failed` is None if that says nothing about the origin."""
        was_open = breaker.is_open
        if failed is None:
            breaker.untold(was_probe=was_probe)
        elif failed:
            breaker.failed(was_probe=was_probe, pause_s=pause_s)
        else:
            breaker.succeeded()
        self._settled.set()
        self._settled = asyncio.Event()
        if was_open != breaker.is_open:
            self._reporter.breaker_changed(self.name, is_open=any(b.is_open for b in self._breakers.values()))

    def _check_file(self, response: aiohttp.ClientResponse) -> None:
        if response.status in _ABSENT:
            raise NoSuchThing(f"{self.name} has no {file_of(response.url)} any more ({response.status})")
        self._refuse_unless(response, {200, 206})

    def _refuse_unless(self, response: aiohttp.ClientResponse, wanted: set[int]) -> None:
        status = response.status
        if status in wanted:
            return
        hint = f"check the credentials of upstream {self.name}" if status in (401, 403) else ""
        if status == 403:
            hint += ", or set its forbidden-is-absent"
        raise UpstreamError(
            f"{self.name} answered {status} for {file_of(response.url)}{said_of(response.status, response.reason)}",
            answered=status,
            cause="5xx" if status >= 500 else "4xx" if status >= 400 else "bad_body",
            hint=hint,
            retry_after_s=retry_after(response.headers.get("Retry-After")),
        )

    def _body(self, response: aiohttp.ClientResponse) -> Body:
        return Body.of(
            response,
            lambda count: self._reporter.upstream_sent(self.name, count),
            silence_s=self.site.read_timeout_s,
        )

    async def _read(self, response: aiohttp.ClientResponse, *, limit: int) -> bytes:
        """The whole body, refused once it passes `limit` bytes (after decompression: a bomb ends here)."""
        data = bytearray()
        async for chunk in self._body(response).chunks():
            data += chunk
            if len(data) > limit:
                raise BadUpstreamBody(f"{file_of(response.url)} of {self.name} is larger than {limit} bytes")
        return bytes(data)

    def _target(self, url: str) -> URL:
        """The URL to ask, as it was written if it is well written. Raises `BadUpstreamBody`."""
        try:
            target = URL(url, encoded=url.isascii() and " " not in url)
            if target.scheme in ("http", "https") and target.host:
                return target
        except ValueError:
            pass
        raise BadUpstreamBody(f"{self.name} links to something that is neither http nor https")

    def _http_proxy(self, target: URL) -> str | None:
        """The forward proxy for a host, by the rules of HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""
        assert target.host is not None
        if proxy_bypass_environment(f"{target.host}:{target.port}", self._http_proxies):
            return None
        return self._http_proxies.get(target.scheme)

    def _breaker(self, target: URL) -> Breaker:
        origin = target.origin()
        if origin not in self._breakers:
            self._breakers[origin] = Breaker(self._clock)
        return self._breakers[origin]
