"""What an uploaded package says of itself: its `info/index.json`, checked against its name (CEP 34, 35).

Only the part of the archive that holds it is unpacked, in memory and within bounds; nothing is extracted. A package
whose parts contradict each other is refused, for an index made of it would be wrong for ever.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from envproxy.errors import BadUpstreamBody, ClientError

from .channel import Filename, check_subdir
from .compression import expanded

INFO_LIMIT_BYTES = 256_000_000  # of the info part, decompressed; test files of some packages are in it
_INDEX = "info/index.json"
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """A package that is what its name says: where it belongs, and its record."""

    subdir: str
    record: dict[str, Any]


def read_archive(path: Path, name: Filename) -> Archive:
    """Read the package at `path`. Raises ClientError."""
    try:
        index = _index_json(path, name)
    except (tarfile.TarError, zipfile.BadZipFile, BadUpstreamBody, OSError, EOFError) as error:
        raise ClientError(f"{name.text} is not a package: {error}") from error
    try:
        record = msgspec.json.decode(index, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ClientError(f"{_INDEX} of {name.text} is not JSON: {error}") from error
    for key in ("name", "version", "build"):
        if record.get(key) != getattr(name, key):
            raise ClientError(f"{name.text} says in {_INDEX} that its {key} is {str(record.get(key))[:100]!r}")
    subdir = record.get("subdir")
    if not isinstance(subdir, str):
        raise ClientError(f"{name.text} does not say in {_INDEX} what its subdir is")
    return Archive(check_subdir(subdir), {**record, **_digests(path), "size": path.stat().st_size})


def _index_json(path: Path, name: Filename) -> bytes:
    if name.form == ".tar.bz2":
        with tarfile.open(path, "r|bz2") as tar:
            return _member(tar, name)
    with zipfile.ZipFile(path) as archive:
        part = f"info-{name.text.removesuffix(name.form)}.tar.zst"
        if part not in archive.namelist():
            raise ClientError(f"{name.text} has no {part} in it (CEP 35)")
        with archive.open(part) as packed:
            pieces = expanded(_pieces(packed), "zst", limit=INFO_LIMIT_BYTES, what=part)
            with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
                return _member(tar, name)


def _member(tar: tarfile.TarFile, name: Filename) -> bytes:
    seen = 0
    for member in tar:
        seen += member.size
        if member.name == _INDEX and member.isfile() and (file := tar.extractfile(member)) is not None:
            return file.read(INFO_LIMIT_BYTES)
        if seen > INFO_LIMIT_BYTES and member.name.startswith("info/"):
            break
    raise ClientError(f"{name.text} has no {_INDEX}")


def _digests(path: Path) -> dict[str, str]:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for piece in _pieces(file):
            sha256.update(piece)
            md5.update(piece)
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_READ_BYTES):
        yield piece
