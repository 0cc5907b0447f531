"""Which trees and prefixes the disk is known to hold: names that were synced, one a line, fsynced after the sync.

A line with a minus takes the name back: what has that name from then on was not synced yet. What is not in it is
right as long as the machine has not lost power since it was written, for then the page cache and the disk agree;
after a crash of the machine it is discarded or checked again (node.py). Kill -9 of a process loses nothing either
way. A cut-off last line is no name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Journal:
    """The file at `path`; several processes may append at once, for a short line is one write(2)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        """Everything noted so far."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return set()
        whole, _, _ = text.rpartition(b"\n")
        names = set()
        for line in whole.decode(errors="replace").split("\n"):
            if line.startswith("-"):
                names.discard(line[1:])
            else:
                names.add(line)
        return names - {""}

    def note(self, names: Iterable[str]) -> None:
        """Append names, durably. The caller has synced what they name."""
        self._append("".join(f"{name}\n" for name in sorted(names)).encode())

    def forget(self, names: Iterable[str]) -> None:
        """Take names back, durably: what they name is gone, or will be another."""
        self._append("".join(f"-{name}\n" for name in sorted(names)).encode())

    def _append(self, lines: bytes) -> None:
        if not lines:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if ends_in_a_cut_line(fd):
                lines = b"\n" + lines
            os.write(fd, lines)
            os.fsync(fd)
        finally:
            os.close(fd)

    def keep(self, names: set[str]) -> None:
        """Forget everything else; no other process may be writing."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        Journal(fresh).note(names & self.names())
        if fresh.exists():
            fresh.replace(self._path)
        else:
            self._path.unlink(missing_ok=True)


def ends_in_a_cut_line(fd: int) -> bool:
    """Whether a process that wrote lines to the file was stopped in the middle of one (blocking)."""
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
