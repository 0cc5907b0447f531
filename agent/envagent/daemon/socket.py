"""The daemon's unix socket: `envagent.sock` in the data directory, for its owner alone (mode 0600).

A socket's path has at most 107 bytes (unix(7)), which a data directory may exceed: it is always reached by way of a
descriptor of the directory. One daemon at a time: it holds a lock beside the socket, so a socket file that a killed
one left may be replaced.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envagent.disk import errors_in_words
from envagent.errors import UsageError
from envagent.places import SOCKET
from envagent.store.flock import acquire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def listening(data: Path) -> Iterator[socket.socket]:
    """The bound socket of the only daemon of this data directory. Raises UsageError, DiskRefused; OSError passes."""
    with errors_in_words():
        data.mkdir(parents=True, exist_ok=True)
        lock = acquire(data / f"{SOCKET}.lock", wait=False)
    if lock is None:
        raise UsageError(f"another daemon serves {data}", hint="stop it first, or choose another --data")
    (data / SOCKET).unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reached(data) as path:
            before = os.umask(0o177)
            try:
                bound.bind(path)
            finally:
                os.umask(before)
        yield bound
    finally:
        bound.close()
        (data / SOCKET).unlink(missing_ok=True)
        lock.release()


def connected(data: Path) -> socket.socket | None:
    """A connection to the daemon, None where none serves this data directory."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reached(data) as path:
            made.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        made.close()
        return None
    return made


@contextmanager
def _reached(data: Path) -> Iterator[str]:
    """A short path of the socket. Raises FileNotFoundError where there is no such directory."""
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
