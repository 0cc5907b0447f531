"""One member of an archive and how its bytes become a file: read, inflate, check, write.

Native codecs do the work: libdeflate in one call for small members, ISA-L as a stream for the others, in blocks that
stay in the processor's cache while they are checked, hashed and written. Invariant: what a file holds when `write`
returns has the length and CRC-32 that the zip directory states and the digest that RECORD promises. Nothing here
decides where a file belongs.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import deflate
import msgspec
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ONE_SHOT_BYTES = 1 << 20
"""Above this a member is streamed: what is read again (to hash, to write) is in the cache still."""

NOT_A_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, RuntimeError, ValueError)
"""What zipfile raises over arbitrary bytes; NotImplementedError is a RuntimeError, a decoding error a ValueError."""

_READ_BYTES = 64 << 10
_BLOCK_BYTES = 256 << 10
_HEAD_BYTES = 4 << 10
_EXTRA_BYTES = 64  # what the extra field of a local header is likely to be shorter than
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature ... length of the name, length of the extra field
_LOCAL_SIGNATURE = b"PK\x03\x04"


class Damaged(Exception):
    """The member is not what the zip directory or RECORD says; the message is for a person and names it."""


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file of an archive. Offsets and sizes are in bytes, `raw_name` is as written in the zip.

    `algorithm` and `digest` are RECORD's promise, both empty for the few files that go without.
    """

    path: str
    raw_name: bytes
    offset: int
    compressed: int
    size: int
    crc: int
    deflated: bool
    executable: bool
    algorithm: str = ""
    digest: bytes = b""

    @property
    def end(self) -> int:
        """A bound from below of where the next member may start: the extra field of the local header is unknown."""
        return self.offset + _LOCAL_HEADER.size + len(self.raw_name) + self.compressed


def read(fd: int, member: Member) -> bytes:
    """The checked content of a member that fits in memory. Raises Damaged; OSError passes."""
    data = _content(fd, member)
    _check_promise(member, data, hashlib.sha256(data).digest())
    return bytes(data)


def starts_with(fd: int, member: Member, prefix: bytes) -> bool:
    """Whether the content starts so; nothing of it is checked. Raises Damaged; OSError passes."""
    block = os.pread(fd, min(member.end - member.offset, _HEAD_BYTES) + _EXTRA_BYTES, member.offset)
    packed = block[_data_offset(block, member) :][: member.compressed]
    if not member.deflated:
        return packed.startswith(prefix)
    try:
        return isal_zlib.decompressobj(wbits=-15).decompress(packed, len(prefix)) == prefix
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub calls it an instance
        raise Damaged(f"{member.path} does not inflate ({error})") from None


def write(fd: int, member: Member, target: str, *, prove: bool = True) -> bytes:
    """Write a member to a new read-only file and return the SHA-256 of its content.

    Without `prove` a SHA-256 that RECORD promises is returned as it is; length and CRC-32 are checked in any case.

    Raises Damaged, and what is written is then to be thrown away; OSError passes (also where the file exists).
    """
    out = _open_new(target, executable=member.executable)
    try:
        if max(member.size, member.compressed) > MAX_ONE_SHOT_BYTES:
            return _write_stream(fd, member, out, prove=prove)
        data = _content(fd, member)
        write_all(out, data)
        if not prove and member.algorithm == "sha256":
            return member.digest
        digest = hashlib.sha256(data).digest()
        _check_promise(member, data, digest)
        return digest
    finally:
        os.close(out)


def write_new(target: str, data: bytes, *, executable: bool) -> None:
    """Write a new read-only file. OSError passes (also where the file exists)."""
    out = _open_new(target, executable=executable)
    try:
        write_all(out, data)
    finally:
        os.close(out)


def _open_new(target: str, *, executable: bool) -> int:
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o555 if executable else 0o444)


