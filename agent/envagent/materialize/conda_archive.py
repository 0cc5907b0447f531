"""Unpacking a `.conda` or `.tar.bz2` (CEP 35, CEP 34) into a fresh directory, hashing as it goes.

Invariant: nothing is written outside the directory, through a symbolic link, or twice; nothing but regular files and
symbolic links that stay inside; no more bytes or files than the size of the archive allows. Files come out read-only
with the modification time of the archive, for the bytecode in a package names the time of its source. What the files
mean is not decided here (conda_package.py).
"""

from __future__ import annotations

import bz2
import hashlib
import os
import posixpath
import tarfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias, cast

import zstandard

from envagent.materialize.member import Damaged, write_all
from envagent.materialize.paths import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_CHUNK_BYTES = 1 << 20
_MAX_WINDOW_BYTES = 128 << 20  # zstd --ultra -22, the most that conda-build writes
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zstandard.ZstdError,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
)
_PARTS = ("info-", "pkg-")

Opened: TypeAlias = "Callable[[IO[bytes]], AbstractContextManager[Iterator[IO[bytes]]]]"
"""Finds the tar streams in an archive that stands at its start."""


class File(NamedTuple):
    """A regular file that was written. `size` is in bytes, the digest is raw bytes."""

    size: int
    executable: bool
    sha256: bytes


@dataclass
class Contents:
    """What was unpacked, by path: files, and links with their targets."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a package may unpack to: `members`, and `ratio` times its own size beyond the `free_bytes`."""

    members: int = 500_000
    ratio: int = 100
    free_bytes: int = 256 << 20


def unpack(archive: Path, root: Path, bounds: Bounds | None = None, *, opened: Opened | None = None) -> Contents:
    """Fill the empty directory `root`. `opened` finds the tar streams; without it those of a conda package.

    Raises Damaged; OSError of the disk passes.
    """
    bounds = bounds or Bounds()
    with ExitStack() as open_files:
        file = open_files.enter_context(archive.open("rb"))
        most = bounds.free_bytes + bounds.ratio * os.fstat(file.fileno()).st_size
        unpacking = _Unpacking(root, most, bounds.members)
        try:
            for part in open_files.enter_context((opened or _tars)(file)):
                stream = cast("IO[bytes]", _Bounded(part, unpacking))
                with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK_BYTES) as members:
                    for member in members:
                        unpacking.take(members, member)
        except _UNREADABLE as error:
            raise Damaged(f"it cannot be unpacked ({error})") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise Damaged(f"it cannot be unpacked ({error})") from None  # bz2 says so
    return unpacking.contents


@contextmanager
def _tars(file: IO[bytes]) -> Iterator[Iterator[IO[bytes]]]:
    """The tar streams of the package: one in a `.tar.bz2`, two in a `.conda`."""
    if file.read(3) == b"BZh":
        file.seek(0)
        with bz2.open(file) as tar:
            yield iter([cast("IO[bytes]", tar)])
        return
    with zipfile.ZipFile(file) as outer:
        parts = [name for name in outer.namelist() if name.startswith(_PARTS) and name.endswith(".tar.zst")]
        if len(parts) != len(_PARTS):
            raise Damaged(f"it has {len(parts)} parts instead of one of files and one of metadata")
        yield (_decompressed(outer.open(name)) for name in sorted(parts))


def _decompressed(part: IO[bytes]) -> IO[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    return cast("IO[bytes]", decompressor.stream_reader(part, read_size=_CHUNK_BYTES, read_across_frames=True))


class _Bounded:
    """A stream that gives no more than the archive may unpack to, whatever the headers inside it say."""

    def __init__(self, stream: IO[bytes], unpacking: _Unpacking) -> None:
        self._stream = stream
        self._unpacking = unpacking

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._unpacking.spend(len(data))
        return data


class _Unpacking:
    def __init__(self, root: Path, most_bytes: int, most_members: int) -> None:
        self.contents = Contents()
        self._root = str(root)
        self._left_bytes = most_bytes
        self._left_members = most_members
        self._directories = {""}

    def spend(self, size: int) -> None:
        """Count bytes against what is allowed."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise Damaged("it would unpack to more than 100 times its size, which is a bomb")

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Write one member."""
        self._left_members -= 1
        if self._left_members < 0:
            raise Damaged("it has too many files")
        path = member.name.removeprefix("./")
        if member.isdir():
            return
        if problem := fault(path):
            raise Damaged(f"{path!r} {problem}")
        self._make_directory(posixpath.dirname(path))
        try:
            self._write(archive, member, path)
        except FileExistsError:
            raise Damaged(f"{path} is there twice") from None

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.issym():
            self._link(path, member.linkname)
        elif member.islnk():
            self._same_file(path, member.linkname.removeprefix("./"))
        elif member.isreg():
            if member.issparse():
                self.spend(member.size)  # holes cost no bytes of the stream
            self.contents.files[path] = self._write_file(cast("IO[bytes]", archive.extractfile(member)), member, path)
        else:
            raise Damaged(f"{path} is neither a file nor a symbolic link")

    def _write_file(self, data: IO[bytes], member: tarfile.TarInfo, path: str) -> File:
        executable = bool(member.mode & 0o111)
        sha256, size = hashlib.sha256(), 0
        out = os.open(
            f"{self._root}/{path}",
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            0o555 if executable else 0o444,
        )
        try:
            while chunk := data.read(_CHUNK_BYTES):
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
        if path in self._directories:
            return
        self._make_directory(posixpath.dirname(path))
        try:
            os.mkdir(f"{self._root}/{path}")  # noqa: PTH102  # thousands: no Path per directory
        except FileExistsError:
            raise Damaged(f"{path} is a file and a directory") from None
        self._directories.add(path)
