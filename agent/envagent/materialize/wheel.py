"""A wheel, read and judged before a byte of it is unpacked (the binary distribution format, PEP 427 and PEP 491).

The directory is read by the standard library's `zipfile`, so a wheel means here what it means to pip. Invariant: of a
`Wheel` that was returned every member has a safe, unique name, lies in its own span of the archive, is promised by
RECORD with a strong digest, and all of them together unpack to a bounded size. Arbitrary bytes raise nothing but
ArtifactRefused. Contents are checked as they are read or written (member.py), not here.
"""

from __future__ import annotations

import os
import stat
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envagent.errors import ArtifactRefused
from envagent.materialize import record, scripts
from envagent.materialize.member import NOT_A_ZIP, Damaged, Member, read
from envagent.materialize.paths import collision, fault
from envagent.materialize.wheel_name import Promised, promised_by

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.utils import NormalizedName

    from envagent.materialize.scripts import EntryPoint

_ENCRYPTED = 0x1 | 0x40
_IN_UTF8 = 0x800
_MAX_METADATA_BYTES = 64 << 20
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a wheel may unpack to: `members` files, and `ratio` times its own size beyond the `free_bytes`."""

    members: int = 500_000
    ratio: int = 100
    free_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that may be unpacked. `stem` is that of its dist-info and data directories.

    `members` are the files to install, in the order of the archive, without RECORD.
    """

    path: Path
    filename: str
    name: NormalizedName
    stem: str
    members: tuple[Member, ...]
    entry_points: tuple[EntryPoint, ...]

    @property
    def size(self) -> int:
        """Bytes when unpacked."""
        return sum(member.size for member in self.members)


def read_wheel(path: Path, *, filename: str, bounds: Bounds | None = None) -> Wheel:
    """Read the directory and the metadata of the wheel called `filename` (blocking).

    Raises ArtifactRefused; OSError of the disk passes.
    """
    promised = promised_by(filename)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive.infolist())
            _check_bounds(members, size, bounds or Bounds())
            return _Inside(file.fileno(), {member.path: member for member in members}, promised).wheel(path, filename)
        except NOT_A_ZIP as error:
            raise ArtifactRefused(filename, f"it is not a readable zip ({error})") from None
        except (_Fault, Damaged) as problem:
            raise ArtifactRefused(filename, str(problem)) from None


class _Fault(Exception):
    """What is wrong with the wheel, in words."""


def _members(infos: list[zipfile.ZipInfo]) -> list[Member]:
    members = []
    for info in infos:
        name = info.orig_filename
        if problem := fault(name.removesuffix("/")):
            raise _Fault(f"{name!r} {problem}")
        if not name.endswith("/"):
            members.append(_member(info))
    if clash := collision(member.path for member in members):
        raise _Fault(f"{clash[0]} and {clash[1]} would be the same file")
    return members


def _member(info: zipfile.ZipInfo) -> Member:
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        raise _Fault(f"{name} is encrypted")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _Fault(f"{name} is compressed by method {info.compress_type}, which wheels do not use")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise _Fault(f"{name} is not a regular file (a symlink, perhaps)")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and info.compress_size != info.file_size:
        raise _Fault(f"{name} states two sizes")
    return Member(
        name,
        _raw(name, info.flag_bits),
        info.header_offset,
        info.compress_size,
        info.file_size,
        info.CRC,
        deflated,
        bool(mode & 0o111),
    )


def _raw(name: str, flags: int) -> bytes:
    """The name as it was written (APPNOTE 4.4.4, bit 11)."""
    if name.isascii():  # the same in either, and cp437 is slow
        return name.encode()
    return name.encode("utf-8" if flags & _IN_UTF8 else "cp437")


def _check_bounds(members: list[Member], wheel_size: int, bounds: Bounds) -> None:
    """Refuse a zip bomb: too many files, too many bytes, or spans that overlap so that few bytes count often."""
    total = sum(member.size for member in members)
    if len(members) > bounds.members:
        raise _Fault(f"it has {len(members)} files, more than the {bounds.members} allowed")
    if total > bounds.free_bytes + bounds.ratio * wheel_size:
        raise _Fault(f"it would unpack to {total} bytes from {wheel_size}, which is a zip bomb")
    end, before = 0, ""
    for member in sorted(members, key=lambda member: member.offset):
        if member.offset < end:
            raise _Fault(f"{member.path} overlaps {before} in the archive")
        end, before = member.end, member.path
    if end > wheel_size:
        raise _Fault(f"{before} lies beyond the end of the file")


