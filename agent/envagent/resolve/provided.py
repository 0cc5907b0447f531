"""What conda packages provide to Python: the distributions inside them, and what those say that they need.

Names and versions are told by the dist-info (or egg-info) directories in each package's own list of files, never by a
map of names; needs by the METADATA or requires.txt in them. `.conda` files are read by ranges, the content no further
than these. What was found is kept by the package's sha256, for good.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from rattler.package_streaming import PackageArchive

from envagent.errors import SourceUnreachable
from envagent.lock import rules
from envagent.lock.model import pypi_name
from envagent.resolve import metadata, notes
from envagent.resolve.conda import fetched_from
from envagent.resolve.together import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rattler.networking import Client

    from envagent.lock.model import CondaPackage
    from envagent.resolve.places import Places

_AT_ONCE = 16
_SITE = r"(?:site-packages|lib/python[^/]+/site-packages|Lib/site-packages)"
_DIST_INFO = re.compile(rf"{_SITE}/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/.+")
_EGG_INFO = re.compile(rf"{_SITE}/(?P<name>[^/]+?)-(?P<version>[^/-]+)(?:-py[0-9.]+[^/]*)?\.egg-info(?:/.+)?")
_EGG_NEEDS = ".egg-info/requires.txt"
_SAID = (".dist-info/METADATA", ".egg-info/PKG-INFO", _EGG_NEEDS)
_PYTHON = re.compile(r"(python|python_abi|pypy[0-9.]*)( .*)?")


@dataclass(frozen=True, slots=True, order=True)
class Provided:
    """A distribution that is there already: its PEP 503 name and version, and the conda package that has it.

    `requires` is what it says that it needs (Requires-Dist, PEP 508), of which its package may know better.
    """

    name: str
    version: str
    package: CondaPackage
    requires: tuple[Requirement, ...] = field(default=(), compare=False)


def may_provide(package: CondaPackage) -> bool:
    """Whether the package can hold a Python distribution: it is made for Python, or says that it does."""
    needs_python = any(_PYTHON.fullmatch(depend) for depend in package.depends)
    return package.noarch == "python" or needs_python or any(purl.startswith("pkg:pypi/") for purl in package.purls)


def distributions(paths: Iterable[str]) -> dict[str, str]:
    """The distributions, name to version, that these files (relative to a prefix) belong to."""
    found = {}
    for path in paths:
        match = _DIST_INFO.fullmatch(path) or _EGG_INFO.fullmatch(path)
        if match and not rules.version(match["version"]):
            found[pypi_name(match["name"])] = match["version"]
    return found


async def provided(
    packages: Sequence[CondaPackage], places: Places, client: Client, cache: Path
) -> tuple[Provided, ...]:
    """What the packages provide, by name. `cache` is a directory that may be lost. Raises SourceUnreachable."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def of(package: CondaPackage) -> list[Provided]:
        async with free:
            found = await _distributions_of(package, places, client, cache)
        return [
            Provided(name, said["version"], package, tuple(map(Requirement, said["requires"])))
            for name, said in found.items()
        ]

    lists = await together(of(package) for package in packages if may_provide(package))
    return tuple(sorted(one for several in lists for one in several))


async def _distributions_of(
    package: CondaPackage, places: Places, client: Client, cache: Path
) -> dict[str, dict[str, Any]]:
    """The version and the requirements of each distribution, by name: what a note can hold."""
    known: dict[str, dict[str, Any]] | None = notes.recalled(cache, package.sha256)
    if known is not None:
        return known
    url = fetched_from(package, places)
    try:
        archive = await PackageArchive.from_url(client, url)
        paths = [str(entry.relative_path) for entry in (await archive.paths_json()).paths]
        found = distributions(paths)
        said = await archive.read_files(path for path in paths if path.endswith(_SAID) and distributions([path]))
    except OSError as error:
        raise SourceUnreachable(f"{url} cannot be read: {error}", hint="is the channel reachable?") from None
    facts: dict[str, dict[str, Any]] = {name: {"version": found[name], "requires": []} for name in found}
    for path, text in said.items():
        [name] = distributions([path])
        data = text or b""
        needs = metadata.needs_of_egg(data) if path.endswith(_EGG_NEEDS) else metadata.read(data).requires
        facts[name]["requires"] = list(dict.fromkeys([*facts[name]["requires"], *map(str, needs)]))
    notes.keep(cache, package.sha256, facts)
    return facts
