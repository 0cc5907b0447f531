"""Unpacking tar streams of an archive into an empty directory, hashing as it goes.

Invariant: nothing is written outside the directory, through a symbolic link, or twice; nothing but regular files and
symbolic links that stay inside; no more bytes or files than the size of the archive allows. Files come out read-only
with the modification time of the archive, for bytecode in a package names the time of its source. What the files
mean, and which archive has which streams, is for others to know (conda_archive.py, standalone.py).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, NamedTuple

import zstandard

from envagent.materialize.member import NOT_A_ZIP, Damaged, write_all
from envagent.materialize.paths import fault
from envagent.materialize.tar_stream import Readable, Tar

if TYPE_CHECKING:
    from pathlib import Path

Opened = Callable[[IO[bytes]], AbstractContextManager[Iterable[Readable]]]
"""The tar streams of an open archive. What it raises of zipfile, zstandard, bz2 or gzip becomes Damaged."""

MAX_WINDOW_BYTES = 128 << 20
"""The memory that a zstd stream may want: that of `--ultra -22`, the most that packers use."""

_MAX_DOCUMENT_BYTES = 64 << 20
_UNREADABLE = (tarfile.TarError, zstandard.ZstdError, *NOT_A_ZIP)


class File(NamedTuple):
    """A regular file that was written. `size` is in bytes, the digest is raw bytes."""

    size: int
    executable: bool
    sha256: bytes


@dataclass
class Contents:
    """What was unpacked, by path: files, links with their targets, the directories of both, documents' content."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    documents: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may unpack to: `members`, and `ratio` times its own size beyond the `free_bytes`."""

    members: int = 500_000
    ratio: int = 100
    free_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Metadata:
    """Files below `folder` are not written; those of `documents` are read."""

    folder: str
    documents: frozenset[str]


def untar(
    archive: Path, root: Path, opened: Opened, *, metadata: Metadata | None = None, bounds: Bounds | None = None
) -> Contents:
    """Fill the empty directory `root` from the streams that `opened` finds in the archive (blocking).

    Raises Damaged; OSError of the disk passes.
    """
    bounds = bounds or Bounds()
    with ExitStack() as open_files:
        file = open_files.enter_context(archive.open("rb"))
        most = bounds.free_bytes + bounds.ratio * os.fstat(file.fileno()).st_size
        unpacking = _Unpacking(root, metadata, most, bounds.members)
        try:
            for stream in open_files.enter_context(opened(file)):
                tar = Tar(stream, unpacking.spend)
                for member in tar.members:
                    unpacking.take(tar, member)
        except _UNREADABLE as error:
            raise Damaged(f"it cannot be unpacked ({error})") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise Damaged(f"it cannot be unpacked ({error})") from None  # bz2 and gzip say so
    return unpacking.contents


class _Unpacking:
    def __init__(self, root: Path, metadata: Metadata | None, most_bytes: int, most_members: int) -> None:
        self.contents = Contents()
        self._root = str(root)
        self._metadata = metadata
        self._left_bytes = most_bytes
        self._left_members = most_members

    def spend(self, size: int) -> None:
        """Count bytes against what is allowed."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise Damaged("it would unpack to far more than its size, which is a bomb")

    def take(self, tar: Tar, member: tarfile.TarInfo) -> None:
        """Write one member."""
        self._left_members -= 1
        if self._left_members < 0:
            raise Damaged("it has too many files")
        path = member.name.removeprefix("./")
        if member.size < 0:  # of a pax header, which no reader of blocks sees
            raise Damaged(f"{path} has a negative size")
        if member.isdir():
            return
        if problem := fault(path):
            raise Damaged(f"{path!r} {problem}")
        if self._metadata and path.startswith(f"{self._metadata.folder}/"):
            if path in self._metadata.documents:
                self._read(tar, member, path)
            return
        self._make_directory(posixpath.dirname(path))
        try:
            self._write(tar, member, path)
        except FileExistsError:
            raise Damaged(f"{path} is there twice") from None

    def _read(self, tar: Tar, member: tarfile.TarInfo, path: str) -> None:
        if path in self.contents.documents or not member.isreg() or member.size > _MAX_DOCUMENT_BYTES:
            raise Damaged(f"{path} is there twice, or no file of a size that such a file has")
        self.contents.documents[path] = b"".join([bytes(piece) for piece in tar.content(member)])

    def _write(self, tar: Tar, member: tarfile.TarInfo, path: str) -> None:
        if member.issym():
            self._link(path, member.linkname)
        elif member.islnk():
            self._same_file(path, member.linkname.removeprefix("./"))
        elif member.isreg():
            if member.issparse():
                self.spend(member.size)  # holes cost no bytes of the stream
            self.contents.files[path] = self._write_file(tar.content(member), member, path)
        else:
            raise Damaged(f"{path} is neither a file nor a symbolic link")

    def _write_file(self, chunks: Iterator[bytes | memoryview], member: tarfile.TarInfo, path: str) -> File:
        executable = bool(member.mode & 0o111)
        sha256, size = hashlib.sha256(), 0
        out = os.open(
            f"{self._root}/{path}",
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            0o555 if executable else 0o444,
        )
        try:
            for chunk in chunks:
                sha256.update(chunk)
                write_all(out, chunk)
                size += len(chunk)
            seconds = max(0, min(int(member.mtime), 1 << 32))
            os.utime(out, (seconds, seconds))
        finally:
            os.close(out)
        return File(size, executable, sha256.digest())

    def _link(self, path: str, target: str) -> None:
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not target:
            raise Damaged(f"{path} is a symbolic link to nothing")
        if target.startswith("/") or there.startswith("../") or there == "..":
            raise Damaged(f"{path} is a symbolic link that leaves the package (to {target!r})")
        os.symlink(target, f"{self._root}/{path}")  # noqa: PTH211  # reads like ln -s
        self.contents.links[path] = target

    def _same_file(self, path: str, other: str) -> None:
        if other not in self.contents.files:
            raise Damaged(f"{path} is a hardlink to {other!r}, which is no file before it")
        os.link(f"{self._root}/{other}", f"{self._root}/{path}")
        self.contents.files[path] = self.contents.files[other]

    def _make_directory(self, path: str) -> None:
        if not path or path in self.contents.directories:
            return
        self._make_directory(posixpath.dirname(path))
        try:
            os.mkdir(f"{self._root}/{path}")  # noqa: PTH102  # thousands: no Path per directory
        except FileExistsError:
            raise Damaged(f"{path} is a file and a directory") from None
        self.contents.directories.add(path)
