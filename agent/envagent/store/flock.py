"""Advisory locks between processes (flock(2)): held by an open file, gone with the process that holds them.

No lock here guards correctness of a tree, only against two processes doing one thing twice, and against removal of
what is in use. A lock file that was removed while one waited for it is not the lock any more: `acquire` looks again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Flock:
    """A held lock; `release` may be called twice."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Let the next one in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def acquire(path: Path, *, wait: bool = True, shared: bool = False) -> Flock | None:
    """Lock the file (or an existing directory) at `path`; None where another holds it and `wait` is False."""
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, operation)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if _is_still_at(fd, path):
            return Flock(fd)
        os.close(fd)


@contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Wait for the lock and hold it for the block."""
    lock = acquire(path, shared=shared)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _open(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_still_at(fd: int, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), now)
