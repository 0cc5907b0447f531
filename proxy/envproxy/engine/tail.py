"""The newest bytes of a stream that grows: what readers at its tip need, without a disk.

It holds the chunks as they came, so a reader that keeps up gets the very object that arrived. What is forgotten, and
when, is the owner's decision.
"""

from __future__ import annotations

from collections import deque


class Tail:
    """Bytes [start, end) of the stream."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self._chunks: deque[tuple[int, bytes]] = deque()

    def __repr__(self) -> str:
        return f"<Tail {self.start}-{self.end}, {len(self._chunks)} chunks>"

    def append(self, chunk: bytes) -> None:
        """The next bytes, at least one."""
        self._chunks.append((self.end, chunk))
        self.end += len(chunk)

    def read(self, position: int, limit: int) -> bytes | None:
        """Some bytes from `position` on and before `limit`, None if they are not here (any more)."""
        if not self.start <= position < self.end:
            return None
        # From the newest on, for that is where most readers are.
        start, chunk = next((start, chunk) for start, chunk in reversed(self._chunks) if start <= position)
        whole = position == start and start + len(chunk) <= limit
        return chunk if whole else chunk[position - start : limit - start]

    def oldest_end(self) -> int:
        """Where the oldest chunk ends: what `start` will be once it is forgotten."""
        start, chunk = self._chunks[0]
        return start + len(chunk)

    def forget_oldest(self) -> None:
        """Let go of the oldest chunk."""
        self.start = self.oldest_end()
        self._chunks.popleft()