def _content(fd: int, member: Member) -> bytes | bytearray:
    """The content, by one read of the local header and the bytes after it, or two where the extra field is long."""
    block = memoryview(os.pread(fd, member.end - member.offset + _EXTRA_BYTES, member.offset))
    start = _data_offset(block, member)
    packed = block[start : start + member.compressed]
    if len(packed) < member.compressed:
        packed = memoryview(os.pread(fd, member.compressed, member.offset + start))
    return inflate(member, packed)


def inflate(member: Member, packed: memoryview) -> bytes | bytearray:
    """The content of a member given its bytes in the archive, length and CRC-32 checked. Raises Damaged."""
    if len(packed) != member.compressed:
        raise Damaged(f"{member.path} is cut off")
    data: bytes | bytearray
    if not member.deflated:
        data = bytes(packed)
    else:
        try:
            data = deflate.deflate_decompress(packed, member.size)
        except (deflate.DeflateError, ValueError) as error:
            raise Damaged(f"{member.path} does not inflate ({error})") from None
    _check_zip(member, len(data), isal_zlib.crc32(data))
    return data


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of it: a single write(2) ends at 2 GiB and may end sooner."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _data_offset(header: bytes | memoryview, member: Member) -> int:
    """Where the bytes start, from the local header: it must name the same file as the directory does."""
    if len(header) < _LOCAL_HEADER.size:
        raise Damaged(f"{member.path} is cut off")
    signature, name_length, extra_length = _local_header(header)
    name = header[_LOCAL_HEADER.size : _LOCAL_HEADER.size + len(member.raw_name)]
    if signature != _LOCAL_SIGNATURE or name_length != len(member.raw_name) or name != member.raw_name:
        raise Damaged(f"{member.path} has another name in the archive's directory than before its bytes")
    return _LOCAL_HEADER.size + name_length + extra_length


def _local_header(header: bytes | memoryview) -> tuple[bytes, int, int]:
    return _LOCAL_HEADER.unpack_from(header)


def _write_stream(fd: int, member: Member, out: int, *, prove: bool) -> bytes:
    is_believed = not prove and member.algorithm == "sha256"
    content = hashlib.sha256()
    promised = hashlib.new(member.algorithm) if member.algorithm not in {"", "sha256"} else content
    crc, size = 0, 0
    for data in _inflated(fd, member):
        size += len(data)
        if size > member.size:
            break
        crc = isal_zlib.crc32(data, crc)
        if not is_believed:
            content.update(data)
        if promised is not content:
            promised.update(data)
        write_all(out, data)
    _check_zip(member, size, crc)
    if is_believed:
        return member.digest
    if member.algorithm and promised.digest() != member.digest:
        raise _lie(member)
    return content.digest()


def _inflated(fd: int, member: Member) -> Iterator[bytes]:
    header = os.pread(fd, _LOCAL_HEADER.size + len(member.raw_name), member.offset)
    start = member.offset + _data_offset(header, member)
    stream = isal_zlib.decompressobj(wbits=-15) if member.deflated else None
    for position in range(0, member.compressed, _READ_BYTES):
        packed = os.pread(fd, min(_READ_BYTES, member.compressed - position), start + position)
        if stream is None:
            yield packed
            continue
        while packed:
            try:
                yield stream.decompress(packed, _BLOCK_BYTES)
            except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub calls it an instance
                raise Damaged(f"{member.path} does not inflate ({error})") from None
            packed = stream.unconsumed_tail


def _check_zip(member: Member, size: int, crc: int) -> None:
    if size != member.size:
        raise Damaged(f"{member.path} is not the {member.size} bytes that the archive's directory states")
    if crc != member.crc:
        raise Damaged(f"{member.path} is damaged (its CRC-32 does not match)")


def _check_promise(member: Member, data: bytes | bytearray, sha256: bytes) -> None:
    if member.algorithm:
        found = sha256 if member.algorithm == "sha256" else hashlib.new(member.algorithm, data).digest()
        if found != member.digest:
            raise _lie(member)


def _lie(member: Member) -> Damaged:
    return Damaged(f"RECORD lies about {member.path}: its {member.algorithm} is another")
