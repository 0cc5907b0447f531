"""What the filename of a wheel promises (PEP 427): enough to refuse one for another machine without opening it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envagent.errors import ArtifactRefused

if TYPE_CHECKING:
    from packaging.tags import Tag


@dataclass(frozen=True, slots=True)
class Promised:
    """What a filename promises of the inside (PEP 427: name, version, tags)."""

    name: NormalizedName
    version: Version
    tags: frozenset[Tag]


@lru_cache(maxsize=1024)
def promised_by(filename: str) -> Promised:
    """Read a wheel's filename. Raises ArtifactRefused where it is none."""
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise ArtifactRefused(filename, f"its name is not a wheel's ({error})") from None
    return Promised(name, version, tags)
