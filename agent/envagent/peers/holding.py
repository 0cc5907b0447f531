"""An artifact of which some pieces are here: its bytes in a file with holes, and one mark for each verified piece.

    folder/<sha256>/bytes     the artifact; whatever has no mark may be anything
    folder/<sha256>/marks     size, piece size and boot, then one byte for each piece: 1 once it is written and right;
                              locked, so that nobody removes it (fetch/partial.py)

A piece is hashed and written as it comes. Invariant: its mark is set after all of it was written and its SHA-256
matched, so a process that is killed at any moment leaves nothing unverified that looks verified; and what has a mark
is never written again. A machine that goes down may lose bytes whose mark it kept, so marks of another boot count for
nothing. Everything here blocks: callers use threads. Nothing in here is visible to installers: `finish` checks the
digest of the whole and gives the file away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import threading
from typing import TYPE_CHECKING

from envagent.fetch.partial import reserve
from envproxy.errors import BadUpstreamBody

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from envproxy.swarm.layout import Layout

_HEAD = struct.Struct(">QI36s")
_READ_BYTES = 1 << 18


class Holding:
    """One artifact that is not whole. `boot` tells one run of the machine from the next."""

    def __init__(self, folder: Path, sha256: str, layout: Layout, boot: str) -> None:
        self.sha256 = sha256
        self.layout = layout
        self._place = folder / sha256
        self._lock = reserve(self._place)
        self._bytes = os.open(self._place / "bytes", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._marks = os.open(self._place / "marks", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._marking = threading.Lock()  # held for a moment
        self._growing = threading.Lock()  # held as long as it takes to hash
        self._whole = hashlib.sha256()
        self._grown = 0
        self._verified = self._resume(_HEAD.pack(layout.size, layout.piece_bytes, boot.encode()))
        self._grow()

    @property
    def verified(self) -> int:
        """The set (`swarm.bitmap`) of the pieces that are here, written and right."""
        return self._verified

    @property
    def leading(self) -> int:
        """How many bytes from the first one on are here without a gap."""
        return min(self.layout.size, self._grown * self.layout.piece_bytes)

    @property
    def is_whole(self) -> bool:
        """Whether every piece is here and hashed; that the whole has its digest is for `finish` to say."""
        return self._grown == self.layout.count

    def incoming(self, index: int) -> Incoming:
        """A place for a piece that is not here."""
        assert not self._verified >> index & 1, "the piece is verified, and others read it"
        return Incoming(self, index)

    def write(self, data: bytes | memoryview, position: int) -> None:
        """Put bytes where nobody reads yet. OSError passes."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._bytes, view, position)
            view, position = view[count:], position + count

    def keep(self, incoming: Incoming, sha256: str) -> bool:
        """Mark a piece that came if it has that digest; whether it has. OSError passes."""
        if not incoming.has(sha256):
            return False
        os.pwrite(self._marks, b"\1", _HEAD.size + incoming.index)
        with self._marking:
            self._verified |= 1 << incoming.index
        with self._growing:
            if incoming.index == self._grown == 0:
                self._whole, self._grown = incoming.hash, 1
            self._grow()
        return True

    def read(self, view: memoryview, start: int) -> int:
        """Put bytes from `start` on, which lie in verified pieces, into `view`; how many."""
        return os.preadv(self._bytes, [view], start)

    def open(self) -> int | None:
        """A descriptor with an offset of its own, the caller's to close; None once the bytes are elsewhere."""
        try:
            return os.open(self._place / "bytes", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def finish(self) -> Path | None:
        """The file with all bytes, to be renamed to its place, if the whole has its digest; None if it has not.

        Either way `discard` comes next.
        """
        assert self.is_whole, "some pieces are missing"
        return self._place / "bytes" if self._whole.hexdigest() == self.sha256 else None

    def discard(self) -> None:
        """Let go and leave nothing."""
        self.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def close(self) -> None:
        """Let go; what is verified stays for the next time."""
        with self._growing:
            for fd in (self._bytes, self._marks):
                if fd >= 0:
                    os.close(fd)
            self._bytes = self._marks = -1
        self._lock.release()

    def _resume(self, head: bytes) -> int:
        """The pieces of an earlier run, if it was cut in the same way and since the machine started."""
        if os.pread(self._marks, _HEAD.size, 0) != head:
            os.ftruncate(self._marks, 0)
            os.ftruncate(self._bytes, 0)
            os.ftruncate(self._bytes, self.layout.size)
            os.pwrite(self._marks, head + bytes(self.layout.count), 0)
        marks = os.pread(self._marks, self.layout.count, _HEAD.size)
        return sum(1 << index for index, mark in enumerate(marks) if mark == 1)

    def _grow(self) -> None:
        """Read and hash what follows without a gap on what was hashed before."""
        while self._verified >> self._grown & 1:
            self._hash_of_whole(*self.layout.span(self._grown))
            self._grown += 1

    def _hash_of_whole(self, start: int, stop: int) -> None:
        """Through one buffer: memory that is new each time costs as much as the reading."""
        buffer = memoryview(bytearray(_READ_BYTES))
        while start < stop:
            count = self.read(buffer[: stop - start], start)
            self._whole.update(buffer[:count])
            start += count


class Incoming:
    """One piece on its way: hashed and written as it comes, and worth nothing before `Holding.keep`.

    `hash` is that of the `filled` bytes, of `size`, that are here.
    """

    def __init__(self, holding: Holding, index: int) -> None:
        self.index = index
        self.filled = 0
        self._holding = holding
        self._start, stop = holding.layout.span(index)
        self.size = stop - self._start
        self.hash = hashlib.sha256()

    def append(self, chunks: Sequence[bytes | memoryview]) -> None:
        """What follows. Raises BadUpstreamBody for more than the piece; OSError passes."""
        for chunk in chunks:
            if self.filled + len(chunk) > self.size:
                raise BadUpstreamBody(f"more than the {self.size} bytes of a piece came")
            self.hash.update(chunk)
            self._holding.write(chunk, self._start + self.filled)
            self.filled += len(chunk)

    def restart(self) -> None:
        """Forget all bytes so far."""
        self.hash = hashlib.sha256()
        self.filled = 0

    def has(self, sha256: str) -> bool:
        """Whether it is whole, with that digest."""
        return self.filled == self.size and self.hash.hexdigest() == sha256
