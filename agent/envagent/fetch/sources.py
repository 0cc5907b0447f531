"""Where an artifact of a lock may be had: URLs in the order in which they are tried, the proxy's before upstream's.

A lock names files by their upstream's URLs and channels and indexes by name or URL. `Origins` is what a proxy says of
itself (`/api/origins`), so a URL of a lock is found again under the name that this proxy has for it; a name of a lock
that the proxy does not have leads nowhere on it. Pure: nothing is asked, nothing is opened. What an artifact is, is
decided by its sha256 and by nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from envagent.lock.model import CondaPackage, InterpreterArchive, PythonPackage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envagent.lock.model import Package


class Origins(msgspec.Struct, frozen=True):
    """The proxy's names of indexes, channels and files upstreams, each with the URLs that it stands for."""

    indexes: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    channels: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    files: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def index_names(self, index: str) -> list[str]:
        """What the proxy calls an index of a lock, a name or a URL; all that it has if the lock names none."""
        return list(self.indexes) if index == "" else _names(self.indexes, index)

    def channel_names(self, channel: str) -> list[str]:
        """What the proxy calls a channel of a lock, a name or a URL without a label."""
        return _names(self.channels, channel)


@dataclass(frozen=True, slots=True)
class Place:
    """One URL of an artifact."""

    url: str
    is_proxy: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """`proxy` is the origin of an envproxy, "" for none; upstream URLs are used beside it only with `fallback`.

    `origins` is None until the proxy was asked.
    """

    proxy: str = ""
    fallback: bool = True
    origins: Origins | None = None

    def places(self, package: Package) -> tuple[Place, ...]:
        """Where the package may be, best first; none at all for what was built, or what the proxy does not know."""
        urls = [Place(url, is_proxy=True) for url in dict.fromkeys(self._through_proxy(package))]
        if package.url and package.url not in {place.url for place in urls} and (self.fallback or not self.proxy):
            urls.append(Place(package.url, is_proxy=False))
        return tuple(urls)

    def _through_proxy(self, package: Package) -> Iterator[str]:
        if not self.proxy:
            return
        if _below(package.url, [self.proxy]) is not None:
            yield package.url
        origins = self.origins or Origins()
        if isinstance(package, PythonPackage):
            file = f"files/{package.name}/{package.sha256}/{quote(package.filename)}"
            yield from (f"{self.proxy}/pypi/{name}/{file}" for name in origins.index_names(package.index))
        elif isinstance(package, CondaPackage):
            yield from (f"{self.proxy}/conda/{path}" for path in _conda_paths(package, origins))
        elif isinstance(package, InterpreterArchive):
            yield from (f"{self.proxy}/files/{path}" for path in _paths(package.url, origins.files))


def _conda_paths(package: CondaPackage, origins: Origins) -> Iterator[str]:
    yield from _paths(package.url, origins.channels)
    channel, _, label = package.channel.rstrip("/").partition("/label/")
    for name in origins.channel_names(channel):
        place = f"{name}/label/{label}" if label else name
        yield f"{place}/{package.subdir}/{package.filename}"


def _paths(url: str, named: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """`<name>/<rest of the URL>` for every name that stands for a URL above it."""
    for name, urls in named.items():
        rest = _below(url, urls)
        if rest is not None:
            yield f"{name}/{rest}"


def _below(url: str, bases: Iterable[str]) -> str | None:
    for base in bases:
        folder = base.rstrip("/") + "/"
        if url.startswith(folder):
            return url.removeprefix(folder)
    return None


def _names(named: Mapping[str, Iterable[str]], wanted: str) -> list[str]:
    if wanted in named:
        return [wanted]
    return [name for name, urls in named.items() if wanted.rstrip("/") in {url.rstrip("/") for url in urls}]
