"""What an uploaded wheel or sdist says of itself, and whether its filename tells the same.

The file is the authority, not the form it came with: name, version and Requires-Python on a page must be those that
an installer finds inside. Eggs and installers (`.egg`, `.exe`, `.msi`) are not accepted, as on PyPI. Nothing of an
archive is ever extracted, and of a sdist no more is read than lies before its PKG-INFO.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import RawMetadata, parse_email
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envproxy.errors import BadUpstreamBody, ClientError, NoSuchThing

from .metadata import MAX_METADATA_BYTES, extract_from_file
from .names import normalize, version_of

_MAX_SDIST_BYTES = 4 << 30  # unpacked, before PKG-INFO: no real sdist comes near, a gzip bomb does
_MEMBER = "/PKG-INFO"
_NOT_AN_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,  # among them gzip.BadGzipFile
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A release file: project (PEP 503) and version (PEP 440) in normal form; `metadata` is METADATA or PKG-INFO."""

    filename: str
    project: str
    version: str
    requires_python: str | None
    metadata: bytes

    @property
    def is_wheel(self) -> bool:
        """Whether installers can have the metadata without the file (PEP 658)."""
        return self.filename.endswith(".whl")


def read_distribution(path: Path, filename: str) -> Distribution:
    """Read the file at `path`, uploaded as `filename` (blocking). Raises ClientError with what is wrong with it."""
    if filename.endswith(".whl"):
        return _read_wheel(path, filename)
    if filename.endswith((".tar.gz", ".zip")):
        return _read_sdist(path, filename)
    raise ClientError(f"{filename} is neither a wheel nor a sdist", hint="upload .whl, .tar.gz or .zip files")


def _read_wheel(path: Path, filename: str) -> Distribution:
    try:
        metadata = extract_from_file(path, filename=filename)
    except (NoSuchThing, BadUpstreamBody) as error:
        raise ClientError(error.message, hint=error.hint or "build it again") from error
    name, version, _, _ = parse_wheel_filename(filename)
    headers, _ = parse_email(metadata)
    return Distribution(filename, name, str(version), _requires_python(headers, filename), metadata)


def _read_sdist(path: Path, filename: str) -> Distribution:
    metadata = _pkg_info(path, filename)
    headers, _ = parse_email(metadata)
    name, version = headers.get("name", ""), headers.get("version", "")
    project = normalize(name)
    if version_of(filename, project) != _normal(version, filename):
        raise ClientError(
            f"{filename} calls itself {name[:100]!r} {version[:100]!r} inside",
            hint="name it {name}-{version}.tar.gz (PEP 625)",
        )
    return Distribution(filename, project, _normal(version, filename), _requires_python(headers, filename), metadata)


def _pkg_info(path: Path, filename: str) -> bytes:
    """The PKG-INFO of a sdist, which is in its one top-level directory (PEP 643)."""
    try:
        with closing(_members(path, filename)) as members:
            found = next((data for name, data in members if name.count("/") == 1), None)
    except _NOT_AN_ARCHIVE as error:
        raise ClientError(f"{filename} is a damaged sdist: {error}", hint="build it again") from error
    if found is None:
        raise ClientError(f"{filename} has no PKG-INFO", hint="build it with a PEP 517 frontend: python -m build")
    return found


def _members(path: Path, filename: str) -> Generator[tuple[str, bytes]]:
    """Every PKG-INFO with its path in the archive, the directories of the project's sources among them."""
    if filename.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(_MEMBER) and info.file_size <= MAX_METADATA_BYTES:
                    with archive.open(info) as inside:
                        yield info.filename, inside.read(info.file_size)
        return
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            if member.offset > _MAX_SDIST_BYTES:
                raise tarfile.ReadError("it unpacks to more than 4 GiB")
            if member.name.endswith(_MEMBER) and member.isfile() and member.size <= MAX_METADATA_BYTES:
                stream = tar.extractfile(member)
                assert stream is not None  # it is a regular file
                yield member.name, stream.read()


def _normal(version: str, filename: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        raise ClientError(
            f"{filename} has the version {version[:100]!r}, which is none",
            hint="versions are written as PEP 440 says",
        ) from None


def _requires_python(headers: RawMetadata, filename: str) -> str | None:
    """Requires-Python, which installers could not read if it were no specifier."""
    specifier = headers.get("requires_python")
    if not specifier:
        return None
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier:
        raise ClientError(
            f"{filename} has the Requires-Python {specifier[:100]!r}, which is no version specifier",
            hint="write it like >=3.11",
        ) from None
    return specifier
