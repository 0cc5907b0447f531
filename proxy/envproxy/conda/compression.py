"""Zstandard and bzip2, undone piece by piece and within bounds.

Truncated input is refused, which the stream readers of the libraries let pass, and so is more output than `limit`: a
bomb ends here. Input goes in by small slices, for the libraries return at once all that a slice expands to; so no
piece is larger than `limit`, nor than 128 MB. Pure.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

import zstandard

from envproxy.errors import BadUpstreamBody, Oversized

Form = Literal["zst", "bz2"]

_SLICE_BYTES = 4096
_RATIO = 32 * 1024  # of zstd: a block has 128 KB, and takes 4 bytes at least


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


_MAKERS: dict[Form, Callable[[], _Decompressor]] = {
    "zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "bz2": bz2.BZ2Decompressor,
}


def expanded(pieces: Iterable[bytes], form: Form, *, limit: int, what: str) -> Iterator[bytes]:
    """Undo the compression, every frame of it. Raises BadUpstreamBody on the way, saying what `what` is not; that
    is Oversized once there are more than `limit` bytes.
    """
    make = _MAKERS[form]
    decompressor, size = make(), 0
    for piece in _slices(pieces, min(_SLICE_BYTES, max(limit // _RATIO, 16))):
        rest = piece
        while rest:
            if decompressor.eof:
                decompressor = make()
            out = _decompress(decompressor, rest, what)
            rest = decompressor.unused_data if decompressor.eof else b""
            if (size := size + len(out)) > limit:
                raise Oversized(f"{what} has more than {limit} bytes when decompressed")
            yield out
    if not decompressor.eof:
        raise BadUpstreamBody(f"{what} is cut short" if size else f"{what} is empty, or cut short")


def _decompress(decompressor: _Decompressor, data: bytes, what: str) -> bytes:
    try:
        return decompressor.decompress(data)
    except (zstandard.ZstdError, OSError) as error:
        raise BadUpstreamBody(f"{what} is not properly compressed: {error}") from error


def _slices(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]
