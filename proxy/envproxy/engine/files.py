"""Upstream's files that may change, path by path: what it last said, and the bytes as a blob.

`asking` fetches a file unless it is unchanged. Its body decides whether the bytes are what they should be: if it
raises, they are deleted and nothing is remembered, so what is known is always good. Files that are passed on as they
are go through `get`. Times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from envproxy.errors import BadUpstreamBody, EnvproxyError, Oversized, StorageFull, UpstreamError

from .answers import Absent, Incoming, NotModified
from .artifacts import Artifacts
from .catalog import Catalog
from .channels import ChannelFile
from .freshness import ABSENT_S, lifetime
from .mirrors import Mirrors
from .store import BlobStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileRules:
    """How the files of one place are handled: `fresh_for_s` is for answers without Cache-Control.

    `limit_bytes` of a path bounds its file; `hint` says what to do about a larger one. An absence is kept in the
    catalog if `is_asked_for` says so: other names could be made up without end.
    """

    fresh_for_s: float
    limit_bytes: Callable[[str], int]
    is_asked_for: Callable[[str], bool]
    hint: str = ""


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


class Blob(NamedTuple):
    """A blob of the store, `size` in bytes."""

    sha256: str
    size: int


class UpstreamFiles:
    """See the module. `place` is what the catalog calls the channel or collection."""

    def __init__(
        self,
        place: str,
        mirrors: Mirrors,
        artifacts: Artifacts,
        store: BlobStore,
        catalog: Catalog,
        *,
        rules: FileRules,
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._mirrors = mirrors
        self._artifacts = artifacts
        self._store = store
        self._catalog = catalog
        self._rules = rules
        self._clock = clock

    async def last(self, path: str) -> Shelved | None:
        """What upstream last said of a path."""
        file = await self._catalog.load_channel_file(self._place, path)
        return None if file is None else Shelved(file)

    async def made_of(
        self,
        path: str,
        make: Callable[[Shelved], Awaitable[T]],
        *,
        rewrite: Callable[[str], Awaitable[Blob | None]] | None = None,
    ) -> T:
        """What `make` makes of the file at a path; while it raises BadUpstreamBody, of that of the next mirror.

        The rest is as for `asking`.
        """
        while True:
            wrong = self._mirrors.disowned(path)
            try:
                async with self.asking(path, rewrite=rewrite) as found:
                    return await make(found)
            except BadUpstreamBody:
                if not self._mirrors.disowned(path) > wrong:
                    raise

    @asynccontextmanager
    async def asking(
        self, path: str, *, rewrite: Callable[[str], Awaitable[Blob | None]] | None = None
    ) -> AsyncIterator[Shelved]:
        """Ask upstream for a path. What the body raises undoes it. Raises UpstreamError, StorageFull.

        `rewrite` is given the digest of bytes that are new, and gives what is to be known instead, if anything is.
        """
        last = await self._catalog.load_channel_file(self._place, path)
        if last is not None and last.sha256 and await self._artifacts.size(last.sha256) is None:
            last = replace(last, etag=None, last_modified=None)  # evicted: unchanged would not help us
        found, size = await self._ask(path, last)
        try:
            written = await rewrite(found.sha256) if rewrite is not None and found.is_new else None
            known = found if written is None else replace(found, file=replace(found.file, sha256=written.sha256))
            yield known
        except EnvproxyError as error:
            if isinstance(error, BadUpstreamBody) and found.is_known:
                self._mirrors.disown(path, found.file.server)
            if size is not None:
                await asyncio.to_thread(self._store.delete, found.sha256)
            raise
        if size is not None:
            await self._catalog.add_blob(found.sha256, size, "listing", found.checked_at)
        if written is not None:
            await self._catalog.add_blob(*written, "listing", found.checked_at)
        if known.file.state != "absent" or self._rules.is_asked_for(path):
            await self._catalog.save_channel_file(known.file)

    async def _ask(self, path: str, last: ChannelFile | None) -> tuple[Shelved, int | None]:
        """What upstream says, and the size of the blob that came of it, if the store did not have it before."""
        async with self._mirrors.changed(path, last) as (server, answer):
            now = self._clock()
            if isinstance(answer, Absent):
                was_known = last is not None and last.state != "absent"
                return Shelved(self._absent(path, "gone" if was_known else "absent", now)), None
            fresh_until = now + lifetime(answer.cache_control, answer.age, default_s=self._rules.fresh_for_s)
            if isinstance(answer, NotModified):
                if last is None or last.state != "known":
                    raise UpstreamError(f"{server} answered 304 for {path}, which is not known", cause="bad_body")
                return Shelved(replace(last, checked_at=now, fresh_until=fresh_until)), None
            sha256, size = await self._take(path, answer)
        file = ChannelFile(
            self._place, path, "known", sha256, server, answer.etag, answer.last_modified, now, fresh_until
        )
        return Shelved(file, is_new=last is None or last.sha256 != sha256), size

    def _absent(self, path: str, state: Literal["absent", "gone"], now: float) -> ChannelFile:
        return ChannelFile(self._place, path, state, "", "", None, None, now, now + ABSENT_S)

    async def _take(self, path: str, answer: Incoming) -> tuple[str, int | None]:
        announced = answer.body.total or 0
        self._check_size(path, announced)  # before anything is evicted for it
        partial = await self._artifacts.receive(announced)
        try:
            async for chunk in answer.body.chunks():
                await asyncio.to_thread(partial.append, chunk)
                self._check_size(path, partial.seen)
                if partial.full:
                    raise StorageFull(f"no room for {path}", hint="raise store.limit or free disk")
            was_here = await self._artifacts.size(partial.digest()) is not None
            sha256 = await asyncio.to_thread(partial.commit, None)
        finally:
            await asyncio.to_thread(partial.close)
        return sha256, None if was_here else partial.seen

    def _check_size(self, path: str, size: int) -> None:
        limit = self._rules.limit_bytes(path)
        if size > limit:
            raise Oversized(f"{path} has more than {limit} bytes", hint=self._rules.hint)
