"""Putting a tree's files into a prefix: hardlinks, reflinks or copies, straight from the manifest.

A hardlink shares the store's read-only inode; where the filesystem differs or has no more links, that file is copied.
Reflinks and copies are private and writable, so nothing done to them can reach the store. Nothing is overwritten.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

LinkMode = Literal["hardlink", "reflink", "copy", "overlay", "writable-overlay"]
"""How files come into a prefix; overlays put none there (overlay.py), and what must be there is hardlinked."""

OVERLAYS = frozenset({"overlay", "writable-overlay"})

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_COPY_INSTEAD = {errno.EXDEV, errno.EMLINK, errno.EPERM}  # EPERM: a filesystem without links, protected_hardlinks
_NO_REFLINK = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_CHUNK_BYTES = 1 << 30


def make_directories(root: Path, directories: Iterable[str]) -> None:
    """Make each directory below `root`, parents first; those that exist are kept."""
    for directory in directories:
        try:
            os.mkdir(f"{root}/{directory}")  # noqa: PTH102  # thousands: no Path per directory
        except FileExistsError:
            continue


def make_links(root: Path, links: Mapping[str, str]) -> None:
    """Make each symbolic link (path below `root`: target). Nothing is overwritten; OSError passes."""
    for path, target in links.items():
        os.symlink(target, f"{root}/{path}")  # noqa: PTH211  # thousands: no Path per link


def link_files(source: Path, target: Path, paths: Iterable[str], mode: LinkMode, *, skip: Container[str] = ()) -> int:
    """Put each file of `source` at the same path of `target`; how many had to be copied. OSError passes."""
    copied = 0
    for path in paths:
        if path in skip:
            continue
        copied += link_file(f"{source}/{path}", f"{target}/{path}", mode)  # thousands: no Path per file
    return copied


def link_file(here: str, there: str, mode: LinkMode) -> bool:
    """Put one file at another path; whether it had to be copied. OSError passes."""
    if mode not in {"reflink", "copy"}:
        try:
            os.link(here, there)
            return False
        except OSError as error:
            if error.errno not in _COPY_INSTEAD:
                raise
    return _private(here, there, mode)


def _private(here: str, there: str, mode: LinkMode) -> bool:
    """A file of its own; whether its bytes had to be copied."""
    source = os.open(here, os.O_RDONLY | os.O_CLOEXEC)
    try:
        executable = os.fstat(source).st_mode & 0o111
        target = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755 if executable else 0o644)
        try:
            if mode == "reflink" and _reflinked(source, target):
                return False
            while os.sendfile(target, source, None, _CHUNK_BYTES):
                pass
            return True
        finally:
            os.close(target)
    finally:
        os.close(source)


def _reflinked(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True
