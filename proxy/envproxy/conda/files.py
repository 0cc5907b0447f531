"""Upstream's files of one channel, path by path: what it last said, and the bytes as a blob.

`asking` fetches a file unless it is unchanged. Its body decides whether the bytes are what they should be: if it
raises, they are deleted and nothing is remembered, so what is known is always good. Files that are passed on as they
are go through `get`. Times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from envproxy.engine.answers import Absent, Incoming, NotModified
from envproxy.engine.artifacts import Artifacts
from envproxy.engine.catalog import Catalog
from envproxy.engine.channels import ChannelFile
from envproxy.engine.freshness import ABSENT_S, lifetime
from envproxy.engine.store import BlobStore
from envproxy.errors import EnvproxyError, Oversized, StorageFull, UpstreamError

from .channel import AT_THE_ROOT, BESIDE_PACKAGES, FLAT, PLATFORMS, SHARD_INDEX
from .mirrors import Mirrors
from .shards import INDEX_LIMIT_BYTES

_ASKED_FOR = frozenset({*FLAT, SHARD_INDEX}) | BESIDE_PACKAGES | AT_THE_ROOT


@dataclass(frozen=True, slots=True)
class Shelved:
    """An upstream file as it is known: `is_new` if these bytes have just come."""

    file: ChannelFile
    is_new: bool = False

    @property
    def is_known(self) -> bool:
        """Whether upstream has it."""
        return self.file.state == "known"

    @property
    def sha256(self) -> str:
        """The digest of its bytes."""
        return self.file.sha256

    @property
    def checked_at(self) -> float:
        """When upstream last said so."""
        return self.file.checked_at

    @property
    def fresh_until(self) -> float:
        """When it is to be asked again."""
        return self.file.fresh_until


class ChannelFiles:
    """See the module. `fresh_for_s` is for answers without Cache-Control; no file has more than `limit_bytes`."""

    def __init__(
        self,
        channel: str,
        mirrors: Mirrors,
        artifacts: Artifacts,
        store: BlobStore,
        catalog: Catalog,
        *,
        fresh_for_s: float,
        limit_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._mirrors = mirrors
        self._artifacts = artifacts
        self._store = store
        self._catalog = catalog
        self._fresh_for_s = fresh_for_s
        self._limit_bytes = limit_bytes
        self._clock = clock

    async def last(self, path: str) -> Shelved | None:
        """What upstream last said of a path."""
        file = await self._catalog.load_channel_file(self._channel, path)
        return None if file is None else Shelved(file)

    @asynccontextmanager
    async def asking(self, path: str) -> AsyncIterator[Shelved]:
        """Ask upstream for a path. What the body raises undoes it. Raises UpstreamError, StorageFull."""
        last = await self._catalog.load_channel_file(self._channel, path)
        if last is not None and last.sha256 and await self._artifacts.size(last.sha256) is None:
            last = replace(last, etag=None, last_modified=None)  # evicted: unchanged would not help us
        found, size = await self._ask(path, last)
        try:
            yield found
        except EnvproxyError:
            if size is not None:
                await asyncio.to_thread(self._store.delete, found.sha256)
            raise
        if size is not None:
            await self._catalog.add_blob(found.sha256, size, "listing", found.checked_at)
        if found.file.state != "absent" or _worth_remembering(path):
            await self._catalog.save_channel_file(found.file)

    async def _ask(self, path: str, last: ChannelFile | None) -> tuple[Shelved, int | None]:
        """What upstream says, and the size of the blob that came of it, if the store did not have it before."""
        async with self._mirrors.changed(path, last) as (server, answer):
            now = self._clock()
            if isinstance(answer, Absent):
                was_known = last is not None and last.state != "absent"
                return Shelved(self._absent(path, "gone" if was_known else "absent", now)), None
            fresh_until = now + lifetime(answer.cache_control, answer.age, default_s=self._fresh_for_s)
            if isinstance(answer, NotModified):
                if last is None or last.state != "known":
                    raise UpstreamError(f"{server} answered 304 for {path}, which is not known", cause="bad_body")
                return Shelved(replace(last, checked_at=now, fresh_until=fresh_until)), None
            sha256, size = await self._take(path, answer)
        file = ChannelFile(
            self._channel, path, "known", sha256, server, answer.etag, answer.last_modified, now, fresh_until
        )
        return Shelved(file, is_new=last is None or last.sha256 != sha256), size

    def _absent(self, path: str, state: Literal["absent", "gone"], now: float) -> ChannelFile:
        return ChannelFile(self._channel, path, state, "", "", None, None, now, now + ABSENT_S)

    async def _take(self, path: str, answer: Incoming) -> tuple[str, int | None]:
        limit = INDEX_LIMIT_BYTES if path.endswith(SHARD_INDEX) else self._limit_bytes
        announced = answer.body.total or 0
        _check_size(path, announced, limit)  # before anything is evicted for it
        partial = await self._artifacts.receive(announced)
        try:
            async for chunk in answer.body.chunks():
                await asyncio.to_thread(partial.append, chunk)
                _check_size(path, partial.seen, limit)
                if partial.full:
                    raise StorageFull(f"no room for {path}", hint="raise store.limit or free disk")
            was_here = await self._artifacts.size(partial.digest()) is not None
            sha256 = await asyncio.to_thread(partial.commit, None)
        finally:
            await asyncio.to_thread(partial.close)
        return sha256, None if was_here else partial.seen


def _check_size(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise Oversized(f"{path} has more than {limit} bytes", hint="conda.repodata-limit bounds repodata")


def _worth_remembering(path: str) -> bool:
    """The absence of what every client asks for; other names could be made up without end."""
    subdir, _, filename = path.rpartition("/")
    return filename in _ASKED_FOR and (not subdir or subdir in PLATFORMS)
