"""Blobs on a local disk, named by their SHA-256: plain files that an operator can read, copy and check.

    root/blobs/sha256/ab/abcd...   verified bytes; being here is the promise that the name is the digest
    root/partial/<uuid>            bytes on their way in
    root/quarantine/<sha256>       what a scrub found corrupt; the operator's to look at and to delete

A blob becomes visible by one rename, after its digest matched and its bytes were synced, so a process killed at any
byte leaves a store that is right. Everything here blocks: call it in threads. The store knows no budget (`evict`) and
no names (`catalog`), and never repairs (`scrub`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from envproxy.errors import DigestMismatch, StorageFull

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHARDS = [f"{number:02x}" for number in range(256)]
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What an OSError says when a disk takes no more."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as the disk knows it: `size` in bytes, `mtime` in seconds since the epoch."""

    sha256: str
    size: int
    mtime: float


def disk_free(root: Path) -> int:
    """Bytes that an unprivileged process may still write to the disk under `root`."""
    return shutil.disk_usage(root).free


class BlobStore:
    """See the module. Several processes may share one root."""

    def __init__(self, root: Path, *, free_bytes: Callable[[Path], int] = disk_free) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._partials = root / "partial"
        self._quarantine = root / "quarantine"
        self._free_bytes = free_bytes

    def __repr__(self) -> str:
        return f"<BlobStore {self.root}>"

    def prepare(self) -> None:
        """Make the directories, and `sweep`."""
        for shard in _SHARDS:
            (self._blobs / shard).mkdir(parents=True, exist_ok=True)
        self._partials.mkdir(exist_ok=True)
        self._quarantine.mkdir(exist_ok=True)
        self.sweep()

    def sweep(self) -> int:
        """Remove the partials of dead processes, return how many there were; those of living ones stay."""
        return sum([_remove_unless_locked(leftover) for leftover in self._partials.iterdir()])

    def path(self, sha256: str) -> Path:
        """Where the blob is, or would be. Raises ValueError for anything but 64 lower-case hex digits."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
        return self._blobs / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """Bytes of the blob, None if it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def create_partial(self) -> Partial:
        """A place for bytes on their way in. On a disk too full for that, one that is `full` from the start."""
        while True:
            path = self._partials / uuid.uuid4().hex
            try:
                file = _Descriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
            except OSError as error:
                if error.errno not in FULL:
                    raise
                return Partial(self, path, _Descriptor(os.open(os.devnull, os.O_RDWR)), full=True)
            # Another process may sweep between our open and our lock; then it holds the lock or the name is gone.
            if _locked(file.fd) and os.fstat(file.fd).st_nlink:
                return Partial(self, path, file)

    def put_bytes(self, data: bytes) -> str:
        """Store a small body, return its SHA-256. Raises StorageFull."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.size(sha256) == len(data):
            return sha256
        partial = self.create_partial()
        try:
            partial.append(data)
            return partial.commit(sha256)
        finally:
            partial.close()

    def delete(self, sha256: str) -> int:
        """Remove the blob, return the bytes freed, 0 if it was not here. Whoever has it open reads on."""
        path = self.path(sha256)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def walk(self) -> Iterator[StoredBlob]:
        """Every visible blob, in no order. Blobs that come or go meanwhile may be missed."""
        for shard in _SHARDS:
            with os.scandir(self._blobs / shard) as entries:
                for entry in entries:
                    if _SHA256.fullmatch(entry.name):
                        with contextlib.suppress(FileNotFoundError):  # evicted since scandir
                            status = entry.stat(follow_symlinks=False)
                            yield StoredBlob(entry.name, status.st_size, status.st_mtime)

    def free_bytes(self) -> int:
        """Bytes that the disk still takes."""
        return self._free_bytes(self.root)

    def quarantine(self, sha256: str) -> None:
        """Move a corrupt blob aside; it is invisible from then on. Raises FileNotFoundError if it is not here."""
        self.path(sha256).replace(self._quarantine / sha256)


class Partial:
    """Bytes on their way into the store: one writer, any number of readers beside it.

    Once the disk refused a write, `full` is true: `append` only hashes, `stored` stands still, `commit` verifies and
    then raises StorageFull. The lock on the file tells other processes that its writer lives.
    """

    def __init__(self, store: BlobStore, path: Path, file: _Descriptor, *, full: bool = False) -> None:
        self.seen = 0  # bytes hashed
        self.stored = 0  # contiguous bytes on disk
        self.full = full
        self._store = store
        self._path = path
        self._file: _Descriptor | None = file
        self._hash = hashlib.sha256()
        self._settled = False  # committed or discarded: the name in partial/ is gone

    def __repr__(self) -> str:
        return f"<Partial {self._path.name}: {self.stored} of {self.seen} bytes stored>"

    @property
    def path(self) -> Path:
        """Where the stored bytes are until `commit` or `discard`, for who must read a file by its name."""
        return self._path

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Hash and write. A full disk sets `full` and raises nothing; other OSErrors are raised."""
        assert not self._settled, "append after commit or discard"
        rest = memoryview(data).cast("B")
        self._hash.update(rest)
        self.seen += len(rest)
        try:
            while rest and not self.full:
                written = os.pwrite(self._open_file().fd, rest, self.stored)
                self.stored += written
                rest = rest[written:]
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.full = True

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` stored bytes from `offset` on, also after `commit` and `discard`, until `close`."""
        file = self._open_file()  # a reference of our own: a close() from another thread waits for us
        return os.pread(file.fd, count, offset)

    def digest(self) -> str:
        """The SHA-256 of everything seen so far."""
        return self._hash.hexdigest()

    def commit(self, expected: str | None) -> str:
        """Make the bytes a visible blob and return its SHA-256.

        Raises DigestMismatch if it is not `expected`, StorageFull if the disk had no room; the bytes are discarded
        then. A blob of the same name and size stays, so that its readers and the page cache keep theirs.
        """
        assert not self._settled, "commit after commit or discard"
        digest = self.digest()
        try:
            if expected is not None and digest != expected:
                raise DigestMismatch(f"{self.seen} bytes have SHA-256 {digest}, expected {expected}")
            if self.full:
                raise StorageFull(f"the disk had room for {self.stored} of {self.seen} bytes of {digest}")
            if self._store.size(digest) != self.seen:
                self._publish(digest)
        finally:
            self.discard()
        return digest

    def discard(self) -> None:
        """Give up what was not committed. The disk gets the room back at `close`."""
        if not self._settled:
            self._settled = True
            self._path.unlink(missing_ok=True)  # never made on a full disk, moved by a commit

    def close(self) -> None:
        """Discard unless committed, and let go of the file as soon as no read uses it."""
        self.discard()
        self._file = None

    def _publish(self, digest: str) -> None:
        blob = self._store.path(digest)
        try:
            os.fsync(self._open_file().fd)
            self._path.replace(blob)
            _sync_directory(blob.parent)
        except OSError as error:
            if error.errno not in FULL:  # a delayed allocation or a growing directory may hit the limit here
                raise
            raise StorageFull(f"the disk had no room to publish {digest}") from error

    def _open_file(self) -> _Descriptor:
        if self._file is None:
            raise ValueError(f"{self._path.name} is closed")
        return self._file


class _Descriptor:
    """An open file that closes when its last holder lets go: never under a read that runs in another thread."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unless_locked(leftover: Path) -> bool:
    try:
        file = _Descriptor(os.open(leftover, os.O_RDWR))
    except FileNotFoundError:  # committed since the directory was read
        return False
    if not _locked(file.fd):
        return False
    leftover.unlink(missing_ok=True)
    return True


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
