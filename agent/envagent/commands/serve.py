"""`envagent serve`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from time import time
from typing import TYPE_CHECKING

from aiohttp import web

from envagent.config import config_of
from envagent.daemon.server import Daemon
from envagent.daemon.socket import listening
from envagent.errors import UsageError
from envagent.places import SOCKET

if TYPE_CHECKING:
    from argparse import Namespace
    from socket import socket

    from envagent.config import Config

_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    config = config_of(args)
    address = _address(args.listen)
    with listening(config.data) as bound:
        asyncio.run(_serve(config, bound, address))
    return 0


async def _serve(config: Config, bound: socket, address: tuple[str, int] | None) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    daemon = Daemon(config, os.environ, clock=time, python=python)
    runner = web.AppRunner(daemon.application(), access_log=None)
    await runner.setup()
    watching = web.AppRunner(daemon.watching(), access_log=None)
    await watching.setup()
    try:
        await web.SockSite(runner, bound).start()
        if address:
            await web.TCPSite(watching, *address).start()
        _announce(config, watching)
        await _until_told_to_stop()
    finally:
        await watching.cleanup()
        await runner.cleanup()


def _announce(config: Config, watching: web.AppRunner) -> None:
    """Where it serves: who started it waits for the first line."""
    sys.stdout.write(f"serving {config.data / SOCKET}\n")
    sys.stdout.writelines(f"watch it on http://{address[0]}:{address[1]}/status\n" for address in watching.addresses)
    sys.stdout.flush()


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def _address(text: str | None) -> tuple[str, int] | None:
    """Host and port of loopback. Raises UsageError."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if host not in _LOOPBACK or not port.isdigit():
        raise UsageError(f"--listen {text!r} is no address of loopback", hint="such as 127.0.0.1:8418")
    return host.strip("[]"), int(port)
