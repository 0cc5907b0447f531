"""What the filename of a wheel promises (PEP 427): enough to refuse one for another machine without opening it."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from envagent.errors import ArtifactRefused
from envagent.lock.model import pypi_name

if TYPE_CHECKING:
    from packaging.utils import NormalizedName
    from packaging.version import Version


class Promised(NamedTuple):
    """What a filename promises of the inside (PEP 427): the normalized name and the version."""

    name: NormalizedName
    version: Version


@lru_cache(maxsize=1024)
def promised_by(filename: str) -> Promised:
    """Read a wheel's filename. Raises ArtifactRefused where it is none."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415  # of wheels to unpack
    from packaging.version import InvalidVersion  # noqa: PLC0415

    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise ArtifactRefused(filename, f"its name is not a wheel's ({error})") from None
    return Promised(name, version)


def project_of(filename: str) -> str:
    """The normalized name of the project of a wheel."""
    return pypi_name(filename.partition("-")[0])


def tags_of(filename: str) -> frozenset[str]:
    """The tags of a wheel, each of a compressed set by itself, in lower case (PEP 425).

    Raises ArtifactRefused where it is none.
    """
    stem, _, kind = filename.rpartition(".")
    parts = stem.split("-")
    if kind != "whl" or len(parts) not in {5, 6}:
        raise ArtifactRefused(filename, "its name is not a wheel's")
    return frozenset(map("-".join, product(*(part.lower().split(".") for part in parts[-3:]))))
