"""The SHA-256 of each piece of a stream, as its bytes come. Pure: nothing is read or kept here."""

from __future__ import annotations

import hashlib

from .layout import Layout


class PieceHasher:
    """Takes an artifact of a known layout from its first byte to its last."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen = 0
        self._piece = 0
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes; the digests of the pieces that they complete. Bytes beyond the end are ignored."""
        done, rest = [], memoryview(data)
        while rest and self._piece < self._layout.count:
            _, stop = self._layout.span(self._piece)
            part = rest[: stop - self._seen]
            self._digest.update(part)
            self._seen += len(part)
            rest = rest[len(part) :]
            if self._seen == stop:
                done.append(self._digest.digest())
                self._piece += 1
                self._digest = hashlib.sha256()
        return done
