"""The repodata of one channel, subdir by subdir: shard index, shards and flat form, of one generation.

Upstream's own shards are passed on, each verified against its name; where it has none (or a policy takes records out)
they are made of its flat repodata, so every client gets shards of every channel. An index and the shards that it
names are one snapshot, and a shard stays for `KEEP_S` after its last index. Where upstream has shards alone, the flat
form is made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from envproxy.engine.answers import Body
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import Generation
from envproxy.engine.download import Download
from envproxy.engine.expected import Expected
from envproxy.engine.files import Shelved, UpstreamFiles
from envproxy.engine.flights import Flights
from envproxy.engine.known import CacheResult, Freshness
from envproxy.engine.mirrors import Mirrors
from envproxy.engine.remembered import Remembered
from envproxy.engine.report import Reporter
from envproxy.errors import NoSuchThing, UpstreamError

from .channel import FLAT, SHARD_INDEX, SHARD_SUFFIX
from .generations import Contents, Generations, Rules
from .making import FlatForm
from .shards import Record, read_shard

_FROM_A_SERVER = ("4xx", "bad_body")  # failures of an upstream that is there: another form of it may be sound
_RECORDS = 256  # shards whose records are in memory


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served for a subdir, None if upstream has no such subdir; times in seconds since the epoch."""

    generation: Generation | None
    checked_at: float
    fresh_until: float

    @property
    def is_known(self) -> bool:
        """Whether there is anything."""
        return self.generation is not None


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that are here: [offset, offset + length) of a file, all of it if `length` is None."""

    path: Path
    offset: int = 0
    length: int | None = None

    def read(self) -> bytes:
        """The bytes. Raises FileNotFoundError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read() if self.length is None else file.read(self.length)


