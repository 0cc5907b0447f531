"""Zstandard and bzip2, undone piece by piece and within bounds.

Truncated input is refused, which the stream readers of the libraries let pass, and so is more output than `limit`: a
bomb ends here. Input goes in by small slices, for the libraries return at once all that a slice expands to. Pure.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

import zstandard

from envproxy.errors import BadUpstreamBody

Form = Literal["zst", "bz2"]

_SLICE_BYTES = 4096  # of zstd these are at most 128 MB of output


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
    """Undo the compression, every frame of it. Raises BadUpstreamBody on the way, saying what `what` is not."""
    make = _MAKERS[form]
    decompressor, size = make(), 0
    for piece in _slices(pieces):
        rest = piece
        while rest:
            if decompressor.eof:
                decompressor = make()
            out = _decompress(decompressor, rest, what)
            rest = decompressor.unused_data if decompressor.eof else b""
            if (size := size + len(out)) > limit:
                raise BadUpstreamBody(f"{what} has more than {limit} bytes when decompressed")
            yield out
    if not decompressor.eof:
        raise BadUpstreamBody(f"{what} is cut short" if size else f"{what} is empty, or cut short")


def _decompress(decompressor: _Decompressor, data: bytes, what: str) -> bytes:
    try:
        return decompressor.decompress(data)
    except (zstandard.ZstdError, OSError) as error:
        raise BadUpstreamBody(f"{what} is not properly compressed: {error}") from error


def _slices(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _SLICE_BYTES):
            yield piece[start : start + _SLICE_BYTES]
