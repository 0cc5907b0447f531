"""What the URL of a conda package says: `<channel>/<subdir>/<name>-<version>-<build>.conda`.

Foreign locks often give nothing else. Parts are taken as they stand; rules.py decides whether they may stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_URL = re.compile(
    r"(?P<base>https?://.+)/(?P<subdir>[^/]+)"
    r"/(?P<name>[^/]+)-(?P<version>[^/-]+)-(?P<build>[^/-]+?)(\.conda|\.tar\.bz2)"
)


@dataclass(frozen=True, slots=True)
class CondaUrl:
    """The parts of a conda package's URL; `base` is its channel's."""

    base: str
    subdir: str
    name: str
    version: str
    build: str


def parse(url: str) -> CondaUrl | None:
    """The parts, or None if this is not the URL of a conda package."""
    found = _URL.fullmatch(url)
    return CondaUrl(**found.groupdict()) if found else None


def channel_among(base: str, channels: Iterable[str]) -> str:
    """The channel as the request calls it, if it does: by its URL or by the last words of it; else its URL."""
    for channel in channels:
        plain = channel.rstrip("/")
        if base == plain or ("://" not in channel and base.endswith(f"/{plain}")):
            return channel
    return base
