"""The files of one collection that may change: checksums of a release, pointers to the latest one.

They are asked for again when they are no longer fresh, behind the client's back, and stand while upstream is down.
Nothing pins them, so nobody may take one for an artifact: what they say of others is believed as far as upstream is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from envproxy.engine.artifacts import Artifacts
from envproxy.engine.files import Shelved, UpstreamFiles
from envproxy.engine.flights import Flights
from envproxy.engine.known import CacheResult, Freshness
from envproxy.engine.report import Reporter
from envproxy.errors import BadUpstreamBody, NoSuchThing

from .path import FilePath

TEXT_LIMIT_BYTES = 8_000_000  # the checksums of a release of 1000 archives are 0.2 MB


class Changing:
    """See the module. Raises UpstreamError where nothing is known and upstream fails."""

    def __init__(
        self,
        name: str,
        files: UpstreamFiles,
        flights: Flights[str, Shelved],
        artifacts: Artifacts,
        *,
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._files = files
        self._artifacts = artifacts
        self._known = Freshness(name, flights, files.last, self._refresh, reporter=reporter, clock=clock)

    async def get(self, path: FilePath, *, ask: bool = False) -> tuple[Shelved, CacheResult]:
        """The file as it is now. Raises NoSuchThing."""
        found, result = await self._known.get(path.text, ask=ask)
        if found.is_known and await self._artifacts.size(found.sha256) is None:
            found = await self._known.renew(path.text)
        if not found.is_known:
            raise NoSuchThing(f"{self._name} has no {path.text} upstream")
        self._artifacts.used(found.sha256)
        return found, result

    async def text(self, path: FilePath) -> str | None:
        """A small file, read; None where upstream has none."""
        try:
            found, _ = await self.get(path)
        except NoSuchThing:
            return None
        if (await self._artifacts.size(found.sha256) or 0) > TEXT_LIMIT_BYTES:
            raise BadUpstreamBody(f"{path.text} of {self._name} has more than {TEXT_LIMIT_BYTES} bytes")
        data = await asyncio.to_thread(self._artifacts.path(found.sha256).read_bytes)
        return data.decode("utf-8", "replace")

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        self._known.forget()

    async def _refresh(self, path: str, _last: Shelved | None) -> Shelved:
        async with self._files.asking(path) as found:
            return found
