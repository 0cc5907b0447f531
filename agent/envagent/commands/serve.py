"""`envagent serve`: the daemon, in the foreground; with a proxy and an address also a node of its swarm."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from time import time
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from envagent.config import config_of
from envagent.daemon.server import Daemon
from envagent.daemon.socket import listening
from envagent.daemon.upkeep import Upkeep, chores, perform
from envagent.errors import UsageError
from envagent.places import SOCKET
from envagent.recall import PYTHON
from envproxy.commands.output import say

if TYPE_CHECKING:
    from argparse import Namespace

    from aiohttp.typedefs import Handler

    from envagent.config import Config
    from envagent.peers.node import Node

_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_BACKLOG = 1024
_OF_A_NODE = ("zone", "tenant", "peers_listen", "peers_cert", "peers_key", "peers_ca")
_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
_MAX_PORT = 65_535
_DRAIN_S = 5.0


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    config = config_of(args)
    address = _address(args.listen, anywhere=bool(config.proxy))
    if not (address and config.proxy) and (idle := next((flag for flag in _OF_A_NODE if getattr(args, flag)), None)):
        raise UsageError(
            f"--{idle.replace('_', '-')} is of a node of a swarm, which this is not",
            hint="a node has a --proxy and an address to --listen on",
        )
    with listening(config.data) as bound:
        asyncio.run(_serve(config, bound, address))
    return 0


async def _serve(config: Config, bound: socket.socket, address: tuple[str, int] | None) -> None:
    async with AsyncExitStack() as stack:
        node = await _node(config, stack, address) if address and config.proxy else None
        upkeep = Upkeep(config.upkeep, clock=time, sleep=asyncio.sleep, perform=perform, tell=say)
        faces, bring = (node.faces, node.bring) if node else ("", None)
        daemon = Daemon(
            config, os.environ, clock=time, python=PYTHON, upkeep=upkeep.schedule, faces=faces, bring=bring
        )
        orders = daemon.application()
        if node:
            orders.router.add_get("/swarm", _status_of(node))
        runner = await _running(orders, stack)
        await web.SockSite(runner, bound).start()
        if node:
            await _serve_node(node, daemon, stack)
        watching = await _running(daemon.watching(), stack)
        if address and not node:
            watched = stack.enter_context(_listener(address, "listen"))
            await web.SockSite(watching, watched).start()
        _announce(config, watching, node)
        stack.push_async_callback(_cancelled, asyncio.create_task(upkeep.keep(chores(config))))
        await _until_told_to_stop()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _node(config: Config, stack: AsyncExitStack, address: tuple[str, int]) -> Node:
    """The node of the swarm, with its port. Raises SourceUnreachable; OSError passes."""
    from envagent.peers.node import Node, origins_of  # noqa: PLC0415  # the engine is large
    from envagent.peers.tls import trust_of  # noqa: PLC0415  # as above

    trust = await asyncio.to_thread(trust_of, config)
    listener = stack.enter_context(_listener(address, "listen"))
    peers = stack.enter_context(_listener(trust.listen, "peers-listen")) if trust else None
    return Node(config, listener, await origins_of(config), trust=trust, peers_bound=peers)


def _listener(address: tuple[str, int], name: str) -> socket.socket:
    """A socket at the address of the setting `name`. Raises UsageError where it is taken."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        why = os.strerror(error.errno).lower()
        where = f"{address[0]}:{address[1]}"
        raise UsageError(f"--{name} {where}: {why}", hint="choose another port, or 0 for any") from None


async def _serve_node(node: Node, daemon: Daemon, stack: AsyncExitStack) -> None:
    from envproxy.connection import Runner  # noqa: PLC0415  # as above

    app = await asyncio.to_thread(node.application)
    daemon.add_to(app)
    runner = Runner(app, shutdown_timeout=_DRAIN_S)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, node.listener, backlog=_BACKLOG).start()
    if node.trust and node.peers_listener:
        tls = node.trust.answering
        await web.SockSite(runner, node.peers_listener, backlog=_BACKLOG, ssl_context=tls).start()


async def _running(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    return runner


def _status_of(node: Node) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        status = await asyncio.to_thread(node.status)
        return web.Response(body=msgspec.json.encode(status), content_type="application/json")

    return answer


def _announce(config: Config, watching: web.AppRunner, node: Node | None) -> None:
    """Where it serves: who started it waits for the first line."""
    sys.stdout.write(f"serving {config.data / SOCKET}\n")
    if node:
        sys.stdout.write(f"node {node.identity.node} of the swarm of {config.proxy} on {node.faces}\n")
    sys.stdout.writelines(f"watch it on http://{address[0]}:{address[1]}/status\n" for address in watching.addresses)
    sys.stdout.flush()


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def _address(text: str | None, *, anywhere: bool) -> tuple[str, int] | None:
    """Host and port, of loopback unless `anywhere` will do. Raises UsageError."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= _MAX_PORT):
        raise UsageError(f"--listen {text!r} is no host and port", hint="such as 127.0.0.1:8418")
    if host not in _LOOPBACK and not anywhere:
        raise UsageError(f"--listen {text!r} is no address of loopback", hint="such as 127.0.0.1:8418")
    return host.strip("[]"), int(port)
