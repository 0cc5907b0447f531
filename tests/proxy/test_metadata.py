"""METADATA comes out of wheels of every shape in a few reads, and out of broken ones not at all."""

from __future__ import annotations

import asyncio
import io
import struct
import tracemalloc
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envproxy.errors import BadUpstreamBody, EnvproxyError, NoSuchThing, UpstreamError
from envproxy.pypi.metadata import MAX_METADATA_BYTES, extract, extract_from_file
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILENAME = "alpha-1.0-py3-none-any.whl"
MEMBER = "alpha-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\nName: Alpha\nVersion: 1.0.0\n\nA description.\n"
NOISE = make_wheel("noise", "1.0", payload_size=300_000).data


@dataclass
class CountingReader:
    data: bytes
    reads: list[tuple[int, int]] = field(default_factory=list)

    async def size(self) -> int:
        return len(self.data)

    async def read(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.data)
        self.reads.append((start, end))
        return self.data[start:end]


def zipped(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def stored() -> bytes:
    return zipped({"alpha.py": b"", MEMBER: METADATA}, method=zipfile.ZIP_STORED)


def deflated() -> bytes:
    return zipped({"alpha.py": b"", MEMBER: METADATA})


def longest_comment() -> bytes:
    return zipped({MEMBER: METADATA, "noise.bin": NOISE}, comment=b"c" * 65_535)


def metadata_first() -> bytes:
    return zipped({MEMBER: METADATA, "noise.bin": NOISE})


def metadata_last() -> bytes:
    return zipped({"noise.bin": NOISE, MEMBER: METADATA})


def many_members() -> bytes:
    return zipped({MEMBER: METADATA, "noise.bin": NOISE} | {f"alpha/module_{i:04}.py": b"" for i in range(3000)})


def behind_a_prefix() -> bytes:
    return NOISE[:200_000] + metadata_first()


def long_local_header() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(MEMBER)
        info.extra = struct.pack("<HH", 0x7777, 60_000) + bytes(60_000)
        archive.writestr(info, METADATA)
        archive.writestr("noise.bin", NOISE)
    return buffer.getvalue()


def data_descriptors() -> bytes:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, METADATA)
        archive.writestr("noise.bin", NOISE)
    return pipe.getvalue()


def zip64() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        data = metadata_first()
    assert b"PK\x06\x06" in data  # the zip64 end record
    return data


SHAPES: dict[Callable[[], bytes], int] = {
    stored: 1,
    deflated: 1,
    metadata_last: 1,
    metadata_first: 2,
    longest_comment: 3,
    zip64: 2,
    data_descriptors: 2,
    behind_a_prefix: 2,
    long_local_header: 2,
    many_members: 3,
}


@pytest.mark.parametrize(("shape", "reads"), SHAPES.items(), ids=[shape.__name__ for shape in SHAPES])
async def test_metadata_is_what_zipfile_reads_in_a_few_reads(shape: Callable[[], bytes], reads: int) -> None:
    reader = CountingReader(shape())
    with zipfile.ZipFile(io.BytesIO(reader.data)) as archive:
        expected = archive.read(MEMBER)
    assert await extract(reader, filename=FILENAME) == expected == METADATA
    assert len(reader.reads) == reads


async def test_little_more_than_the_metadata_is_read_of_a_large_wheel() -> None:
    reader = CountingReader(make_wheel("alpha", "1.0", payload_size=5_000_000).data)
    await extract(reader, filename=FILENAME)
    assert sum(end - start for start, end in reader.reads) < 200_000


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.__name__ for shape in SHAPES])
def test_a_local_file_of_any_name_gives_the_same(shape: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(shape())
    assert extract_from_file(path, filename=FILENAME) == METADATA


async def test_a_vendored_dist_info_deeper_in_the_wheel_is_not_its_metadata() -> None:
    wheel = zipped({"alpha/_vendor/beta-2.0.dist-info/METADATA": b"Name: beta", MEMBER: METADATA})
    assert await extract(CountingReader(wheel), filename=FILENAME) == METADATA


@pytest.mark.parametrize(
    ("directory", "filename"),
    [
        ("Foo.Bar-1.0.dist-info", "foo_bar-1.0-py3-none-any.whl"),
        ("foo-bar-1.0.0.dist-info", "foo_bar-1.0-py3-none-any.whl"),
        ("foo_bar-1.0.dist-info", "Foo_Bar-1.0-1-py3-none-any.whl"),
    ],
)
async def test_spellings_of_the_same_name_and_version_agree(directory: str, filename: str) -> None:
    metadata = b"Metadata-Version: 2.1\nName: foo-BAR\nVersion: 1.0\n"
    wheel = zipped({f"{directory}/METADATA": metadata})
    assert await extract(CountingReader(wheel), filename=filename) == metadata


def with_flag(data: bytes, flag: int) -> bytes:
    # The general purpose flags stand at 6 in the local header and at 8 in the central one.
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(signature) + offset] |= flag
    return bytes(changed)


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MEMBER, METADATA)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(MEMBER, METADATA)
    return buffer.getvalue()


