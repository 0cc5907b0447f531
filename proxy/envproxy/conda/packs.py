"""Shards that were made here, many to a blob: a *pack* holds them end to end, a *manifest* says where each one is.

Thirty thousand files of two kilobytes would cost an fsync each; a pack costs one. A manifest names the packs of one
generation, and for each package name the fingerprint of its records, its shard's digest and its slice of a pack. A
changed name gets a new slice in a new pack; all others keep theirs, so old and new generations share packs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

MANY = 16  # packs of one manifest: with more, everything is copied into one


class Slice(NamedTuple):
    """Where a shard is: bytes [offset, offset + length) of the pack `number`."""

    fingerprint: bytes
    digest: bytes
    number: int
    offset: int
    length: int


class Manifest(msgspec.Struct, frozen=True):
    """One generation of shards: `info` of its index, digests of its packs in hex, slices by package name.

    `strays` has the package name of each file whose own name is not that of its record, as CEP 26 wants it to be.
    """

    info: dict[str, Any] = {}
    packs: list[str] = []
    names: dict[str, Slice] = {}
    strays: dict[str, str] = {}

    @property
    def shards(self) -> dict[str, bytes]:
        """What the shard index says: the digest of each name's shard."""
        return {name: found.digest for name, found in self.names.items()}

    def by_digest(self) -> dict[bytes, Slice]:
        """The slices by the digest of their shard."""
        return {found.digest: found for found in self.names.values()}

    def says_the_same(self, info: Mapping[str, Any], names: Mapping[str, Slice]) -> bool:
        """Whether an index made of these would differ in nothing but the time at which it was made."""
        ours = {key: value for key, value in self.info.items() if key != "created_at"}
        theirs = {key: value for key, value in info.items() if key != "created_at"}
        return ours == theirs and self.shards == {name: found.digest for name, found in names.items()}


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(Manifest)


def dump(manifest: Manifest) -> bytes:
    """The manifest as it is stored."""
    return _ENCODER.encode(manifest)


def load(path: Path) -> Manifest:
    """The manifest in a blob. Raises FileNotFoundError."""
    return _DECODER.decode(path.read_bytes())


def read_slice(path: Path, found: Slice) -> bytes:
    """One shard out of the pack at `path`. Raises FileNotFoundError."""
    with path.open("rb") as pack:
        pack.seek(found.offset)
        return pack.read(found.length)
