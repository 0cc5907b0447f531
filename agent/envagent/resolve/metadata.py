"""What a distribution says of itself: METADATA of a wheel, beside it (PEP 658) or inside, and lists of eggs.

A requirement that PEP 508 cannot read (old wheels have some) is left out: uv, which mends them, has decided already.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution
from typing import TYPE_CHECKING

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envagent.errors import ArtifactRefused
from envagent.lock.model import pypi_name

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

_MEMBER = re.compile(r"[^/]+\.dist-info/METADATA")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of METADATA that a lock has: PEP 508 requirements, and Requires-Python ("" for any)."""

    name: str
    version: str
    requires: tuple[Requirement, ...] = ()
    requires_python: str = ""


def read(data: bytes) -> Metadata:
    """METADATA or PKG-INFO (core metadata of any version)."""
    raw, _ = parse_email(data)
    return Metadata(
        name=pypi_name(raw.get("name", "")),
        version=raw.get("version", ""),
        requires=tuple(filter(None, map(_requirement, raw.get("requires_dist", [])))),
        requires_python=_specifiers(raw.get("requires_python", "")),
    )


def needs_of_egg(requires: bytes) -> tuple[Requirement, ...]:
    """What `requires.txt` of an egg-info directory lists: setuptools' own format, from before Requires-Dist."""
    listed = _Egg(requires.decode("utf-8", "replace")).requires or ()
    return tuple(filter(None, map(_requirement, listed)))


class _Egg(Distribution):
    """An egg-info directory for importlib.metadata, which reads its format."""

    def __init__(self, requires: str) -> None:
        self._files = {"PKG-INFO": "Metadata-Version: 1.0\n", "requires.txt": requires}

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: str | PathLike[str]) -> Path:
        raise NotImplementedError(f"{path} is in an archive")


def inside(wheel: Path, filename: str) -> Metadata:
    """The METADATA of a whole wheel, whose name is `filename`. Raises ArtifactRefused."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if _MEMBER.fullmatch(name))
            return read(archive.read(member))
    except (zipfile.BadZipFile, StopIteration, ValueError) as error:
        raise ArtifactRefused(filename, "it has no METADATA, so it is no wheel") from error


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _specifiers(text: str) -> str:
    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        return ""
