"""Makes the generations of a channel's subdirs: what is served, out of what upstream says.

A generation is one snapshot: an index, its shards, a flat form. It is made again only if upstream's file, the policy
or the clock ask for it, or if a part was evicted. When one replaces another, the shards that it no longer names are
kept for `KEEP_S`, and blobs that nobody refers to any more are deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import Generation, OldShard
from envproxy.engine.files import Shelved
from envproxy.engine.flights import Flights
from envproxy.engine.remembered import Remembered
from envproxy.engine.store import BlobStore
from envproxy.errors import UpstreamError
from envproxy.tables import ChannelPolicyConfig

from . import packs
from .channel import name_in, subdir_of
from .making import Convert, FlatForm, Flatten, Make
from .shards import as_json, read_index, write_index
from .worker import Workshop

KEEP_S = 8 * 24 * 3600.0  # CEP 16: a client may hold an index for a week
FLATTEN_AT_ONCE = 20  # shards on their way when all of them are wanted
_CONTENTS = 12  # generations whose names are in memory, up to 10 MB each


@dataclass(frozen=True, slots=True)
class Rules:
    """How the shards of a channel come about: whose they are (auto, always, never), and what is taken out of them.

    That is what the policy hides, and the channel's token, which upstream may repeat.
    """

    shards: str
    policy: ChannelPolicyConfig | None
    token: str | None = field(default=None, repr=False)

    @property
    def relays(self) -> bool:
        """Whether upstream's own shards may be passed on."""
        return self.shards == "auto" and self.policy is None and self.token is None

    @property
    def fingerprint(self) -> str:
        """Changes whenever the policy does."""
        return sha256(msgspec.json.encode(self.policy)).hexdigest() if self.policy else ""


@dataclass(frozen=True, slots=True)
class Contents:
    """The names of a generation with their shards; `slices` by digest and `packs` say where those are made here.

    `strays` has the package names of files whose own name says another one; what upstream's shards hide is unknown.
    """

    names: Mapping[str, bytes]
    digests: AbstractSet[bytes]
    slices: Mapping[bytes, packs.Slice]
    packs: Sequence[str]
    strays: Mapping[str, str]

    def shard_of(self, filename: str) -> bytes | None:
        """The shard that lists a file, if any does; package names are lower-case (CEP 26), filenames may not be."""
        name = self.strays.get(filename) or name_in(filename)
        return self.names.get(name) or self.names.get(name.lower())

    def find(self, digest: bytes) -> OldShard | None:
        """Where a shard is that was made here."""
        found = self.slices.get(digest)
        return found and OldShard(digest, self.packs[found.number], found.offset, found.length)


