"""The METADATA of a wheel, taken out of it by at most three reads (PEP 658, for upstreams without sidecars).

The zip is read by the standard library's `zipfile`, over a file of which only the fetched spans are known: what it
misses is fetched and it starts again. So a wheel means here what it means to pip, which reads it with the same
module; there is no parser of our own to disagree. The spans are wide enough (longest comment, longest local header)
that the tail, the central directory and the member are one read each; whoever needs a fourth is refused.

Invariant: what is returned is the one METADATA of the wheel, byte for byte, its CRC checked, and it names the same
project and version as the filename. Arbitrary bytes raise nothing but the errors below, within bounded memory.
It fetches nothing itself and does not judge the metadata beyond name and version.
"""

from __future__ import annotations

import asyncio
import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from packaging.metadata import parse_email
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envproxy.errors import BadUpstreamBody, NoSuchThing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_METADATA_BYTES = 10 << 20  # room for a whole changelog as the description
_MAX_READ_BYTES = 16 << 20  # a central directory of some 100 000 members
_MAX_READS = 3
_TAIL_BYTES = (64 << 10) + 22 + 20 + 56  # a comment, the end record, the zip64 locator and its record
_LOCAL_HEADER_BYTES = 30 + (64 << 10)  # the fixed part, then a name and an extra field
_QUOTED_CHARS = 100
_MEMBER = ".dist-info/METADATA"
# What zipfile raises over arbitrary bytes; OSError is a seek before the start, for no disk is involved.
_NOT_A_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class RangeReader(Protocol):
    """The bytes of one wheel, wherever it is. Both methods raise whatever its place makes them raise."""

    async def size(self) -> int:
        """The length of the wheel in bytes."""

    async def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end), all of them; 0 <= start < end <= size."""


async def extract(reader: RangeReader, *, filename: str) -> bytes:
    """The METADATA of the wheel called `filename`, by at most three reads.

    Raises NoSuchThing when it has none or is no wheel, BadUpstreamBody when it is damaged, lies about its name or
    is out of bounds; errors of the reader pass.
    """
    search = _Search(filename, await reader.size())
    found = None
    while found is None:
        data = await reader.read(*search.need)
        found = await asyncio.to_thread(search.feed, data)
    return found


def extract_from_file(path: Path, *, filename: str) -> bytes:
    """The same from a local file that need not be called so (blocking); OSError passes."""
    with path.open("rb") as file:
        search = _Search(filename, os.fstat(file.fileno()).st_size)
        found = None
        while found is None:
            start, stop = search.need
            file.seek(start)
            found = search.feed(file.read(stop - start))
    return found


class _Search:
    """The reads so far: `need` is the span [start, stop) to read next."""

    def __init__(self, filename: str, size: int) -> None:
        self._wheel = _Wheel.called(filename)
        if size <= 0:
            raise BadUpstreamBody(f"{filename} is empty")
        self._file = _PartlyKnown(size)
        self._reads = 0
        self.need = (max(0, size - _TAIL_BYTES), size)

    def feed(self, data: bytes) -> bytes | None:
        """The METADATA, or None and another `need`, given the bytes of the last one."""
        start, stop = self.need
        if len(data) != stop - start:
            raise BadUpstreamBody(f"{self._wheel.filename}: bytes {start}-{stop - 1} are {len(data)} bytes")
        self._reads += 1
        self._file.learn(start, data)
        try:
            return _read(self._file, self._wheel)
        except _UnknownSpan as unknown:
            self.need = (unknown.start, unknown.stop)
        if self._reads == _MAX_READS or self.need[1] - self.need[0] > _MAX_READ_BYTES:
            raise BadUpstreamBody(f"{self._wheel.filename} is laid out so that its METADATA cannot be read in part")
        return None


@dataclass(frozen=True, slots=True)
class _Wheel:
    """What a filename promises of the inside."""

    filename: str
    name: str
    version: Version

    @classmethod
    def called(cls, filename: str) -> _Wheel:
        try:
            name, version, _, _ = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            raise NoSuchThing(f"{filename} is not called like a wheel", hint="only wheels have METADATA") from None
        return cls(filename, name, version)

    def check_same(self, name: str, version: str) -> None:
        """Raises BadUpstreamBody unless these are the promised ones; `pip` and `uv` would refuse the wheel too."""
        try:
            same = canonicalize_name(name) == self.name and Version(version) == self.version
        except ValueError:  # InvalidVersion, or a number too long for int()
            same = False
        if not same:
            inside = f"{name[:_QUOTED_CHARS]!r} {version[:_QUOTED_CHARS]!r}"
            raise BadUpstreamBody(f"{self.filename} calls itself {inside} inside")


class _UnknownSpan(Exception):
    def __init__(self, start: int, stop: int) -> None:
        super().__init__(start, stop)
        self.start, self.stop = start, stop


class _PartlyKnown:
    """A file for zipfile of which some spans are known. Each read lies within one of them or asks for one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._position = 0
        self._spans: list[tuple[int, bytes]] = []

    def learn(self, start: int, data: bytes) -> None:
        self._spans.append((start, data))

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            raise OSError("a seek before the start of the file")
        self._position = position
        return position

    def read(self, length: int = -1) -> bytes:
        data = self.require(self._position, self.size if length < 0 else length)
        self._position += len(data)
        return data

    def require(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`, fewer at the end; raises _UnknownSpan for all if a part is not known."""
        if start < 0:
            raise zipfile.BadZipFile("a member begins before the start of the file")
        stop = min(start + length, self.size)
        if start >= stop:
            return b""
        for begin, data in self._spans:
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        raise _UnknownSpan(start, stop)


def _read(file: _PartlyKnown, wheel: _Wheel) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            member = _metadata_member(archive.infolist(), wheel)
            file.require(member.header_offset, _LOCAL_HEADER_BYTES + member.compress_size)
            with archive.open(member) as stream:
                # With its length, for a read to the end inflates without a bound.
                data = stream.read(member.file_size)
    except _NOT_A_ZIP as error:
        raise BadUpstreamBody(f"{wheel.filename} is a damaged wheel: {error}") from error
    if len(data) != member.file_size:
        raise BadUpstreamBody(f"{wheel.filename} is a damaged wheel: its METADATA is cut off")
    _check_content(data, wheel)
    return data


def _metadata_member(members: Iterable[zipfile.ZipInfo], wheel: _Wheel) -> zipfile.ZipInfo:
    candidates = [m for m in members if m.filename.endswith(_MEMBER) and m.filename.count("/") == 1]
    if not candidates:
        raise NoSuchThing(f"{wheel.filename} has no METADATA")
    if len(candidates) > 1:
        raise BadUpstreamBody(f"{wheel.filename} has {len(candidates)} METADATA")
    [member] = candidates
    name, _, version = member.filename.removesuffix(_MEMBER).rpartition("-")
    wheel.check_same(name, version)
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BadUpstreamBody(f"{wheel.filename} compresses its METADATA by method {member.compress_type}")
    if member.file_size > MAX_METADATA_BYTES:
        raise BadUpstreamBody(f"{wheel.filename} has METADATA of {member.file_size} bytes")
    return member


def _check_content(data: bytes, wheel: _Wheel) -> None:
    headers, _ = parse_email(data)
    wheel.check_same(headers.get("name", ""), headers.get("version", ""))
