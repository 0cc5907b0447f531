"""What an uploaded package says of itself: its `info/index.json`, checked against its name (CEP 34, 35).

Only the part of the archive that holds it is unpacked, in memory and within bounds; nothing is extracted. A package
whose parts contradict each other is refused, for an index made of it would be wrong for ever; so is one whose record
clients cannot read, for they would lose every package of that name.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from envproxy.errors import BadUpstreamBody, ClientError

from .channel import Filename, check_subdir
from .compression import expanded

INFO_LIMIT_BYTES = 256_000_000  # of the info part, decompressed; test files of some packages are in it
INDEX_LIMIT_BYTES = 1_000_000  # of index.json, which is part of every repodata; real ones have a few thousand
DEEPEST = 50  # objects and arrays of index.json within one another; real ones have two
_INDEX = "info/index.json"
_READ_BYTES = 1024 * 1024
_UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, BadUpstreamBody,
    NotImplementedError, RuntimeError, ValueError, OSError, EOFError, MemoryError,
)  # fmt: skip
"""What the libraries raise over archives that are damaged, encrypted, or of a kind that they do not know."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A package that is what its name says: where it belongs, and its record."""

    subdir: str
    record: dict[str, Any]


class _Fields(msgspec.Struct):
    """The fields of a record that clients read (CEP 34, 36), as strictly as py-rattler reads them.

    Whatever else a record has is of no concern to them.
    """

    build_number: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    depends: list[str] = []
    constrains: list[str] = []
    extra_depends: dict[str, list[str]] = {}
    flags: list[str] = []
    timestamp: Annotated[int, Meta(ge=0, le=253_402_300_799_999)] | None = None  # milliseconds, until the year 9999
    noarch: Literal["generic", "python"] | bool | None = None
    track_features: str | list[str] = ""
    features: str | None = None
    license: str | None = None
    license_family: str | None = None
    arch: str | None = None
    platform: str | None = None
    purls: list[str] | None = None
    run_exports: dict[str, list[str]] | list[str] | None = None
    python_site_packages_path: str | None = None


def read_archive(path: Path, name: Filename) -> Archive:
    """Read the package at `path`. Raises ClientError."""
    try:
        index = _index_json(path, name)
    except _UNREADABLE as error:
        raise ClientError(f"{name.text} is not a package: {error}") from error
    record = _record(index, name)
    for key in ("name", "version", "build"):
        if record.get(key) != getattr(name, key):
            raise ClientError(f"{name.text} says in {_INDEX} that its {key} is {str(record.get(key))[:100]!r}")
    subdir = record.get("subdir")
    if not isinstance(subdir, str):
        raise ClientError(f"{name.text} does not say in {_INDEX} what its subdir is")
    return Archive(check_subdir(subdir), {**record, **_digests(path), "size": path.stat().st_size})


def _record(index: bytes, name: Filename) -> dict[str, Any]:
    """The record in an index.json, of which every field is what clients take it for."""
    if len(index) > INDEX_LIMIT_BYTES:
        raise ClientError(f"{_INDEX} of {name.text} has more than {INDEX_LIMIT_BYTES} bytes")
    try:
        record = msgspec.json.decode(index, type=dict[str, Any])
        msgspec.json.decode(index, type=_Fields)
    except msgspec.ValidationError as error:
        raise ClientError(f"{_INDEX} of {name.text} is not as it should be (CEP 34): {error}") from error
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ClientError(f"{_INDEX} of {name.text} is not JSON: {error}") from error
    if _is_deeper(record, DEEPEST):
        raise ClientError(f"{_INDEX} of {name.text} is nested more than {DEEPEST} levels deep")
    _check_version(name)
    return record


def _check_version(name: Filename) -> None:
    from rattler import Version  # noqa: PLC0415 (a large library, needed for uploads alone)
    from rattler.exceptions import InvalidVersionError  # noqa: PLC0415

    try:
        Version(name.version)
    except InvalidVersionError as error:
        raise ClientError(f"{name.text} has a version that is none (CEP 33): {error}") from error


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


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
            return file.read(INDEX_LIMIT_BYTES + 1)
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