class Subdirs:
    """See the module. `flights` makes the flights of a kind; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        channel: str,
        rules: Rules,
        generations: Generations,
        files: UpstreamFiles,
        mirrors: Mirrors,
        artifacts: Artifacts,
        catalog: Catalog,
        *,
        flights: Callable[[str], Flights[str, Snapshot]],
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._rules = rules
        self._generations = generations
        self._files = files
        self._mirrors = mirrors
        self._artifacts = artifacts
        self._catalog = catalog
        self._main = Freshness(channel, flights("subdir"), self._load, self._refresh, reporter=reporter, clock=clock)
        self._flat = Freshness(
            channel, flights("flat"), self._load_flat, self._refresh_flat, reporter=reporter, clock=clock
        )
        self._records = Remembered[bytes, Mapping[str, Record]](_RECORDS)

    async def snapshot(self, place: str, *, ask: bool = False) -> tuple[Snapshot, CacheResult]:
        """The present generation, which has a shard index. Raises UpstreamError, StorageFull."""
        return await self._main.get(place, ask=ask)

    async def flat(self, place: str, *, ask: bool = False) -> tuple[Snapshot, CacheResult]:
        """The generation that has a flat form. Raises UpstreamError, StorageFull."""
        snapshot, result = await self._main.get(place, ask=ask)
        if snapshot.generation is None or snapshot.generation.line == "made":
            return snapshot, result
        return await self._flat.get(place, ask=ask)

    async def flat_form(self, generation: Generation, form: FlatForm) -> str:
        """The digest of flat repodata in a form, made of the other one the first time."""
        return await self._generations.flat_form(generation, form)

    async def renew(self, place: str) -> None:
        """Make everything again of which a part was evicted. Raises UpstreamError, StorageFull."""
        main = await self._main.renew(place)
        if main.generation is not None and main.generation.line == "relayed":
            await self._flat.renew(place)

    async def shard(self, place: str, digest: bytes) -> Piece | Download:
        """One shard, of this generation or of one before. Raises NoSuchThing, UpstreamError."""
        generation, contents = await self._present(place)
        found = contents.find(digest) or await self._catalog.find_old_shard(self._channel, place, digest)
        if found is not None and found.pack:
            self._artifacts.used(found.pack)
            return Piece(self._artifacts.path(found.pack), found.offset, found.length)
        is_named = found is not None or digest in contents.digests
        if is_named and await self._artifacts.size(digest.hex()) is not None:
            self._artifacts.used(digest.hex())
            return Piece(self._artifacts.path(digest.hex()))
        if generation is None or generation.line == "made":
            raise NoSuchThing(f"no index of {self._channel}/{place} names the shard {digest.hex()}")
        return self._fetch(generation, digest, is_named=is_named)

    async def record(self, place: str, filename: str) -> Record | None:
        """What the present generation says of a package; None if it does not list it. Raises UpstreamError."""
        _, contents = await self._present(place)
        digest = contents.shard_of(filename)
        if digest is None:
            return None
        records = self._records.recall(digest)
        if records is None:
            shard = await self._bytes(await self.shard(place, digest))
            records = self._records.keep(digest, await asyncio.to_thread(read_shard, shard))
        return records.get(filename)

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        self._main.forget()
        self._flat.forget()

    async def _present(self, place: str) -> tuple[Generation | None, Contents]:
        snapshot, _ = await self._main.get(place)
        try:
            return snapshot.generation, await self._generations.contents(snapshot.generation)
        except FileNotFoundError:
            snapshot = await self._main.renew(place)
            return snapshot.generation, await self._generations.contents(snapshot.generation)

    async def _load(self, place: str) -> Snapshot | None:
        if self._rules.relays:
            file = await self._files.last(f"{place}/{SHARD_INDEX}")
            generation = await self._catalog.load_generation(self._channel, place, "relayed")
            if generation is not None and file is not None and file.sha256 == generation.source:
                return _snapshot(generation, file)
        snapshot = await self._load_flat(place)
        is_enough = snapshot is None or snapshot.generation is None or snapshot.generation.manifest
        return snapshot if is_enough else None

    async def _load_flat(self, place: str) -> Snapshot | None:
        generation = await self._catalog.load_generation(self._channel, place, "made")
        if generation is not None and generation.policy != self._rules.fingerprint:
            return None
        paths = (*FLAT, SHARD_INDEX)
        known = [file for path in paths if (file := await self._files.last(f"{place}/{path}")) is not None]
        if generation is not None:
            source = next((file for file in known if file.sha256 == generation.source), None)
            return _snapshot(generation, source) if source is not None else None
        if len(known) == len(paths) and not any(file.is_known for file in known):
            return Snapshot(None, min(file.checked_at for file in known), min(file.fresh_until for file in known))
        return None

    async def _refresh(self, place: str, last: Snapshot | None) -> Snapshot:
        before = last.generation if last else None
        failure: UpstreamError | None = None
        if self._rules.relays:
            try:
                relayed = await self._files.made_of(
                    f"{place}/{SHARD_INDEX}", lambda found: self._relayed(place, found, before)
                )
                if relayed.is_known:
                    return relayed
            except UpstreamError as error:
                if error.cause not in _FROM_A_SERVER or (before is not None and before.line == "relayed"):
                    raise  # else upstream answers, and shards made here are as good
                failure = error
        snapshot = await self._make(place, before, pack=True)
        if failure is not None and not snapshot.is_known:
            raise failure  # without flat forms the shards may be all there is: not an absence
        return snapshot if snapshot.is_known or self._rules.relays else await self._make_of_shards(place, before)

    async def _relayed(self, place: str, found: Shelved, before: Generation | None) -> Snapshot:
        if not found.is_known:
            return _nothing(found)
        return _snapshot(await self._generations.relay(place, found, before), found)

    async def _make_of_shards(self, place: str, before: Generation | None) -> Snapshot:
        """Where upstream has shards alone, but a policy (or a setting) wants others: by way of the flat form."""

        async def made(found: Shelved) -> Snapshot:
            if not found.is_known:
                return _nothing(found)

            async def flatten() -> tuple[str, str]:
                theirs = await self._generations.relay(place, found, None)
                flat = await self._generations.flattened(theirs, lambda digest: self._bring(theirs, digest))
                return flat, theirs.base_url

            generation = await self._generations.make(place, FLAT[0], found, before, pack=True, flatten=flatten)
            return _snapshot(generation, found)

        return await self._files.made_of(f"{place}/{SHARD_INDEX}", made)

    async def _refresh_flat(self, place: str, last: Snapshot | None) -> Snapshot:
        snapshot = await self._make(place, last.generation if last else None, pack=False)
        if snapshot.is_known:
            return snapshot
        main, _ = await self._main.get(place)
        if main.generation is None:
            return snapshot
        theirs = main.generation
        flat = await self._generations.flatten(theirs, lambda digest: self._bring(theirs, digest))
        return Snapshot(flat, main.checked_at, main.fresh_until)

    async def _make(self, place: str, before: Generation | None, *, pack: bool) -> Snapshot:
        """A generation of the first flat form that upstream has and that is sound."""
        failure: UpstreamError | None = None
        absent: Snapshot | None = None
        for path in FLAT:
            try:
                made = await self._files.made_of(
                    f"{place}/{path}", partial(self._made, place, path, before=before, pack=pack)
                )
                if made.is_known:
                    return made
                absent = made
            except UpstreamError as error:
                if error.cause not in _FROM_A_SERVER:
                    raise
                failure = failure or error
        if failure is not None:
            raise failure
        assert absent is not None
        return absent

    async def _made(
        self, place: str, path: str, found: Shelved, *, before: Generation | None, pack: bool
    ) -> Snapshot:
        if not found.is_known:
            return _nothing(found)
        return _snapshot(await self._generations.make(place, path, found, before, pack=pack), found)

    async def _bring(self, generation: Generation, digest: bytes) -> None:
        if await self._artifacts.size(digest.hex()) is None:
            await self._fetch(generation, digest, is_named=True).blob()

    def _fetch(self, generation: Generation, digest: bytes, *, is_named: bool) -> Download:
        """Upstream's own shard; one that its index names and that it does not have is a failure, not an absence."""
        place, filename = generation.place, digest.hex() + SHARD_SUFFIX
        upstream = self._mirrors.file(place, generation.shards_url, filename, None)

        @asynccontextmanager
        async def open_body(offset: int, validator: str | None) -> AsyncIterator[Body]:
            try:
                async with upstream.open(offset, validator) as body:
                    yield body
            except NoSuchThing as error:
                if not is_named:
                    raise
                self._main.expire(place)
                raise UpstreamError(
                    f"{self._channel} lacks the shard {filename} that its index names", cause="4xx"
                ) from error

        return self._artifacts.download(
            digest.hex(), filename, open_body, Expected({"sha256": digest.hex()}),
            kind="metadata", owner=self._channel, stored=_no_more, elsewhere=upstream.disown,
        )  # fmt: skip

    async def _bytes(self, found: Piece | Download) -> bytes:
        if isinstance(found, Piece):
            return await asyncio.to_thread(found.read)
        return b"".join([chunk async for chunk in found.chunks()])


async def _no_more(_digest: str, _size: int) -> None:
    """Nothing is noted of a stored shard: its name is its digest."""


def _nothing(found: Shelved) -> Snapshot:
    return Snapshot(None, found.checked_at, found.fresh_until)


def _snapshot(generation: Generation, found: Shelved) -> Snapshot:
    end = found.fresh_until if generation.flips_at is None else min(found.fresh_until, generation.flips_at)
    return Snapshot(generation, found.checked_at, end)
