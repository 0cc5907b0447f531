"""Unpacking a `.conda` (CEP 35) or `.tar.bz2`, by the rules of untar.py.

Of `info/` only the documents that an installer reads are kept, in memory: recipes, tests and licences are half of the
small files of many packages. What the documents say is judged in conda_package.py.
"""

from __future__ import annotations

import bz2
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

import zstandard

from envagent.materialize.member import Damaged
from envagent.materialize.tar_stream import BUFFER_BYTES
from envagent.materialize.untar import MAX_WINDOW_BYTES, Metadata, untar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from envagent.materialize.tar_stream import Readable
    from envagent.materialize.untar import Bounds, Contents

_METADATA = Metadata(
    "info",
    frozenset({"info/index.json", "info/paths.json", "info/link.json", "info/files", "info/has_prefix"}),
)
_PARTS = ("info-", "pkg-")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def unpack(archive: Path, root: Path, bounds: Bounds | None = None) -> Contents:
    """Fill the empty directory `root` (blocking). Raises Damaged; OSError of the disk passes."""
    return untar(archive, root, _tars, metadata=_METADATA, bounds=bounds)


@contextmanager
def _tars(file: IO[bytes]) -> Iterator[Iterator[Readable]]:
    """One in a `.tar.bz2`, two in a `.conda`."""
    is_bz2 = file.read(3) == b"BZh"
    file.seek(0)
    if is_bz2:
        with bz2.open(file) as tar:
            yield iter([tar])
        return
    with zipfile.ZipFile(file) as outer:
        parts = [name for name in outer.namelist() if name.startswith(_PARTS) and name.endswith(".tar.zst")]
        if len(parts) != len(_PARTS):
            raise Damaged(f"it has {len(parts)} parts instead of one of files and one of metadata")
        for name in parts:
            if (method := outer.getinfo(name).compress_type) not in _METHODS:
                raise Damaged(f"{name} is compressed by method {method}, which packages do not use")
        yield (_decompressed(outer.open(name)) for name in sorted(parts))


def _decompressed(part: IO[bytes]) -> Readable:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    return cast("Readable", decompressor.stream_reader(part, read_size=BUFFER_BYTES, read_across_frames=True))
