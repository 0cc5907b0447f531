"""The servers behind one channel or collection: the same content under several URLs, asked in order, with failover.

The first server that has something wins. Only when every server was asked and none failed is a thing absent: a
failure is never an absence, and one lagging mirror is none either. Who gave a file that turned out wrong is asked for
it after all others from then on. Validators belong to the server that gave them. A token becomes part of every path
on its own origin (`/t/<token>/`), as Conda clients do it. Caches nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from envproxy.errors import BadUpstreamBody, NoSuchThing, UpstreamError

from .answers import Absent, Body, Incoming, NotModified
from .channels import ChannelFile
from .remembered import Remembered

_DISOWNED = 1000  # files of which it is known who has them wrong


class Server(Protocol):
    """One upstream of a channel: `engine.upstream.Upstream`, or a directory."""

    @property
    def name(self) -> str:
        """Its name, for metrics and messages."""

    def stream(self, url: str, *, offset: int = 0, if_range: str | None = None) -> AbstractAsyncContextManager[Body]:
        """See `Upstream.stream`."""

    def stream_changed(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> AbstractAsyncContextManager[Incoming | NotModified | Absent]:
        """See `Upstream.stream_changed`."""

    async def length(self, url: str) -> int | None:
        """See `Upstream.length`."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A server and the root of the channel on it, with a slash at the end."""

    server: Server
    root: str
    token: str | None = field(default=None, repr=False)

    def at(self, path: str) -> str:
        """The URL of a path below the channel."""
        return self._authorized(self.root + path)

    def url(self, place: str, base: str, filename: str) -> str:
        """Where a file is: `base` is relative to the place, as repodata has it ("" is the place itself).

        Raises BadUpstreamBody for a base that is no URL.
        """
        try:
            folder = urljoin(f"{self.root}{place}/", base)
            return self._authorized(f"{folder.removesuffix('/')}/{filename}")
        except ValueError as error:
            raise BadUpstreamBody(
                f"{self.server.name} says that {filename} is where no URL can lead: {error}"
            ) from error

    def _authorized(self, url: str) -> str:
        if self.token is None:
            return url
        target, own = urlsplit(url), urlsplit(self.root)
        if (target.scheme, target.netloc) != (own.scheme, own.netloc) or target.path.startswith("/t/"):
            return url
        return target._replace(path=f"/t/{self.token}{target.path}").geturl()


class Mirrors:
    """See the module."""

    def __init__(self, mirrors: Sequence[Mirror]) -> None:
        self._mirrors = tuple(mirrors)
        self._disowned = Remembered[str, frozenset[str]](_DISOWNED)

    def disowned(self, path: str) -> frozenset[str]:
        """The servers that gave a wrong file for a path; none once every server did, for then all are tried again."""
        return self._disowned.recall(path) or frozenset()

    def disown(self, path: str, server: str) -> bool:
        """What `server` gave for a path is wrong. Whether it was asked before a server that may do better."""
        wrong = self.disowned(path)
        if server in wrong:
            return False  # it came last: no other has the file
        is_last = len(wrong) + 1 == len(self._mirrors)
        self._disowned.keep(path, frozenset() if is_last else wrong | {server})
        return not is_last

    def file(self, place: str, base: str, filename: str, size: int | None) -> MirroredFile:
        """A file for a download; the rest is as for `open`."""
        return MirroredFile(self, place, base, filename, size)

    @asynccontextmanager
    async def changed(
        self, path: str, last: ChannelFile | None
    ) -> AsyncIterator[tuple[str, Incoming | NotModified | Absent]]:
        """The file at `path` below the channel, unless it is the one known as `last`; and the server that has it.

        Raises UpstreamError if a server failed and no other has it; its cause is "4xx" if one of them answered.
        """
        failure: UpstreamError | None = None
        answered = False
        for mirror in self._in_turn(path):
            mine = last if last is not None and last.server == mirror.server.name else None
            async with AsyncExitStack() as stack:
                asking = mirror.server.stream_changed(
                    mirror.at(path),
                    etag=mine.etag if mine else None,
                    last_modified=mine.last_modified if mine else None,
                )
                try:
                    answer = await stack.enter_async_context(asking)
                except UpstreamError as error:
                    failure = failure or error
                    continue
                if not isinstance(answer, Absent):
                    try:
                        yield mirror.server.name, answer
                    except BadUpstreamBody:
                        self.disown(path, mirror.server.name)
                        raise
                    return
                answered = True
        if failure is not None and answered:  # an upstream that is there: another form may be on it
            raise UpstreamError(f"{failure}; no other mirror has {path}", cause="4xx") from failure
        if failure is not None:
            raise failure
        yield "", Absent()

    @asynccontextmanager
    async def open(
        self, place: str, base: str, filename: str, size: int | None, offset: int, validator: str | None
    ) -> AsyncIterator[tuple[str, Body]]:
        """A file from byte `offset` on, and the server that has it; `size` is what it must have, if that is known.

        Raises NoSuchThing if no server has it, UpstreamError if one failed and no other has it.
        """
        failure: UpstreamError | None = None
        for mirror in self._in_turn(f"{place}/{filename}"):
            async with AsyncExitStack() as stack:
                try:
                    url = mirror.url(place, base, filename)
                    opening = mirror.server.stream(url, offset=offset, if_range=validator)
                    body = await stack.enter_async_context(opening)
                    _check_size(filename, size, body)
                except NoSuchThing:
                    continue
                except UpstreamError as error:
                    failure = failure or error
                    continue
                yield mirror.server.name, body
                return
        if failure is not None:
            raise failure
        raise _nowhere(place, filename)

    async def length(self, place: str, base: str, filename: str) -> int | None:
        """The length in bytes of a file, None if the server that has it does not say. Raises as `open`."""
        failure: UpstreamError | None = None
        for mirror in self._in_turn(f"{place}/{filename}"):
            try:
                return await mirror.server.length(mirror.url(place, base, filename))
            except NoSuchThing:
                continue
            except UpstreamError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        raise _nowhere(place, filename)

    def _in_turn(self, path: str) -> list[Mirror]:
        wrong = self.disowned(path)
        return sorted(self._mirrors, key=lambda mirror: mirror.server.name in wrong)


class MirroredFile:
    """One file on all mirrors, for one download."""

    def __init__(self, mirrors: Mirrors, place: str, base: str, filename: str, size: int | None) -> None:
        self._mirrors = mirrors
        self._place = place
        self._base = base
        self._filename = filename
        self._size = size
        self._sender: str | None = None  # of the first byte: whoever resumed it only went on

    @asynccontextmanager
    async def open(self, offset: int, validator: str | None) -> AsyncIterator[Body]:
        """See `download.Opener`. Raises as `Mirrors.open`."""
        opening = self._mirrors.open(self._place, self._base, self._filename, self._size, offset, validator)
        async with opening as (server, body):
            if body.start == 0:
                self._sender = server
            yield body

    def disown(self) -> bool:
        """The bytes turned out wrong: see `Mirrors.disown`."""
        return self._sender is not None and self._mirrors.disown(f"{self._place}/{self._filename}", self._sender)


def _nowhere(place: str, filename: str) -> NoSuchThing:
    return NoSuchThing(f"no upstream of this channel has {place}/{filename}")


def _check_size(filename: str, size: int | None, body: Body) -> None:
    """See that the body has what it must have; one that does not say how much that is will be held to it."""
    if body.total is None:
        body.total = size
    elif size is not None and body.total != size:
        raise BadUpstreamBody(f"{filename} has {body.total} bytes upstream, its repodata says {size}")
