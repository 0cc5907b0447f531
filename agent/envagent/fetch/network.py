"""The servers that the agent talks to: its proxy, and upstreams where that is allowed.

Each is an `Upstream` of the proxy's engine, so timeouts, the circuit breaker, redirects, forward proxies
(HTTP_PROXY, NO_PROXY) and what a failure is called are the same on both sides. The proxy's token goes to the proxy's
own origin and nowhere else; other hosts get what netrc has for them. Certificates are those of the system
(SSL_CERT_FILE). Nothing is retried or kept here. A proxy that is a node of the swarm in this process is asked for a
file before it is asked for bytes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies

import msgspec
from yarl import URL

from envagent.errors import AccessRefused, SourceUnreachable, UsageError
from envagent.fetch.sources import Origins
from envproxy.engine.credentials import Credentials
from envproxy.engine.report import Reporter
from envproxy.engine.upstream import Absent, Fetched, NotModified, Upstream
from envproxy.errors import EnvproxyError, UpstreamError
from envproxy.trust import logins_of, no_login

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from envagent.fetch.sources import Place
    from envproxy.engine.answers import Body
    from envproxy.engine.credentials import Login

Bring = Callable[[str, str, Callable[[int], None]], Awaitable[bool]]
"""Put the artifact at a path of the proxy, with a SHA-256, among those of this machine; whether it is there.

The third argument is told how many bytes came. Raises UpstreamError.
"""

FILES_AT_ONCE = 16
HOW_TO_LOG_IN = "set ENVAGENT_PROXY_TOKEN to env:NAME or file:PATH"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Server:
    """What the engine must know of a server. Times are in seconds, `read_timeout_s` is without a byte."""

    name: str
    url: str
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    max_connections: int = FILES_AT_ONCE + FILES_AT_ONCE // 4  # of which a fifth is for pages
    forbidden_is_absent: bool = False
    netrc: bool = True
    ca_file: Path | None = None


class Network:
    """Connections for the time of a block. `proxy` is an origin, "" for none; `token` is what it wants to see.

    `bring` is of a proxy that is in this process.
    """

    def __init__(
        self,
        proxy: str,
        token: str = "",
        *,
        read_timeout_s: float = 20.0,
        clock: Callable[[], float] = time.time,
        http_proxies: Mapping[str, str] | None = None,
        login: Login | None = None,
        bring: Bring | None = None,
    ) -> None:
        self._proxy = proxy
        self._token = token
        self._read_timeout_s = read_timeout_s
        self._clock = clock
        self._http_proxies = getproxies() if http_proxies is None else http_proxies
        self._login = login or _netrc()
        self._bring = bring
        self._servers: dict[str, Upstream] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers.values():
            await server.close()

    def stream(self, place: Place, sha256: str, *, offset: int) -> AbstractAsyncContextManager[Body]:
        """An artifact from byte `offset` on. Raises as `Upstream.stream`.

        A 5xx says something of this file only: a proxy whose upstream is down still has others.
        """
        demands = {"X-Expected-SHA256": sha256} if place.is_proxy else {}
        return self.server(place.url).stream(place.url, offset=offset, demands=demands, vital=False)

    async def bring(self, place: Place, sha256: str, received: Callable[[int], None]) -> bool:
        """Have an artifact of the proxy's put where it belongs; whether that was done. Raises UpstreamError."""
        if self._bring is None or not place.is_proxy:
            return False
        return await self._bring(URL(place.url, encoded=True).raw_path, sha256, received)

    async def page(self, url: str, *, accept: str, may_refuse: bool = False) -> Fetched | None:
        """A page or a document, None if there is none; `may_refuse` takes a 403 for that.

        Raises SourceUnreachable, and AccessRefused by the proxy.
        """
        try:
            found = await self.server(url).fetch(url, accept=accept)
        except UpstreamError as error:
            if may_refuse and error.answered == 403:
                return None
            if error.answered in {401, 403} and self._is_proxy(url):
                raise AccessRefused(error.message, hint=HOW_TO_LOG_IN if error.answered == 401 else "") from error
            is_silent = self._is_proxy(url) and not error.answered
            asked = f"is {self._proxy} the proxy, and does it run?" if is_silent else ""
            raise SourceUnreachable(error.message, hint=error.hint or asked) from error
        assert not isinstance(found, NotModified), "no validator was sent"
        return None if isinstance(found, Absent) else found

    async def origins(self) -> Origins:
        """What the proxy stands for. Raises as `page`, and SourceUnreachable for what is no envproxy."""
        page = await self.page(f"{self._proxy}/api/origins", accept=_JSON)
        try:
            return msgspec.json.decode(page.body if page else b"", type=Origins)
        except msgspec.DecodeError as error:
            raise SourceUnreachable(
                f"{self._proxy} does not answer as an envproxy does", hint="check --proxy"
            ) from error

    async def files_of(self, index: str, project: str) -> Mapping[str, str]:
        """The upstream URLs of a project's files on an index of the proxy, by filename. Raises as `page`."""
        url = f"{self._proxy}/pypi/{index}/origins/{project}/"
        page = await self.page(url, accept=_JSON)
        if page is None:
            return {}
        try:
            return msgspec.json.decode(page.body, type=_Files).files
        except msgspec.DecodeError as error:
            raise SourceUnreachable(f"{url} is not what an envproxy says of a project") from error

    def server(self, url: str) -> Upstream:
        """The server of a URL: one for each origin."""
        origin = str(URL(url).origin())
        if origin not in self._servers:
            self._servers[origin] = self._connect(origin)
        return self._servers[origin]

    def _connect(self, origin: str) -> Upstream:
        is_proxy = self._is_proxy(origin)
        credentials = Credentials.basic(origin, "__token__", self._token) if is_proxy and self._token else None
        server = Upstream(
            Server("the proxy" if is_proxy else origin, origin, read_timeout_s=self._read_timeout_s),
            credentials=credentials,
            login=self._login,
            tls=True,
            http_proxies=self._http_proxies,
            reporter=Reporter(),
            clock=self._clock,
        )
        server.open()
        return server

    def _is_proxy(self, url: str) -> bool:
        return self._proxy != "" and URL(self._proxy).origin() == URL(url).origin()


class _Files(msgspec.Struct):
    files: dict[str, str]


def _netrc() -> Login:
    """Who logs in where, of the user's netrc if there is one. Raises UsageError for one that cannot be read."""
    if not Path("~/.netrc").expanduser().exists():
        return no_login
    try:
        return logins_of([Server("the agent", "")])
    except EnvproxyError as error:
        raise UsageError(error.message, hint=error.hint) from error
