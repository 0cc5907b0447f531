"""The daemon's server: environments are made in threads of it, and told as events while they are.

`POST /materialize` answers with the events of one order, `GET /events` with those of all, `GET /status` with what is
going on; docs/daemon.md has the whole of it. An order that was begun is finished, whether or not anybody listens: the
next one who asks finds the environment. Who may connect is decided by the socket's file mode (socket.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from envagent.app import App, Made
from envagent.daemon.protocol import (
    Arrived,
    Asked,
    Due,
    Event,
    Missing,
    Progressed,
    Ready,
    Received,
    Refused,
    Status,
    Troubled,
    configured,
    order_of,
)
from envagent.errors import EnvagentError
from envagent.fetch.report import Report
from envagent.recall import answered
from envproxy import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from envagent.app import Order
    from envagent.config import Config
    from envagent.fetch.network import Bring
    from envagent.lock.model import Package
    from envagent.materialize.progress import Progress

ORDERS_AT_ONCE = 8  # the others wait
_MAX_ORDER_BYTES = 128 << 20  # a lock of 64 MiB in Base64
_LINES = "application/x-ndjson"

_log = logging.getLogger(__name__)


class _Teller(Report):
    """Turns what an app reports, from any thread, into events."""

    def __init__(self, tell: Callable[[Event], object]) -> None:
        self._tell = tell

    def missing(self, files: int, size: int) -> None:
        self._tell(Missing(files, size))

    def received(self, count: int) -> None:
        self._tell(Received(count))

    def troubled(self, name: str, why: str) -> None:
        self._tell(Troubled(name, why))

    def arrived(self, package: Package, path: Path) -> None:
        self._tell(Arrived(package.filename))

    def progress(self, progress: Progress) -> None:
        """A step of an environment."""
        self._tell(Progressed(progress.stage, progress.name, progress.done, progress.total))


class Daemon:
    """One data directory's daemon. `clock` is in seconds since the epoch, `python` as for `App`.

    `upkeep` tells when it does what it does from time to time; `faces` is where the node of the swarm in this process
    stands in for the proxy, "" where there is none, and `bring` has the node fetch a file.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float],
        python: str,
        upkeep: Callable[[], list[Due]],
        faces: str = "",
        bring: Bring | None = None,
    ) -> None:
        self._config = config
        self._upkeep = upkeep
        self._faces = faces
        self._bring = bring
        self._environ = environ
        self._python = python
        self._since = clock()
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._running: list[str] = []
        self._made = 0
        self._refused = 0
        # Of their own: an order may wait for the node in this process, whose disk work needs the loop's threads.
        self._threads = ThreadPoolExecutor(ORDERS_AT_ONCE, thread_name_prefix="order")

    def application(self) -> web.Application:
        """What is served."""
        app = self.watching()
        app.router.add_post("/materialize", self._materialize)
        app.on_cleanup.append(self._finish)
        return app

    def watching(self) -> web.Application:
        """What any process on the machine may see: no orders."""
        app = web.Application(client_max_size=_MAX_ORDER_BYTES)
        self.add_to(app)
        return app

    def add_to(self, app: web.Application) -> None:
        """Let another application show what `watching` shows."""
        app.on_shutdown.append(self._end_events)
        app.router.add_get("/status", self._status)
        app.router.add_get("/events", self._events)

    # --- requests ---------------------------------------------------------------------------------------

    async def _materialize(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
        except msgspec.DecodeError as error:
            refused = Refused(f"the order cannot be read: {error}", "docs/daemon.md has its form", 2)
            return web.Response(status=400, body=_line(refused), content_type=_LINES)
        events: asyncio.Queue[Event] = asyncio.Queue()
        work = asyncio.ensure_future(self._perform(asked, events))
        response = await _begun(request)
        while not isinstance(event := await events.get(), Ready | Refused):
            await response.write(_line(event))
        await response.write(_line(event))
        await work
        return response

    async def _status(self, _: web.Request) -> web.Response:
        status = Status(
            version=__version__,
            pid=os.getpid(),
            since=self._since,
            data=str(self._config.data),
            running=list(self._running),
            made=self._made,
            refused=self._refused,
            upkeep=self._upkeep(),
        )
        return web.Response(body=msgspec.json.encode(status), content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(events)
        try:
            response = await _begun(request)
            while event := await events.get():
                await response.write(_line(event))
        finally:
            self._listeners.discard(events)
        return response

    async def _end_events(self, _: web.Application) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)

    async def _finish(self, _: web.Application) -> None:
        """Wait for the orders that are begun, and begin no other."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    # --- work -------------------------------------------------------------------------------------------

    async def _perform(self, asked: Asked, events: asyncio.Queue[Event]) -> None:
        def tell(event: Event) -> None:
            events.put_nowait(event)
            for listener in self._listeners:
                listener.put_nowait(event)

        loop = asyncio.get_running_loop()
        with self._counted(asked):
            end = await loop.run_in_executor(
                self._threads, self._made_or_refused, asked, lambda event: loop.call_soon_threadsafe(tell, event)
            )
        if isinstance(end, Ready):
            self._made += 1
        else:
            self._refused += 1
        tell(end)

    @contextmanager
    def _counted(self, asked: Asked) -> Iterator[None]:
        name = asked.prefix or asked.name
        self._running.append(name)
        try:
            yield
        finally:
            self._running.remove(name)

    def _made_or_refused(self, asked: Asked, tell: Callable[[Event], object]) -> Ready | Refused:
        try:
            order = order_of(asked)
            return Ready(self._recalled(order, asked.link_mode) or self._app(asked, tell).materialize(order))
        except EnvagentError as error:
            return Refused(error.message, error.hint, error.exit_code)
        except OSError as error:
            return Refused(str(error), "", 1)
        except Exception as error:  # noqa: BLE001  # a fault of ours: who waits for an end must hear of one
            _log.exception("the order of %s failed", asked.prefix or asked.name)
            return Refused(f"the daemon failed: {type(error).__name__}: {error}", "its stderr has more of it", 1)

    def _recalled(self, order: Order, link_mode: str) -> Made | None:
        answer = answered(order.question(link_mode, self._python), str(self._config.data))
        return msgspec.json.decode(answer.json, type=Made) if answer else None

    def _app(self, asked: Asked, tell: Callable[[Event], object]) -> App:
        teller = _Teller(tell)
        config, bring = configured(asked, self._config), None
        if self._faces and config.proxy == self._config.proxy:  # the swarm stands before the proxy
            config, bring = dataclasses.replace(config, proxy=self._faces, proxy_token=""), self._bring
        return App(
            config,
            self._environ,
            perf_counter,
            downloads=teller,
            progress=teller.progress,
            python=self._python,
            bring=bring,
        )


async def _begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": _LINES})
    await response.prepare(request)
    return response


def _line(event: Event) -> bytes:
    return msgspec.json.encode(event) + b"\n"