class Generations:
    """See the module. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        channel: str,
        rules: Rules,
        artifacts: Artifacts,
        store: BlobStore,
        catalog: Catalog,
        workshop: Workshop,
        *,
        conversions: Flights[str, str | None],
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._rules = rules
        self._artifacts = artifacts
        self._store = store
        self._catalog = catalog
        self._workshop = workshop
        self._clock = clock
        self._reading = asyncio.Lock()  # a hundred shards are asked for at once, and all need the same contents
        self._contents = Remembered[str, Contents](_CONTENTS)
        self._conversions = conversions
        self._twins = Remembered[str, str]()  # flat repodata in the other form, by digest

    async def relay(self, place: str, found: Shelved, before: Generation | None) -> Generation:
        """The generation of upstream's own shard index. Raises BadUpstreamBody, StorageFull."""
        if before is not None and before.source == found.sha256 and await self._is_whole(before):
            return before
        with _evictions(place):
            blob = await asyncio.to_thread(self._artifacts.path(found.sha256).read_bytes)
        index = await asyncio.to_thread(read_index, blob)
        written = await asyncio.to_thread(write_index, index.info, index.shards)
        generation = Generation(
            self._channel, place, "relayed", found.sha256, "",
            index=await self._artifacts.put(written, "listing"), manifest="", flat_json="", flat_zst="",
            base_url=index.base_url, shards_url=index.shards_base_url, made_at=self._clock(), flips_at=None,
        )  # fmt: skip
        await self._save(generation, before)
        return generation

    async def make(
        self,
        place: str,
        path: str,
        found: Shelved,
        before: Generation | None,
        *,
        pack: bool,
        flatten: Callable[[], Awaitable[tuple[str, str]]] | None = None,
    ) -> Generation:
        """The generation of the flat file at `path`, or of what `flatten` makes of `found`, with its base URL.

        Raises BadUpstreamBody, StorageFull.
        """
        if before is not None and self._still_holds(before, found, pack=pack) and await self._is_whole(before):
            return before
        form: FlatForm = "zst" if path.endswith(".zst") else "bz2" if path.endswith(".bz2") else "json"
        previous = before.manifest if before is not None else None
        source, base = (found.sha256, "") if flatten is None else await flatten()
        policy, token = self._rules.policy, self._rules.token
        job = Make(source, form, subdir_of(place), self._clock(), previous or None, policy, pack, token)
        with _evictions(place):
            made = await self._workshop.do(job)
        await self._count(made.sizes)
        generation = Generation(
            self._channel, place, "made", found.sha256, self._rules.fingerprint, made.index, made.manifest,
            flat_json=made.flat if made.flat_form == "json" else "",
            flat_zst=made.flat if made.flat_form == "zst" else "",
            base_url=base or made.base_url, shards_url="", made_at=self._clock(), flips_at=made.flips_at,
        )  # fmt: skip
        await self._save(generation, before)
        return generation

    async def flatten(self, main: Generation, bring: Callable[[bytes], Awaitable[None]]) -> Generation:
        """The flat form of a channel that has shards alone; `bring` puts the shard of a digest into the store."""
        last = await self._catalog.load_generation(self._channel, main.place, "made")
        if last is not None and last.source == main.source and await self._is_whole(last):
            return last
        flat = await self.flattened(main, bring)
        generation = replace(main, line="made", index="", manifest="", flat_json="", flat_zst=flat)
        await self._save(generation, None)
        return generation

    async def flattened(self, main: Generation, bring: Callable[[bytes], Awaitable[None]]) -> str:
        """All shards as one flat file; its digest."""
        names = (await self.contents(main)).names
        shards = [names[name] for name in sorted(names)]
        turn = asyncio.Semaphore(FLATTEN_AT_ONCE)

        async def in_turn(digest: bytes) -> None:
            async with turn:
                await bring(digest)

        await asyncio.gather(*(in_turn(digest) for digest in shards))
        with _evictions(main.place):
            index = await asyncio.to_thread(lambda: read_index(self._artifacts.path(main.index).read_bytes()))
            info = {key: value for key, value in index.info.items() if key not in ("base_url", "shards_base_url")}
            job = Flatten([digest.hex() for digest in shards], as_json(info), self._rules.token)
            made = await self._workshop.do(job)
        await self._count(made.sizes)
        return made.flat

    async def flat_form(self, generation: Generation, form: FlatForm) -> str:
        """The digest of flat repodata in a form; made of the other one the first time, for all who ask at once.

        Raises FileNotFoundError if that was evicted.
        """
        found, other = generation.flat_zst, generation.flat_json
        if form == "json":
            found, other = other, found
        found = found or self._twins.recall(other) or ""
        if found and await self._artifacts.size(found) is not None:
            return found
        made = other and await self._conversions.join(other, lambda: self._convert(generation, other, form))
        if not made:
            raise FileNotFoundError(f"the flat repodata of {generation.place} was evicted")
        return made

    async def _convert(self, generation: Generation, source: str, form: FlatForm) -> str | None:
        """The flat file `source` in its other form; None if it was evicted, which whoever asked can mend."""
        try:
            made = await self._workshop.do(Convert(source, "json" if form == "json" else "zst"))
        except FileNotFoundError:
            return None
        await self._count(made.sizes)
        await self._catalog.complete_generation(
            replace(generation, flat_json=made.flat) if form == "json" else replace(generation, flat_zst=made.flat)
        )
        return self._twins.keep(source, made.flat)

    async def contents(self, generation: Generation | None) -> Contents:
        """The names of a generation. Raises FileNotFoundError if it was evicted."""
        key = generation and (generation.manifest or generation.index)
        if generation is None or not key:
            return Contents({}, frozenset(), {}, (), {})
        async with self._reading:
            if (contents := self._contents.recall(key)) is not None:
                return contents
            read = _made_contents if generation.manifest else _relayed_contents
            return self._contents.keep(key, await asyncio.to_thread(read, self._artifacts.path(key)))

    async def _save(self, generation: Generation, before: Generation | None) -> None:
        now = self._clock()
        old: list[OldShard] = []
        if before is not None and before.index:
            with suppress(FileNotFoundError):  # evicted: nobody can be served from it any more
                gone, here = await self.contents(before), await self.contents(generation)
                kept = set(here.names.values())
                old = [
                    gone.find(digest) or OldShard(digest, "", 0, 0)
                    for digest in gone.names.values()
                    if digest not in kept
                ]
        for digest in await self._catalog.save_generation(generation, old, now=now, keep_until=now + KEEP_S):
            await asyncio.to_thread(self._store.delete, digest)
            await self._catalog.forget_blob(digest)

    async def _count(self, sizes: Mapping[str, int]) -> None:
        for digest, size in sizes.items():
            await self._catalog.add_blob(digest, size, "listing", self._clock())

    async def _is_whole(self, generation: Generation) -> bool:
        """Whether everything that it needs is still in the store."""
        needed = generation.blobs
        with suppress(FileNotFoundError):
            needed = needed | set((await self.contents(generation)).packs)
            return all([await self._artifacts.size(digest) is not None for digest in needed])
        return False

    def _still_holds(self, before: Generation, found: Shelved, *, pack: bool) -> bool:
        return (
            before.source == found.sha256
            and before.policy == self._rules.fingerprint
            and (before.flips_at is None or self._clock() < before.flips_at)
            and bool(before.manifest or not pack)
        )


@contextmanager
def _evictions(place: str) -> Iterator[None]:
    """A file that was evicted while it was used is a failure that passes."""
    try:
        yield
    except FileNotFoundError as error:
        raise UpstreamError(f"a file of {place} was evicted before it was read", cause="connect") from error


def _made_contents(path: Path) -> Contents:
    manifest = packs.load(path)
    slices = manifest.by_digest()
    return Contents(manifest.shards, slices.keys(), slices, manifest.packs, manifest.strays)


def _relayed_contents(path: Path) -> Contents:
    names = read_index(path.read_bytes()).shards
    return Contents(names, frozenset(names.values()), {}, (), {})
