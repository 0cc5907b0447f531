"""A tar stream, read forwards through one small buffer: tarfile gets the headers, contents are not copied.

The buffer stays in the processor's cache while its content is hashed and written, and a stream may be of any length.
Invariant: every header means what tarfile says that it means, save that a damaged one is an error and not the end;
the plain ones, which are nearly all, are read here because that is several times as fast. Whether a member may be
written is for untar.py to judge.
"""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING, Protocol, Self, cast

from envagent.materialize.member import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BUFFER_BYTES = 256 << 10
"""What is taken of a stream at a time: whole blocks of a tar."""

_PLAIN_TYPES = frozenset(tarfile.REGTYPE + tarfile.SYMTYPE)
_DAMAGED = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]  # its stub lacks them
_SPACES = 8 * ord(" ")  # what the field of a checksum counts as (POSIX ustar)


class Readable(Protocol):
    """What a decompressor is."""

    def readinto(self, buffer: bytearray, /) -> int:
        """Fill the buffer; how many bytes that were, 0 at the end."""


class Tar:
    """The members of a stream. `spend` is told of all bytes before anybody gets them, and may raise."""

    def __init__(self, stream: Readable, spend: Callable[[int], None]) -> None:
        self._stream = _Stream(stream, spend)
        self._tar = tarfile.TarFile.open(fileobj=cast("IO[bytes]", self._stream), mode="r:", tarinfo=_Header)

    @property
    def members(self) -> Iterable[tarfile.TarInfo]:
        """All, each to be read before the next is asked for. Raises tarfile.TarError."""
        return self._tar

    def content(self, member: tarfile.TarInfo) -> Iterator[bytes | memoryview]:
        """The bytes of a regular file, each piece good until the next. Raises Damaged or tarfile.TarError."""
        if member.issparse():
            file = cast("IO[bytes]", self._tar.extractfile(member))
            while chunk := file.read(BUFFER_BYTES):
                yield chunk
            return
        self._stream.seek(member.offset_data)
        left = member.size
        for piece in self._stream.pieces(left):
            left -= len(piece)
            yield piece
        if left:
            raise Damaged(f"{member.name} is cut off")


class _Stream:
    """A file that is only read forwards."""

    def __init__(self, stream: Readable, spend: Callable[[int], None]) -> None:
        self._stream = stream
        self._spend = spend
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # what of the buffer nobody has had
        self._position = 0

    def tell(self) -> int:
        """The bytes before this place."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on to there, or to the end. Raises tarfile.StreamError."""
        if position < self._position:
            raise tarfile.StreamError("it would have to be read backwards")
        for _ in self.pieces(position - self._position):
            pass

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        return b"".join([bytes(piece) for piece in self.pieces(size)])

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The same, each piece good until the next."""
        while size > 0 and self._fill():
            start = self._start
            self._start = min(start + size, self._end)
            taken = self._start - start
            self._position += taken
            size -= taken
            yield self._view[start : self._start]

    def peek(self, size: int) -> bytes:
        """The next bytes, left where they are; fewer at the end and before a refill."""
        self._fill()
        return bytes(self._view[self._start : min(self._start + size, self._end)])

    def skip(self, size: int) -> None:
        """Go beyond what `peek` gave."""
        self._start += size
        self._position += size

    def _fill(self) -> bool:
        """Whether there is anything left."""
        if self._start == self._end:
            self._start, self._end = 0, self._stream.readinto(self._buffer)
            self._spend(self._end)
        return self._end > 0


class _Header(tarfile.TarInfo):
    """A header of which only what matters here is read, where it is a plain one."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header; where tarfile would take a damaged one for the end, raises tarfile.ReadError."""
        stream = cast("_Stream", archive.fileobj)
        header = None if archive.pax_headers else cls._plain(stream.peek(tarfile.BLOCKSIZE), archive)
        if header is None:
            try:
                return super().fromtarfile(archive)
            except _DAMAGED as error:
                raise tarfile.ReadError(str(error)) from None
        header.offset = stream.tell()
        stream.skip(tarfile.BLOCKSIZE)
        header.offset_data = stream.tell()
        blocks = -(-header.size // tarfile.BLOCKSIZE) if header.type == tarfile.REGTYPE else 0
        archive.offset = header.offset_data + blocks * tarfile.BLOCKSIZE  # where `next` goes on
        return header

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A negative size would make tarfile read the same header for ever (CVE-2025-8194)."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise tarfile.InvalidHeaderError("negative size")  # type: ignore[attr-defined]  # its stub lacks it
        return header

    @classmethod
    def _plain(cls, block: bytes, archive: tarfile.TarFile) -> Self | None:
        """A regular file or symbolic link whose name is in one piece (POSIX ustar); None for all else."""
        if len(block) < tarfile.BLOCKSIZE or block[156] not in _PLAIN_TYPES or block[257:262] != b"ustar":
            return None
        if block[345] or (block[100] | block[124] | block[136]) & 0x80:
            return None
        try:
            checksum, mode = _octal(block[148:156]), _octal(block[100:108])
            size, mtime = _octal(block[124:136]), _octal(block[136:148])
        except ValueError:
            return None
        if size < 0 or checksum != sum(block) - sum(block[148:156]) + _SPACES:
            return None
        encoding, errors = archive.encoding or "utf-8", archive.errors
        header = cls(block[:100].partition(b"\0")[0].decode(encoding, errors))
        header.mode, header.size, header.mtime = mode, size, mtime
        header.type = block[156:157]
        header.linkname = block[157:257].partition(b"\0")[0].decode(encoding, errors)
        return header


def _octal(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)