def before_the_start(data: bytes) -> bytes:
    # A directory that claims to lie 1000 bytes later than it does moves every member 1000 bytes to the front.
    (offset,) = struct.unpack_from("<L", data, len(data) - 6)
    return data[:-6] + struct.pack("<L", offset + 1000) + data[-2:]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (make_wheel("alpha", "1.0", lie_about_name="evil").data, "calls itself 'evil' '1.0' inside"),
        (make_wheel("alpha", "1.1").data, "calls itself 'alpha' '1.1' inside"),
        (zipped({MEMBER: METADATA.replace(b"Alpha", b"evil")}), "calls itself 'evil' '1.0.0' inside"),
        (zipped({MEMBER: b"Name: alpha\nVersion: " + b"1" * 5000}), "calls itself 'alpha' '1111"),
        (zipped({MEMBER: b""}), "calls itself '' '' inside"),
        (zipped({MEMBER: METADATA, "beta-1.0.dist-info/METADATA": METADATA}), "has 2 METADATA"),
        (twice(), "has 2 METADATA"),
        (zipped({MEMBER: METADATA}, method=zipfile.ZIP_BZIP2), "by method 12"),
        (zipped({MEMBER: bytes(MAX_METADATA_BYTES + 1)}), "METADATA of 10485761 bytes"),
        (with_flag(zipped({MEMBER: METADATA}), 0x01), "encrypted"),
        (stored().replace(b"A description", b"A desXription"), "Bad CRC-32"),
        (before_the_start(deflated()), "before the start"),
        (metadata_first()[:-30], "not a zip file"),
        (b"<h1>Sign in</h1>", "not a zip file"),
        (b"", "is empty"),
    ],
    ids=[
        "another name",
        "another version",
        "another name in METADATA",
        "a version of 5000 digits",
        "empty METADATA",
        "two dist-infos",
        "one member twice",
        "bzip2",
        "too large",
        "encrypted",
        "wrong checksum",
        "before the start",
        "cut off",
        "a login page",
        "nothing",
    ],
)
async def test_a_wheel_that_is_not_what_its_name_says_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadUpstreamBody) as refused:
        await extract(CountingReader(data), filename=FILENAME)
    assert says in refused.value.message
    assert FILENAME in refused.value.message


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (zipped({"alpha.py": b""}), FILENAME, "has no METADATA"),
        (deflated(), "alpha-1.0.tar.gz", "not called like a wheel"),
    ],
    ids=["a wheel without", "an sdist"],
)
async def test_metadata_that_is_not_there_is_a_definite_absence(data: bytes, filename: str, says: str) -> None:
    with pytest.raises(NoSuchThing, match=says):
        await extract(CountingReader(data), filename=filename)


def understated(data: bytes, true_size: int, said_size: int) -> bytes:
    return data.replace(struct.pack("<L", true_size), struct.pack("<L", said_size))


async def test_a_bomb_that_understates_its_size_is_refused_without_being_inflated() -> None:
    size = 64 << 20
    bomb = understated(zipped({MEMBER: METADATA + bytes(size - len(METADATA))}), size, 1000)
    tracemalloc.start()
    with pytest.raises(BadUpstreamBody, match="Bad CRC-32"):
        await extract(CountingReader(bomb), filename=FILENAME)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


async def test_a_central_directory_of_the_whole_file_is_not_fetched() -> None:
    data = bytes(32 << 20) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 32 << 20, 0, 0)
    reader = CountingReader(data)
    with pytest.raises(BadUpstreamBody, match="cannot be read in part"):
        await extract(reader, filename=FILENAME)
    assert len(reader.reads) == 1


async def test_a_reader_that_gives_less_than_asked_is_not_believed() -> None:
    class Short(CountingReader):
        async def read(self, start: int, end: int) -> bytes:
            return self.data[start : end - 1]

    with pytest.raises(BadUpstreamBody, match=r"bytes 0-\d+ are \d+ bytes"):
        await extract(Short(deflated()), filename=FILENAME)


async def test_errors_of_the_reader_pass() -> None:
    class Down(CountingReader):
        async def read(self, start: int, end: int) -> bytes:
            raise UpstreamError("the index is down", cause="connect")

    with pytest.raises(UpstreamError, match="the index is down"):
        await extract(Down(deflated()), filename=FILENAME)


def outcome(data: bytes) -> bytes | None:
    try:
        return asyncio.run(extract(CountingReader(data), filename=FILENAME))
    except EnvproxyError:
        return None


WHEEL = make_wheel("alpha", "1.0").data


@settings(max_examples=300)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(WHEEL) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, len(WHEEL)),
    inserted=st.binary(max_size=8),
)
def test_a_mutated_wheel_gives_what_zipfile_reads_or_one_of_our_errors(
    edits: list[tuple[int, int]], cut: int, inserted: bytes
) -> None:
    changed = bytearray(WHEEL)
    for position, value in edits:
        changed[position] = value
    data = bytes(changed[:cut] + inserted + changed[cut:])
    found = outcome(data)
    if found is not None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert found == archive.read(MEMBER)


@settings(max_examples=100)
@given(headers=st.binary(max_size=200), body=st.binary(max_size=50))
def test_metadata_of_arbitrary_bytes_passes_whole_or_is_refused(headers: bytes, body: bytes) -> None:
    metadata = b"Name: alpha\nVersion: 1.0\n" + headers + b"\n\n" + body
    assert outcome(zipped({MEMBER: metadata})) in (metadata, None)
