"""A private channel that lives here: packages that were uploaded, and repodata made of their records.

The catalog is the truth, and each subdir's repodata follows it: readers get the last generation until the next one is
whole, and an upload has its answer only when clients can see it. `noarch` always exists (CEP 26). A yanked package is
listed as removed and stays downloadable; a deleted one is gone, and its name stays taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import ChannelFile, Generation, HostedPackage
from envproxy.engine.download import Download
from envproxy.engine.files import Shelved
from envproxy.errors import BadUpstreamBody, ClientError, NoSuchThing

from .channel import NOARCH, Filename
from .face import Listing
from .generations import Generations
from .making import FlatForm
from .packages import Package
from .repodata import read
from .shards import write_shard
from .subdirs import Piece


class HostedChannel:
    """See `face.Channel`. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        name: str,
        generations: Generations,
        artifacts: Artifacts,
        catalog: Catalog,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._generations = generations
        self._artifacts = artifacts
        self._catalog = catalog
        self._clock = clock
        self._current: dict[str, Generation] = {}
        self._turn = asyncio.Lock()  # one generation at a time, so that none is made of older records than the last

    async def index(self, place: str, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        return self._listing((await self._generation(place, anew=ask)).index)

    async def flat(self, place: str, form: FlatForm, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        generation = await self._generation(place, anew=ask)
        return self._listing(await self._generations.flat_form(generation, form))

    async def shard(self, place: str, digest: bytes) -> Piece | Download:
        """See `face.Channel`."""
        contents = await self._generations.contents(await self._generation(place))
        found = contents.find(digest) or await self._catalog.find_old_shard(self.name, place, digest)
        if found is None:
            raise NoSuchThing(f"no index of {self.name}/{place} names the shard {digest.hex()}")
        self._artifacts.used(found.pack)
        return Piece(self._artifacts.path(found.pack), found.offset, found.length)

    async def package(self, place: str, name: Filename, demanded: str | None) -> Package:
        """See `face.Channel`."""
        found = await self._catalog.find_package(self.name, place, name.text)
        if found is None or demanded not in (None, found.sha256):
            raise NoSuchThing(f"{self.name}/{place} has no {name.text}" + (" of that digest" if found else ""))
        if await self._artifacts.size(found.sha256) is None:
            raise NoSuchThing(f"{self.name} has lost the bytes of {name.text}", hint="upload it again")
        return Package(found.sha256, Piece(self._artifacts.path(found.sha256)), is_stated=True)

    async def look(self, place: str, name: Filename, demanded: str | None) -> Package:
        """See `face.Channel`: what is hosted is here."""
        return await self.package(place, name, demanded)

    async def file(self, path: str, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        del ask
        raise NoSuchThing(f"channel {self.name}, which is hosted here, has no {path}")

    async def renew(self, place: str) -> None:
        """See `face.Channel`."""
        await self.publish(place)

    def forget_package(self, place: str, name: Filename, sha256: str) -> None:
        """See `face.Channel`: where packages are is not remembered."""

    def forget(self) -> None:
        """See `face.Channel`."""
        self._current.clear()

    async def publish(self, subdir: str) -> Generation:
        """Make repodata of what the catalog has now."""
        async with self._turn:
            packages = await self._catalog.packages_of(self.name, subdir)
            source = await self._artifacts.put(_flat(subdir, packages), "listing")
            file = ChannelFile(self.name, subdir, "known", source, "", None, None, self._clock(), self._clock())
            before = self._current.get(subdir) or await self._catalog.load_generation(self.name, subdir, "made")
            generation = await self._generations.make(subdir, "repodata.json", Shelved(file), before, pack=True)
            self._current[subdir] = generation
            await self._generations.flat_form(generation, "zst")  # in our turn, so that no upload replaces its source
            return generation

    async def _generation(self, place: str, *, anew: bool = False) -> Generation:
        if place != NOARCH and place not in await self._catalog.hosted_subdirs(self.name):
            raise NoSuchThing(f"channel {self.name} has no {place}")
        found = self._current.get(place)
        return await self.publish(place) if found is None or anew else found

    def _listing(self, digest: str) -> Listing:
        self._artifacts.used(digest)
        return Listing(digest, self._clock(), "hit")


def check_listable(package: HostedPackage) -> None:
    """Raise ClientError if no repodata could be made of this package, and so none of its subdir."""
    try:
        repodata = read(_flat(package.subdir, [package]))
        for lines in repodata.lines.values():
            write_shard(lines, ())
    except BadUpstreamBody as error:
        raise ClientError(f"{package.filename} cannot be listed: {error.message}") from error


def _flat(subdir: str, packages: Sequence[HostedPackage]) -> bytes:
    """Flat repodata (CEP 36)."""
    listed: dict[str, dict[str, msgspec.Raw]] = {"packages": {}, "packages.conda": {}}
    for package in packages:
        if not package.yanked:
            section = "packages.conda" if package.filename.endswith(".conda") else "packages"
            listed[section][package.filename] = msgspec.Raw(package.record)
    removed = [package.filename for package in packages if package.yanked]
    return msgspec.json.encode({"info": {"subdir": subdir}, **listed, "removed": removed, "repodata_version": 1})
