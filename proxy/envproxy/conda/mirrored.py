"""A channel that is mirrored on demand: its repodata, its packages, and the files that are passed on as they are."""

from __future__ import annotations

from collections.abc import Callable

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.download import Download
from envproxy.engine.files import Blob, Shelved, UpstreamFiles
from envproxy.engine.flights import Flights
from envproxy.engine.known import CacheResult, Freshness
from envproxy.engine.report import Reporter
from envproxy.errors import NoSuchThing

from .channel import NOARCH, Filename, subdir_of
from .face import Listing
from .making import Fit, FlatForm
from .packages import Package, Packages, Remote
from .subdirs import Piece, Snapshot, Subdirs
from .worker import Workshop

_BZ2 = "repodata.json.bz2"
_FILTERED = ("current_repodata.json", "repodata_from_packages.json", _BZ2)


class MirroredChannel:
    """See `face.Channel`. `filtered`: a policy hides packages, so files that would list them are not passed on.

    `token` is that of the channel, which is taken out of files that have it.
    """

    def __init__(
        self,
        name: str,
        subdirs: Subdirs,
        packages: Packages,
        files: UpstreamFiles,
        workshop: Workshop,
        artifacts: Artifacts,
        *,
        serves_shards: bool,
        filtered: bool,
        token: str | None,
        flights: Callable[[str], Flights[str, Shelved]],
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._subdirs = subdirs
        self._packages = packages
        self._files = files
        self._workshop = workshop
        self._artifacts = artifacts
        self._serves_shards = serves_shards
        self._filtered = filtered
        self._token = token
        self._passed = Freshness(name, flights("file"), files.last, self._refresh, reporter=reporter, clock=clock)

    async def index(self, place: str, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        if not self._serves_shards:
            raise NoSuchThing(f"channel {self.name} has no shards here: its setting shards is never")
        snapshot, result = await self._subdirs.snapshot(place, ask=ask)
        if snapshot.generation is None:
            raise self._no_place(place)
        return self._listing(snapshot.generation.index, snapshot, result)

    async def flat(self, place: str, form: FlatForm, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        snapshot, result = await self._subdirs.flat(place, ask=ask)
        if snapshot.generation is None:
            raise self._no_place(place)
        return self._listing(await self._subdirs.flat_form(snapshot.generation, form), snapshot, result)

    async def shard(self, place: str, digest: bytes) -> Piece | Download:
        """See `face.Channel`."""
        return await self._subdirs.shard(place, digest)

    async def package(self, place: str, name: Filename, demanded: str | None) -> Package:
        """See `face.Channel`."""
        return await self._packages.open(place, name, demanded)

    async def look(self, place: str, name: Filename, demanded: str | None) -> Package | Remote:
        """See `face.Channel`."""
        return await self._packages.look(place, name, demanded)

    async def file(self, path: str, *, ask: bool) -> Listing:
        """See `face.Channel`."""
        if self._filtered and path.rpartition("/")[2].startswith(_FILTERED):
            raise NoSuchThing(f"channel {self.name} has a policy here, so {path} is not passed on")
        if path.endswith(f"/{_BZ2}") and not await self._fits(path.removesuffix(f"/{_BZ2}")):
            raise NoSuchThing(
                f"the repodata of {self.name} does not fit this server as it is", hint="ask for its .zst"
            )
        found, result = await self._passed.get(path, ask=ask)
        if found.is_known and await self._artifacts.size(found.sha256) is None:
            found = await self._passed.renew(path)
        if not found.is_known:
            raise NoSuchThing(f"channel {self.name} has no {path} upstream")
        self._artifacts.used(found.sha256)
        return Listing(found.sha256, found.fresh_until, result)

    async def renew(self, place: str) -> None:
        """See `face.Channel`."""
        await self._subdirs.renew(place)

    def forget_package(self, place: str, name: Filename, sha256: str) -> None:
        """See `face.Channel`."""
        self._packages.forget_package(place, name, sha256)

    def forget(self) -> None:
        """See `face.Channel`."""
        self._subdirs.forget()
        self._passed.forget()
        self._packages.forget()

    async def _refresh(self, path: str, _last: Shelved | None) -> Shelved:
        return await self._files.made_of(path, _as_it_is, rewrite=lambda sha256: self._fitting(path, sha256))

    async def _fitting(self, path: str, sha256: str) -> Blob | None:
        made = await self._workshop.do(Fit(sha256, path.rpartition("/")[2], self._token))
        return Blob(made.flat, made.sizes[made.flat]) if made.sizes else None

    async def _fits(self, place: str) -> bool:
        """Whether upstream's flat repodata may be passed on: generations are made of it, so it is not rewritten."""
        if self._token is not None:
            return False
        snapshot, _ = await self._subdirs.flat(place)
        return snapshot.generation is None or not snapshot.generation.base_url

    def _listing(self, sha256: str, snapshot: Snapshot, result: CacheResult) -> Listing:
        self._artifacts.used(sha256)
        return Listing(sha256, snapshot.fresh_until, result)

    def _no_place(self, place: str) -> NoSuchThing:
        if subdir_of(place) == NOARCH:
            return NoSuchThing(
                f"channel {self.name} has no {place} upstream, so it is no channel (CEP 26)",
                hint="check the url of the channel, and its label",
            )
        return NoSuchThing(f"channel {self.name} has no {place} upstream")


async def _as_it_is(found: Shelved) -> Shelved:
    return found
