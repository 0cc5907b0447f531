"""Observes every request: counts and times it, and writes its one line of the access log.

A request is over when its task is over, after the last byte left or the connection broke, so that is when it is
counted: the time includes the sending, and an answer cut short is told apart ("aborted"). Of a URL only the path is
ever logged, so no query and no user of it. Nothing here changes an answer.

Requests that are no HTTP never get here: `connection` answers them, `logs.unparsable` keeps their log line short.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from envproxy.engine.prebuilt import Prebuilt
from envproxy.logs import LineBuffer, instant, redact
from envproxy.metrics import Metrics
from envproxy.tallies import HttpTallies, route_label

CACHE_HEADER: Final = "X-Envmesh-Cache"
LOGGER: Final = "envproxy.access"

CLIENT_GONE: Final = 499  # after nginx: never sent, only logged

_PROBES: Final = frozenset({"health", "metrics"})
_REQUEST_ID: Final = re.compile(r"[!-~]{1,64}")
_STATUS_CLASSES: Final = ("", "", "2xx", "3xx", "4xx", "5xx")


class AccessLine(msgspec.Struct):
    """One request, to be made a line off the event loop. `at` is its end, seconds since the epoch."""

    at: float
    method: str
    path: str
    status: int
    route: str
    size: int
    seconds: float
    client: str
    cache: str
    aborted: bool
    request_id: str

    def shown_path(self) -> str:
        """The path in ASCII; aiohttp's parser in Python, unlike the one in C, lets other bytes through."""
        return redact(self.path).encode("ascii", "backslashreplace").decode()

    @property
    def has_request_id(self) -> bool:
        """Whether the client named its request, in a way that fits into a line."""
        return bool(self.request_id) and _REQUEST_ID.fullmatch(self.request_id) is not None


class TextLine(AccessLine):
    """For people."""

    def __bytes__(self) -> bytes:
        extra = f" cache={self.cache}" if self.cache else ""
        if self.aborted:
            extra += " aborted=True"
        if self.has_request_id:
            extra += f" request_id={self.request_id}"
        return (
            f"{instant(self.at)} INFO {LOGGER} {self.method} {self.shown_path()} {self.status} route={self.route} "
            f"bytes={self.size} seconds={round(self.seconds, 6)} client={self.client}{extra}\n"
        ).encode()


class JsonLine(AccessLine):
    """For machines."""

    def __bytes__(self) -> bytes:
        line: dict[str, object] = {
            "time": instant(self.at),
            "level": "INFO",
            "logger": LOGGER,
            "method": self.method,
            "path": self.shown_path(),
            "status": self.status,
            "route": self.route,
            "bytes": self.size,
            "seconds": round(self.seconds, 6),
            "client": self.client,
        }
        if self.cache:
            line["cache"] = self.cache
        if self.aborted:
            line["aborted"] = True
        if self.has_request_id:
            line["request_id"] = self.request_id
        return msgspec.json.encode(line) + b"\n"


class AccessLog:
    """Where access lines go, as text or JSON (`style`)."""

    def __init__(self, lines: LineBuffer, style: str, *, clock: Callable[[], float] = time.time) -> None:
        self._lines = lines
        self._line = JsonLine if style == "json" else TextLine
        self._clock = clock

    def add(
        self, request: web.BaseRequest, response: web.StreamResponse | None, route: str, size: int, seconds: float
    ) -> None:
        """Log one exchange; `response` is None when it broke off before there was one."""
        line = self._line(
            at=self._clock(),
            method=request.method,
            path=request.rel_url.raw_path,
            status=CLIENT_GONE if response is None else response.status,
            route=route,
            size=size,
            seconds=seconds,
            client=request.remote or "",
            cache="" if response is None else response.headers.get(CACHE_HEADER, ""),
            aborted=response is None or not response.body_length,
            request_id=request.headers.get("X-Request-Id", ""),
        )
        self._lines.append(line)


class Exchange:
    """A request on its way, from the moment it was routed until its task is done."""

    __slots__ = ("_access", "_request", "_route", "_started_at", "_tallies", "_timer", "response")

    def __init__(
        self, request: web.Request, tallies: HttpTallies, access: AccessLog | None, timer: Callable[[], float]
    ) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._tallies = tallies
        self._access = access
        self._timer = timer
        self._route = route_label(request.match_info.route.name)
        tallies.inflight[self._route] += 1
        self._started_at = timer()

    def finish(self, _task: object = None) -> None:
        """Count and log the exchange, which is over."""
        seconds = self._timer() - self._started_at
        request, response, route = self._request, self.response, self._route
        # aiohttp sets body_length (headers included) when it has written the end of the body.
        if response is not None and response.body_length:
            status_class, size = _STATUS_CLASSES[response.status // 100], _body_bytes(request, response)
        else:
            status_class, size = "aborted", request.writer.output_size
        self._tallies.inflight[route] -= 1
        self._tallies.add(route, request.method, status_class, seconds, size)
        if self._access is not None and route not in _PROBES:
            self._access.add(request, response, route, size, seconds)


def observe(
    metrics: Metrics, access: AccessLog | None, *, timer: Callable[[], float] = time.perf_counter
) -> Middleware:
    """The outermost middleware. Without `access` it only counts; `timer` counts seconds."""

    @web.middleware
    async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = Exchange(request, metrics.http, access, timer)
        try:
            response = exchange.response = await handler(request)
        except BaseException as error:
            exchange.response = error if isinstance(error, web.HTTPException) else None
            _when_over(exchange)
            raise
        if isinstance(response, Prebuilt):
            response.when_sent = exchange.finish
        else:
            _when_over(exchange)
        return response

    return observed


def _when_over(exchange: Exchange) -> None:
    """An answer is over when its task is: aiohttp runs each request in a task of its own."""
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(exchange.finish)


def _body_bytes(request: web.Request, response: web.StreamResponse) -> int:
    if request.method == "HEAD" or response.status in (204, 304):
        return 0
    # What sendfile sends passes the writer by, so its count only helps where no length was announced.
    length = response.content_length
    return request.writer.output_size if length is None else length
