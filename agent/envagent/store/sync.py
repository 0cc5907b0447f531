"""One sync of a whole filesystem for a batch of trees: under a second, where one per file takes half a minute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def syncfs(path: Path) -> None:
    """Wait until the filesystem that holds `path` has all its data on the disk (syncfs(2)). OSError passes."""
    import ctypes  # noqa: PLC0415  # slow to import, needed once after something was built

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)
