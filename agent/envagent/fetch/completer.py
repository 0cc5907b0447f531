"""The Completer of the agent: what a foreign lock leaves out is asked of the proxy, or of indexes and channels.

All questions of one lock go out together, each page is asked for once. A server that does not answer is an error and
never an absence.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envagent.fetch.fetch import informed
from envagent.fetch.network import Network
from envagent.fetch.releases import Releases
from envagent.fetch.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envagent.fetch.sources import Sources
    from envagent.lock.complete import KnownFile, Wanted


@dataclass(frozen=True, slots=True)
class NetworkCompleter:
    """A `lock.complete.Completer`. `token` is for the proxy."""

    sources: Sources
    token: str = field(default="", repr=False)
    report: Report = field(default_factory=Report)

    def find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        """Every file of each release (blocking; not to be called from an event loop). Raises SourceUnreachable."""
        return asyncio.run(self._find(wanted))

    async def _find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        releases = [one for one in wanted if one.face == "pypi"]
        packages = [one for one in wanted if one.face == "conda"]
        async with Network(self.sources.proxy, self.token) as network:
            sources = await informed(self.sources, network, self.report)
            asking = Releases(network, sources)
            found: dict[Wanted, Sequence[KnownFile]] = {}
            found.update(zip(releases, await asyncio.gather(*map(asking.files, releases)), strict=True))
        if packages:
            from envagent.fetch.records import known_packages  # noqa: PLC0415 - py-rattler is large

            found.update(await known_packages(packages, sources, self.token))
        return found
