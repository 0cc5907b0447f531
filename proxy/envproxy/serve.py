"""`envproxy serve`: the application on a socket, until a signal ends it.

SIGTERM and SIGINT drain: the socket closes to newcomers, /readyz says 503, running downloads get `server.drain`
seconds to finish, then storage closes in order. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import getproxies

from aiohttp import web

from . import logs
from .app import FRONT, PARTS, build
from .connection import Runner
from .errors import EnvproxyError
from .memory import return_large_buffers
from .tables import Config

BACKLOG = 1024  # one uv opens 50 connections at once, and a cluster has many
KEEPALIVE_S = 75.0


def run(config: Config) -> int:
    """Serve until stopped; the exit code. Raises EnvproxyError if it cannot start."""
    return_large_buffers()
    logs.setup(config.log.level.upper(), "json" if config.log.format == "json" else "text")
    return asyncio.run(_serve(config))


async def _serve(config: Config) -> int:
    app = build(config, http_proxies=getproxies(), access_log=_to_stderr)
    runner = Runner(app, shutdown_timeout=config.server.drain_s, keepalive_timeout=KEEPALIVE_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _first_signal, stop)
    with _needed(f"the data directory {config.server.data} cannot be used", hint="choose another with --data"):
        await runner.setup()
        if FRONT in app:
            app[FRONT].before(runner)
    try:
        with _needed(f"cannot listen on {config.server.listen}", hint="choose another address with --listen"):
            await web.TCPSite(runner, config.server.host, config.server.port, backlog=BACKLOG).start()
        _calm_collector()
        _announce(config, runner)
        await stop.wait()
        app[PARTS].state.draining = True
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    finally:
        await runner.cleanup()
    return 0


@contextmanager
def _needed(failure: str, *, hint: str) -> Iterator[None]:
    """Say plainly what the system refuses at the start."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        # asyncio repeats the address in its own text; name resolution has negative numbers.
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number and number > 0 else error
        raise EnvproxyError(f"{failure}: {reason}", hint=hint) from error


def _first_signal(stop: asyncio.Event) -> None:
    stop.set()


def _calm_collector() -> None:
    """What was made until now lives as long as the process; and requests make few cycles, so look for them seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _announce(config: Config, runner: web.AppRunner) -> None:
    """Say where to point clients: the line that a person copies, and a script waits for."""
    host, port = runner.addresses[0][:2]
    shown = f"[{host}]" if ":" in host else host
    for name in config.pypi.indexes:
        sys.stdout.write(f"serving index {name} on http://{shown}:{port}/pypi/{name}/simple/\n")
    for name in (*config.conda.channels, *config.conda.hosted):
        sys.stdout.write(f"serving channel {name} on http://{shown}:{port}/conda/{name}\n")
    sys.stdout.flush()


def _to_stderr(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()
