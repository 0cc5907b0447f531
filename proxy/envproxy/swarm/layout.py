"""How an artifact is cut into pieces: the same on every node, for it follows from the size alone.

A piece is what is leased, hashed and sent. Small ones cost requests, large ones make nodes wait for one another: with
ten times as many pieces as there are doublings of the swarm the wait is below a tenth (Mundinger, Weber and Weiss,
2008), so more than PIECES do no good to swarms of a hundred nodes, and little to larger ones. Pieces grow no further
than it takes to have as many. Below WHOLE_BYTES one request costs less than any cut would save.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .bitmap import whole

PIECE_BYTES: Final = 1024 * 1024  # at least
LARGE_BYTES: Final = 4 * 1024 * 1024  # a larger piece costs no less for each byte
WHOLE_BYTES: Final = 8 * 1024 * 1024  # artifacts below it are one piece
PIECES: Final = 80  # are enough while pieces are smaller than LARGE_BYTES
MAX_PIECES: Final = 500  # after Dragonfly: 16 kB of hashes, 63 bytes of bitmap


@dataclass(frozen=True, slots=True)
class Layout:
    """An artifact of `size` bytes in pieces of `piece_bytes`; the last one has what is left, the only one all."""

    size: int
    piece_bytes: int

    @classmethod
    def of(cls, size: int) -> Layout:
        """The layout of every artifact of that size."""
        if size < WHOLE_BYTES:
            return cls(size, max(1, size))
        piece_bytes = PIECE_BYTES
        while -(-size // piece_bytes) > (PIECES if piece_bytes < LARGE_BYTES else MAX_PIECES):
            piece_bytes *= 2
        return cls(size, piece_bytes)

    @property
    def count(self) -> int:
        """How many pieces there are: at least one, also of nothing."""
        return max(1, -(-self.size // self.piece_bytes))

    @property
    def all(self) -> int:
        """The set of all pieces."""
        return whole(self.count)

    def span(self, piece: int) -> tuple[int, int]:
        """The bytes [start, stop) of a piece. Raises IndexError where there is no such piece."""
        if not 0 <= piece < self.count:
            raise IndexError(f"piece {piece} of {self.count}")
        start = piece * self.piece_bytes
        return start, min(self.size, start + self.piece_bytes)