class _Inside:
    """What the metadata of an open wheel says, held against its filename."""

    def __init__(self, fd: int, members: dict[str, Member], promised: Promised) -> None:
        self._fd = fd
        self._members = members
        self._promised = promised

    def wheel(self, path: Path, filename: str) -> Wheel:
        """All of it, checked."""
        stem = self._stem()
        info = f"{stem}.dist-info"
        members = self._with_promises(info)
        self._check_format(info)
        self._check_name(info)
        declared = f"{info}/entry_points.txt"
        try:
            points = scripts.entry_points(self._read(declared)) if declared in self._members else ()
        except ValueError as problem:
            raise _Fault(str(problem)) from None
        return Wheel(path, filename, self._promised.name, stem, members, points)

    def _stem(self) -> str:
        tops = {path.partition("/")[0] for path in self._members if "/" in path}
        found = sorted(top.removesuffix(".dist-info") for top in tops if top.endswith(".dist-info"))
        if len(found) != 1:
            raise _Fault(f"it has {len(found)} .dist-info directories instead of one")
        name, _, version = found[0].partition("-")
        if canonicalize_name(name) != self._promised.name or not self._is_version(version):
            raise _Fault(f"inside it calls itself {found[0]}")
        return found[0]

    def _is_version(self, text: str) -> bool:
        try:
            return Version(text) == self._promised.version
        except InvalidVersion:
            return False

    def _with_promises(self, info: str) -> tuple[Member, ...]:
        own = f"{info}/RECORD"
        try:
            promises = record.parse(self._read(own))
        except ValueError as problem:
            raise _Fault(str(problem)) from None
        unpromised = {own, *(f"{info}/{name}" for name in _SIGNATURES)}
        for path in promises.keys() - self._members.keys() - unpromised:
            raise _Fault(f"RECORD lies: it lists {path}, which is not in the archive")
        return tuple(
            member if path in unpromised else _promised_member(member, promises.get(path))
            for path, member in self._members.items()
            if path != own
        )

    def _check_format(self, info: str) -> None:
        version = self._headers(f"{info}/WHEEL").get("Wheel-Version", "")
        if version.partition(".")[0].strip() != "1":
            raise _Fault(f"it has the wheel format version {version!r}; 1 is known")

    def _check_name(self, info: str) -> None:
        headers = self._headers(f"{info}/METADATA")
        name, version = headers.get("Name", "").strip(), headers.get("Version", "").strip()
        if canonicalize_name(name) != self._promised.name or not self._is_version(version):
            raise _Fault(f"its METADATA is that of {name} {version}")

    def _headers(self, path: str) -> dict[str, str]:
        """The header fields of a document; of a folded one the first line, which is all that is asked for."""
        head, _, _ = self._read(path).replace(b"\r\n", b"\n").partition(b"\n\n")
        lines = head.decode(errors="replace").split("\n")
        fields = (line.partition(":") for line in lines if not line.startswith((" ", "\t")))
        return {name: value.strip() for name, _, value in fields}

    def _read(self, path: str) -> bytes:
        member = self._members.get(path)
        if member is None:
            raise _Fault(f"it has no {path}")
        if member.size > _MAX_METADATA_BYTES:
            raise _Fault(f"{path} is {member.size} bytes")
        return read(self._fd, member)


def _promised_member(member: Member, promise: record.Promise | None) -> Member:
    if promise is None:
        raise _Fault(f"RECORD does not vouch for {member.path}")
    if promise.size not in {None, member.size}:
        raise _Fault(f"RECORD lies about {member.path}: it says {promise.size} bytes, there are {member.size}")
    return Member(
        member.path,
        member.raw_name,
        member.offset,
        member.compressed,
        member.size,
        member.crc,
        member.deflated,
        member.executable,
        promise.algorithm,
        promise.digest,
    )
