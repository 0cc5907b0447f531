"""A channel in a local directory, as an upstream: the same answers as from a server, from the file system.

Validators are size and time of modification. What is not there is absent; a directory that is gone altogether (an
unmounted share) is a failure, for an absence would be believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from envproxy.engine.answers import READ_BYTES, Absent, Body, Incoming, NotModified
from envproxy.errors import BadUpstreamBody, NoSuchThing, UpstreamError


class FileBody(Body):
    """The bytes of an open file from `start` on."""

    def __init__(self, file: BinaryIO, start: int, total: int, validator: str) -> None:
        self.start = start
        self.total = total
        self.validator = validator
        self._file = file

    async def chunks(self, *, most: int | None = READ_BYTES) -> AsyncGenerator[bytes, None]:
        """The bytes as they are read."""
        while chunk := await asyncio.to_thread(self._file.read, most or READ_BYTES):
            yield chunk


class Directory:
    """See `mirrors.Server`; `root` is absolute."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root

    @asynccontextmanager
    async def stream(self, url: str, *, offset: int = 0, if_range: str | None = None) -> AsyncIterator[Body]:
        """See `mirrors.Server`."""
        opened = await self._open(url)
        if opened is None:
            raise NoSuchThing(f"{self.name} has no {url.rpartition('/')[2]}")
        file, total, validator = opened
        with file:
            start = offset if if_range in (None, validator) else 0
            file.seek(start)
            yield FileBody(file, start, total, validator)

    @asynccontextmanager
    async def stream_changed(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> AsyncIterator[Incoming | NotModified | Absent]:
        """See `mirrors.Server`."""
        del last_modified  # there is always an etag
        opened = await self._open(url)
        if opened is None:
            yield Absent()
            return
        file, total, validator = opened
        with file:
            if etag == validator:
                yield NotModified(None, None)
            else:
                yield Incoming(FileBody(file, 0, total, validator), validator, None, None, None)

    async def length(self, url: str) -> int | None:
        """See `mirrors.Server`."""
        async with self.stream(url) as body:
            return body.total

    async def _open(self, url: str) -> tuple[BinaryIO, int, str] | None:
        """The file of a file: URL, its size and validator; None if it is not there. Raises UpstreamError."""
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        if parts.scheme != "file" or not path.is_relative_to(self._root) or ".." in path.parts:
            raise BadUpstreamBody(f"{self.name} is a directory, and its repodata points out of it")
        return await asyncio.to_thread(self._open_now, path)

    def _open_now(self, path: Path) -> tuple[BinaryIO, int, str] | None:
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            if not self._root.is_dir():
                raise UpstreamError(f"{self.name} is not there", cause="connect", hint="is it mounted?") from None
            return None
        except OSError as error:
            raise UpstreamError(f"{self.name} cannot be read: {error.strerror}", cause="connect") from error
        status = path.stat()
        return file, status.st_size, f'"{status.st_size}-{status.st_mtime_ns}"'
