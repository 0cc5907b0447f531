"""One artifact on its way: written and hashed in the same pass, visible only when its digest matched.

What a killed download left is hashed once and gone on with. Blocking: callers on an event loop use threads. Which
server the bytes are from, and whether another is asked, is not decided here.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from envagent.store.flock import Flock

_READ_BYTES = 1 << 20
_MOST_BUFFERS = 1024  # IOV_MAX of writev(2)


class Arrival:
    """The right to bring `sha256`, of `size` bytes, until it is finished, given up or discarded.

    `admit(path, sha256)` gives verified bytes their place.
    """

    def __init__(self, path: Path, lock: Flock, sha256: str, size: int, admit: Callable[[Path, str], Path]) -> None:
        self.sha256 = sha256
        self.size = size
        self._path = path
        self._lock = lock
        self._admit = admit
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._hash = hashlib.sha256()
        self.received = 0

    def resume(self) -> int:
        """Take over what an earlier download left; how many bytes that is."""
        while block := os.pread(self._fd, _READ_BYTES, self.received):
            self._hash.update(block)
            self.received += len(block)
        if self.received > self.size:
            self.restart()
        return self.received

    def restart(self) -> None:
        """Forget all bytes so far."""
        os.ftruncate(self._fd, 0)
        self._hash = hashlib.sha256()
        self.received = 0

    def append(self, blocks: Sequence[bytes | memoryview]) -> None:
        """More bytes, in order. OSError passes."""
        for block in blocks:
            self._hash.update(block)
        length = sum(map(len, blocks))
        written = os.pwritev(self._fd, blocks, self.received) if len(blocks) <= _MOST_BUFFERS else 0
        if written != length:  # a disk that is all but full takes a part, and then says why
            self._write_all(b"".join(blocks)[written:], self.received + written)
        self.received += length

    def finish(self) -> Path | None:
        """Give the bytes their place if they are right, and let go; None if they are not, and then start again."""
        if self.received != self.size or self._hash.hexdigest() != self.sha256:
            self.restart()
            return None
        place = self._admit(self._path, self.sha256)
        self.give_up()
        return place

    def give_up(self) -> None:
        """Let go; what came stays for the next one who tries, and where nothing did, nothing stays."""
        if self._fd >= 0:
            if os.fstat(self._fd).st_size == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
            self._lock.release()

    def discard(self) -> None:
        """Let go and leave nothing."""
        self._path.unlink(missing_ok=True)
        self.give_up()

    def _write_all(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, offset)
            view, offset = view[count:], offset + count
