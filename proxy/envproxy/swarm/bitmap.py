"""Sets of pieces as whole numbers: piece n is bit n, so that union, difference and count are one operation each.

On the wire they are bytes, lowest byte first. `ALL` has every piece of an artifact, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

ALL: Final = -1


def whole(count: int) -> int:
    """The set of the first `count` pieces."""
    return (1 << count) - 1


def pieces(bitmap: int) -> Iterator[int]:
    """The pieces of a finite set, in ascending order."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest


def from_bytes(data: bytes) -> int:
    """The set of a bitmap on the wire."""
    return int.from_bytes(data, "little")


def to_bytes(bitmap: int) -> bytes:
    """A finite set as it goes over the wire."""
    return bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "little")
