"""A command's side of the daemon: hands the order over, and hears what becomes of it.

Blocking, and of the standard library's HTTP: a command starts faster without aiohttp.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import msgspec

from envagent.daemon.protocol import (
    Arrived,
    Event,
    Missing,
    News,
    Progressed,
    Ready,
    Received,
    Refused,
    Troubled,
    asked_for,
)
from envagent.daemon.socket import connected
from envagent.errors import DaemonFailed, RefusedByDaemon
from envagent.materialize.progress import Progress

if TYPE_CHECKING:
    import socket

    from envagent.app import Made, Order
    from envagent.config import Config
    from envagent.console import Console


class _Connection(HTTPConnection):
    """HTTP over a socket that is connected already."""

    def __init__(self, made: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = made


def handed_over(order: Order, config: Config, console: Console) -> Made | None:
    """What the daemon of the data directory made of the order; None where there is no daemon.

    Raises RefusedByDaemon, and DaemonFailed for one that ends in the middle.
    """
    made = connected(config.data)
    if made is None:
        return None
    connection = _Connection(made)
    try:
        connection.request("POST", "/materialize", msgspec.json.encode(asked_for(order, config)))
        for line in connection.getresponse():
            match msgspec.json.decode(line, type=Event):
                case Ready() as ready:
                    return ready.made
                case Refused() as refused:
                    raise RefusedByDaemon(refused.message, hint=refused.hint, exit_code=refused.exit_code)
                case event:
                    _show(event, console)
    except (OSError, HTTPException, msgspec.DecodeError) as error:
        raise DaemonFailed(f"the daemon of {config.data} failed: {error}", hint="run the command again") from error
    finally:
        connection.close()
    raise DaemonFailed(f"the daemon of {config.data} ended in the middle of its work", hint="run the command again")


def asked(config: Config, path: str) -> bytes | None:
    """What the daemon of the data directory answers for a path; None where there is no daemon, or no such path."""
    made = connected(config.data) if config.data.is_dir() else None
    if made is None:
        return None
    connection = _Connection(made)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException) as error:
        raise DaemonFailed(f"the daemon of {config.data} failed: {error}", hint="run the command again") from error
    finally:
        connection.close()


def _show(event: News, console: Console) -> None:
    match event:
        case Missing():
            console.missing(event.files, event.size)
        case Received():
            console.received(event.count)
        case Troubled():
            console.troubled(event.name, event.why)
        case Arrived():
            console.shown(event.name)
        case Progressed():
            console.progress(Progress(event.stage, event.name, event.done, event.total))
