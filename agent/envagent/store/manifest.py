"""What a tree holds, as one small file: linking, verifying and comparing trees neither walks nor parses them.

A manifest lists directories (each after its parent), files (by path) with size, executable bit and SHA-256, and
symbolic links (by path) with their targets; and, so that these lists are read only where they are needed, what the
tree claims (claims.py) and which of its files are compiled modules. SHA-256, because that is what RECORD and
paths.json promise: a file is hashed once, and one digest proves all. A manifest's bytes are canonical, so their
BLAKE3 is the tree digest: two nodes that unpacked the same artifact hold the same digest. The file is the magic, the
digest, the payload; a torn or edited manifest does not open.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from envagent.store.claims import claims_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAGIC = b"envmesh tree 3\n"
_DIGEST_BYTES = 32


class TornManifest(Exception):
    """The bytes are not a manifest: cut off, edited, or of another version."""


class Entry(NamedTuple):
    """A regular file: `path` is relative to the tree, `size` is in bytes, `digest` is the SHA-256 of its content."""

    path: str
    size: int
    executable: bool
    digest: bytes


class _Columns(msgspec.Struct, frozen=True, array_like=True):
    """The payload. What is long is decoded by whoever wants it."""

    directories: msgspec.Raw
    paths: msgspec.Raw
    sizes: msgspec.Raw
    executable: bytes
    digests: bytes
    links: list[str]
    targets: list[str]
    claims: list[str]
    compiled: list[str]


class Manifest:
    """Immutable; made by `of` or `decode`. `digest` is the tree digest: BLAKE3 over all paths, sizes, modes, contents
    and links.
    """

    def __init__(self, payload: bytes, digest: bytes) -> None:
        self._payload = payload
        self.digest = digest

    @classmethod
    def of(
        cls, directories: Iterable[str], files: Iterable[Entry], links: Iterable[tuple[str, str]] = ()
    ) -> Manifest:
        """The manifest of these, in whatever order they come; `links` are pairs of path and target."""
        ordered = sorted(files)
        links = sorted(links)
        directories = sorted(directories)
        paths = [entry.path for entry in ordered]
        columns = _Columns(
            _raw(directories),
            _raw(paths),
            _raw([entry.size for entry in ordered]),
            bytes(entry.executable for entry in ordered),
            b"".join(entry.digest for entry in ordered),
            [path for path, _ in links],
            [target for _, target in links],
            claims_of(directories, [*paths, *(path for path, _ in links)]),
            [path for path in paths if path.endswith(".pyc")],
        )
        payload = msgspec.msgpack.encode(columns)
        return cls(payload, blake3(payload).digest())

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Raises TornManifest."""
        head = len(_MAGIC) + _DIGEST_BYTES
        digest, payload = data[len(_MAGIC) : head], data[head:]
        if not data.startswith(_MAGIC) or digest != blake3(payload).digest():
            raise TornManifest("this is not the manifest of a tree")
        return cls(payload, digest)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises TornManifest; OSError passes."""
        return cls.decode(path.read_bytes())

    def encode(self) -> bytes:
        """The bytes of the file."""
        return _MAGIC + self.digest + self._payload

    @cached_property
    def _columns(self) -> _Columns:
        return msgspec.msgpack.decode(self._payload, type=_Columns)

    @cached_property
    def directories(self) -> list[str]:
        """Every directory, each after its parent."""
        return msgspec.msgpack.decode(self._columns.directories, type=list[str])

    @cached_property
    def paths(self) -> list[str]:
        """Every file, sorted."""
        return msgspec.msgpack.decode(self._columns.paths, type=list[str])

    @property
    def compiled(self) -> list[str]:
        """Those of the files that are compiled modules."""
        return self._columns.compiled

    @property
    def claims(self) -> list[str]:
        """What the tree takes up, sorted (claims.py)."""
        return self._columns.claims

    @cached_property
    def links(self) -> dict[str, str]:
        """Every symbolic link, path to target."""
        columns = self._columns
        return dict(zip(columns.links, columns.targets, strict=True))

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(self._sizes)

    def entries(self) -> Iterator[Entry]:
        """Every file, sorted by path."""
        columns, sizes = self._columns, self._sizes
        for index, path in enumerate(self.paths):
            digest = columns.digests[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]
            yield Entry(path, sizes[index], bool(columns.executable[index]), digest)

    @property
    def _sizes(self) -> list[int]:
        return msgspec.msgpack.decode(self._columns.sizes, type=list[int])


def _raw(values: list[str] | list[int]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(values))
