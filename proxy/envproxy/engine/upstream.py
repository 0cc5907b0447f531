"""One upstream server: pages, byte ranges and bodies, with its credentials, its TLS and its manners.

The border to the network: below it are aiohttp's exceptions, above it only those of `errors.py`. Every answer is one
of three kinds: something (`Fetched`, `Body`), nothing on good authority (`Absent`, `NoSuchThing`), or a failure
(`UpstreamError`), and a failure never looks like an absence. Credentials go to the upstream's own origin and nowhere
else, also across redirects. It caches nothing.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import aiohttp
from yarl import URL

from envproxy import __version__
from envproxy.errors import BadUpstreamBody, NoSuchThing, UpstreamError

from .breaker import Breaker
from .freshness import retry_after

if TYPE_CHECKING:
    import ssl

    from .report import Outcome, Reporter

PAGE_LIMIT_BYTES = 128_000_000  # the largest page seen in the wild is 50 MB; beyond this it is not a page
_READ_BUFFER_BYTES = 128 * 1024  # per connection; with 50 downloads at once this is what bounds memory
_ABSENT = frozenset({404, 410})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Site(Protocol):
    """What must be known about an upstream: see `config.UpstreamConfig`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def connect_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def read_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def max_connections(self) -> int: ...  # noqa: D102
    @property
    def forbidden_is_absent(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole body with what upstream said about it; `url` is the final one, after redirects."""

    body: bytes
    url: str
    content_type: str | None
    etag: str | None
    last_modified: str | None
    cache_control: str | None
    age: str | None


@dataclass(frozen=True, slots=True)
class NotModified:
    """What we have is still right (304)."""

    cache_control: str | None
    age: str | None


@dataclass(frozen=True, slots=True)
class Absent:
    """Upstream says that there is no such thing (404, 410)."""


@dataclass(slots=True)
class Body:
    """A body that is arriving: it starts at byte `start` of a whole of `total` bytes (None: not stated)."""

    start: int
    total: int | None
    etag: str | None
    _response: aiohttp.ClientResponse
    _sent: Callable[[int], None]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come; raises `UpstreamError` when they stop before their end."""
        try:
            async for chunk in self._response.content.iter_any():
                self._sent(len(chunk))
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(error, str(self._response.url.with_user(None))) from error


@dataclass(frozen=True, slots=True)
class Credentials:
    """The Authorization header for one origin; never shown."""

    origin: URL
    header: str

    def __repr__(self) -> str:
        return f"Credentials({self.origin}, ***)"

    @classmethod
    def basic(cls, url: str, username: str, password: str) -> Credentials:
        """Basic credentials for the origin of `url` (RFC 7617)."""
        token = b64encode(f"{username}:{password}".encode()).decode()
        return cls(URL(url).origin(), f"Basic {token}")

    @classmethod
    def bearer(cls, url: str, token: str) -> Credentials:
        """A bearer token for the origin of `url` (RFC 6750)."""
        return cls(URL(url).origin(), f"Bearer {token}")


class Upstream:
    """Talks to one upstream. `open()` it inside the event loop, `close()` it at the end.

    `credentials` are for its own origin; `login` gives (user, password) for any other host that netrc names.
    """

    def __init__(
        self,
        site: Site,
        *,
        credentials: Credentials | None,
        login: Callable[[str], tuple[str, str] | None],
        tls: ssl.SSLContext | bool,
        http_proxies: Mapping[str, str],
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self.site = site
        self._credentials = credentials
        self._login = login
        self._tls = tls
        self._http_proxies = http_proxies
        self._reporter = reporter
        self._clock = clock
        self._breakers: dict[URL, Breaker] = {}
        self._session: aiohttp.ClientSession | None = None

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
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=True,
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
            if error.cause not in ("connect", "5xx") or self._breaker(URL(url)).is_open:
                raise
        return await self._fetch_once(url, headers, vital=vital)

    @asynccontextmanager
    async def stream(self, url: str, *, offset: int = 0, if_range: str | None = None) -> AsyncIterator[Body]:
        """GET a file from byte `offset` on, as it lies there (identity coding).

        The body may start at 0 all the same, if upstream ignores ranges: see `Body.start`. Raises `NoSuchThing` on
        404 and 410, `UpstreamError` on everything else.
        """
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if if_range and not if_range.startswith("W/"):
                headers["If-Range"] = if_range
        async with self._request("GET", url, headers, decompress=False) as response:
            self._check_file(response, url)
            yield self._body(response, url)

    async def read_range(self, url: str, start: int, stop: int) -> bytes | None:
        """Bytes [start, stop) of a file, None if upstream does not do ranges. Raises as `stream`."""
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        async with self._request("GET", url, headers, decompress=False) as response:
            self._check_file(response, url)
            if response.status != 206:
                return None
            data = await _read_bounded(response, limit=stop - start)
        if len(data) != stop - start:
            raise BadUpstreamBody(f"{self.name} sent {len(data)} bytes of {url}, asked for {stop - start}")
        self._reporter.upstream_sent(self.name, len(data))
        return data

    async def length(self, url: str) -> int | None:
        """Content-Length of a file by HEAD, None if upstream does not say. Raises as `stream`."""
        async with self._request("HEAD", url, {"Accept-Encoding": "identity"}, decompress=False) as response:
            self._check_file(response, url)
            return response.content_length

    async def _fetch_once(self, url: str, headers: dict[str, str], *, vital: bool) -> Fetched | NotModified | Absent:
        async with self._request("GET", url, headers, decompress=True, vital=vital) as response:
            if response.status == 304:
                return NotModified(response.headers.get("Cache-Control"), response.headers.get("Age"))
            if response.status in _ABSENT or (response.status == 403 and self.site.forbidden_is_absent):
                return Absent()
            self._refuse_unless(response, {200}, url)
            try:
                body = await _read_bounded(response, limit=PAGE_LIMIT_BYTES)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._failed(error, url) from error
            self._reporter.upstream_sent(self.name, len(body))
            return Fetched(
                body=body,
                url=str(response.url.with_user(None)),
                content_type=response.headers.get("Content-Type"),
                etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
                cache_control=response.headers.get("Cache-Control"),
                age=response.headers.get("Age"),
            )

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, headers: dict[str, str], *, decompress: bool, vital: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request under the breaker; yields whatever answer came, raises if none did."""
        assert self._session is not None, "open() first"
        target = URL(url, encoded=True)
        if target.scheme not in ("http", "https"):
            raise BadUpstreamBody(f"{self.name} links to {url}, which is neither http nor https")
        breaker = self._breaker(target)
        if not breaker.admits():
            self._reporter.upstream_answered(self.name, "breaker_open", 0.0)
            raise UpstreamError(
                f"{self.name} ({target.host}) failed a moment ago and is not asked again yet", cause="breaker_open"
            )
        began = time.perf_counter()
        try:
            response = await self._session.request(
                method,
                target,
                headers={**headers, **self._authorization(target)},
                auto_decompress=decompress,
                proxy=self._http_proxies.get(target.scheme),
                max_redirects=5,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failed(error, url, seconds=time.perf_counter() - began) from error
        try:
            self._judge(response, breaker, time.perf_counter() - began, vital=vital)
            yield response
        finally:
            response.release()

    def _judge(self, response: aiohttp.ClientResponse, breaker: Breaker, seconds: float, *, vital: bool) -> None:
        """Let the breaker and the reporter know what kind of answer came."""
        outcome: Outcome = "ok"
        was_open = breaker.is_open
        if response.status == 429 or response.status >= 500:
            outcome = "4xx" if response.status == 429 else "5xx"
            stated = "Retry-After" in response.headers
            if vital or outcome == "4xx":
                breaker.failed(pause_s=retry_after(response.headers.get("Retry-After")) if stated else 0.0)
        else:
            breaker.succeeded()
            if response.status >= 400:
                outcome = "4xx"
            elif response.status == 304:
                outcome = "not_modified"
        self._reporter.upstream_answered(self.name, outcome, seconds)
        if was_open != breaker.is_open:
            self._reporter.breaker_changed(self.name, is_open=breaker.is_open)

    def _failed(self, error: Exception, url: str, *, seconds: float = 0.0) -> UpstreamError:
        """Translate a failure of the network, and let breaker and reporter know."""
        failure = _failure(error, url)
        breaker = self._breaker(URL(url))
        was_open = breaker.is_open
        breaker.failed()
        self._reporter.upstream_answered(self.name, "timeout" if failure.cause == "timeout" else "connect", seconds)
        if breaker.is_open and not was_open:
            self._reporter.breaker_changed(self.name, is_open=True)
        return failure

    def _check_file(self, response: aiohttp.ClientResponse, url: str) -> None:
        if response.status in _ABSENT:
            raise NoSuchThing(f"{self.name} has no {_tail(url)} any more ({response.status})")
        self._refuse_unless(response, {200, 206}, url)

    def _refuse_unless(self, response: aiohttp.ClientResponse, wanted: set[int], url: str) -> None:
        status = response.status
        if status in wanted:
            return
        hint = ""
        if status in (401, 403):
            hint = f"check the credentials of upstream {self.name}, or set its forbidden-is-absent"
        raise UpstreamError(
            f"{self.name} answered {status} for {_tail(url)}",
            cause="5xx" if status >= 500 else "4xx",
            hint=hint,
            retry_after_s=retry_after(response.headers.get("Retry-After")),
        )

    def _body(self, response: aiohttp.ClientResponse, url: str) -> Body:
        start, total = 0, response.content_length
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if match is None:
                raise BadUpstreamBody(f"{self.name} sent a part of {_tail(url)} without saying which")
            start = int(match[1])
            total = int(match[3]) if match[3] != "*" else None
        etag = response.headers.get("ETag")
        return Body(start, total, etag, response, lambda count: self._reporter.upstream_sent(self.name, count))

    def _authorization(self, target: URL) -> dict[str, str]:
        origin = target.origin()
        if self._credentials is not None and origin == self._credentials.origin:
            return {"Authorization": self._credentials.header}
        if target.host and (login := self._login(target.host)) is not None:
            return {"Authorization": Credentials.basic(str(origin), *login).header}
        return {}

    def _breaker(self, target: URL) -> Breaker:
        origin = target.origin()
        if origin not in self._breakers:
            self._breakers[origin] = Breaker(self._clock)
        return self._breakers[origin]


async def _read_bounded(response: aiohttp.ClientResponse, *, limit: int) -> bytes:
    """The whole body, refused once it passes `limit` bytes (after decompression: a bomb ends here)."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise BadUpstreamBody(f"{_tail(str(response.url))} is larger than {limit} bytes")
    return bytes(data)


def _failure(error: Exception, url: str) -> UpstreamError:
    if isinstance(error, UpstreamError):
        return error
    host = URL(url).host or url
    if isinstance(error, TimeoutError):
        return UpstreamError(f"{host} did not answer in time", cause="timeout")
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamError(f"{host} cut {_tail(url)} short", cause="connect")
    if isinstance(error, aiohttp.ClientResponseError):
        return BadUpstreamBody(f"{host} answered something that is not HTTP: {type(error).__name__}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return UpstreamError(
            f"the TLS certificate of {host} is not trusted", cause="connect", hint="set ca-file of this upstream"
        )
    return UpstreamError(f"{host} cannot be reached ({type(error).__name__})", cause="connect")


def _tail(url: str) -> str:
    """The last path segment that says something, for messages: never a query, never userinfo."""
    return next((part for part in reversed(URL(url).path.split("/")) if part), "/")
