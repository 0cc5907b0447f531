"""Whatever somebody uploads, its archive is read or refused, whichever library finds out what is wrong with it."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.conda.archive import read_archive
from envproxy.conda.channel import parse_filename
from envproxy.errors import ClientError
from fixtures.conda_packages import make_conda

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.conda_packages import Package

PACKAGE = make_conda("alpha")
TARRED = make_conda("alpha", form=".tar.bz2")
DEFLATED, BZIPPED, XZIPPED = zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
ENTRY = b"PK\x01\x02"  # of the directory at the end of a zip
VERSION_NEEDED, FLAGS, METHOD = 6, 8, 10  # where in an entry
ENCRYPTED = 0x01


def zipped(package: Package, method: int) -> bytes:
    """The part of a package that is read, packed once more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package.data)) as inner, zipfile.ZipFile(buffer, "w", method) as outer:
        [name] = [name for name in inner.namelist() if name.startswith("info-")]
        outer.writestr(name, inner.read(name), method)
    return buffer.getvalue()


def with_entries_that_say(data: bytes, offset: int, value: int) -> bytes:
    """A zip whose directory says something else of every part."""
    changed, at = bytearray(data), data.find(ENTRY)
    while at >= 0:
        changed[at + offset] = value
        at = data.find(ENTRY, at + 1)
    return bytes(changed)


def damaged(data: bytes) -> bytes:
    """The first part of a zip with other bytes where its content begins."""
    start = 30 + int.from_bytes(data[26:28], "little")
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


def read(tmp_path: Path, package: Package, data: bytes) -> str:
    path = tmp_path / "upload"
    path.write_bytes(data)
    name = parse_filename(package.filename)
    assert name is not None
    return read_archive(path, name).subdir


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, DEFLATED, BZIPPED, XZIPPED])
def test_a_package_is_read_however_its_zip_is_packed(tmp_path: Path, method: int) -> None:
    assert read(tmp_path, PACKAGE, zipped(PACKAGE, method)) == "noarch"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(with_entries_that_say(PACKAGE.data, METHOD, 99), "compression method", id="another method"),
        pytest.param(
            with_entries_that_say(PACKAGE.data, VERSION_NEEDED, 200), "zip file version", id="a new version"
        ),
        pytest.param(with_entries_that_say(PACKAGE.data, FLAGS, ENCRYPTED), "encrypted", id="encrypted"),
        pytest.param(damaged(zipped(PACKAGE, DEFLATED)), "not a package", id="damaged deflate"),
        pytest.param(damaged(zipped(PACKAGE, XZIPPED)), "not a package", id="damaged xz"),
        pytest.param(damaged(zipped(PACKAGE, BZIPPED)), "not a package", id="damaged bzip2"),
    ],
)
def test_a_zip_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ClientError, match=says):
        read(tmp_path, PACKAGE, data)


CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)
BASES = {
    "stored": (PACKAGE, PACKAGE.data),
    "deflated": (PACKAGE, zipped(PACKAGE, DEFLATED)),
    "xzipped": (PACKAGE, zipped(PACKAGE, XZIPPED)),
    "bzipped": (PACKAGE, zipped(PACKAGE, BZIPPED)),
    "tarred": (TARRED, TARRED.data),
}


@pytest.mark.parametrize("base", BASES)
def test_a_package_with_any_bytes_changed_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, base: str
) -> None:
    package, data = BASES[base]
    directory = tmp_path_factory.mktemp("upload")

    @given(CHANGES)
    def is_read_or_refused(changes: list[tuple[int, int]]) -> None:
        changed = bytearray(data)
        for place, value in changes:
            changed[place % len(data)] = value
        try:
            assert read(directory, package, bytes(changed)) == "noarch"
        except ClientError:
            return

    is_read_or_refused()


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_package(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("upload")
    for package in (PACKAGE, TARRED):
        with pytest.raises(ClientError):
            read(directory, package, data)
