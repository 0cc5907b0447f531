"""What resolving asks of the proxy, or of indexes without one, beyond what uv and py-rattler ask themselves.

Small documents come into memory; whole files go among the artifacts of this machine, verified, where an environment
made here finds them again. A server that does not answer is SourceUnreachable: nothing is guessed from a failure.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import SourceUnreachable
from envagent.fetch.download import Patience
from envagent.fetch.fetch import download
from envagent.fetch.network import Network
from envagent.fetch.report import Report
from envagent.fetch.sources import Origins, Sources
from envagent.resolve.places import Places
from envproxy.errors import EnvproxyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envagent.lock.model import PythonPackage


@dataclass(frozen=True, slots=True)
class Asking:
    """The servers for the length of one lock; `origins` is what the proxy stands for."""

    network: Network
    artifacts: Artifacts
    proxy: str
    origins: Origins

    @property
    def places(self) -> Places:
        """Where indexes and channels are asked."""
        return Places(self.proxy, self.origins.indexes, self.origins.channels)

    async def page(self, url: str) -> bytes | None:
        """A small document, None where there is none. Raises SourceUnreachable, AccessRefused."""
        found = await self.network.page(url, accept="*/*")
        return found.body if found else None

    async def metadata(self, wheel_url: str) -> bytes | None:
        """METADATA beside a wheel (PEP 658), None where there is none. Raises as `page`, for the proxy alone.

        Some file hosts answer 403 for what they do not have; of any other trouble the wheel itself will tell.
        """
        try:
            return await self.page(f"{wheel_url}.metadata")
        except SourceUnreachable:
            if self.proxy and wheel_url.startswith(f"{self.proxy}/"):
                raise
            return None

    async def upstream_files(self, index: str, project: str) -> Mapping[str, str]:
        """Where upstream has the files of a project of the proxy's. Raises SourceUnreachable, AccessRefused."""
        return await self.network.files_of(index, project)

    async def size(self, url: str) -> int:
        """The size of a file in bytes, 0 where its server does not tell. Raises SourceUnreachable."""
        try:
            return await self.network.server(url).length(url) or 0
        except EnvproxyError as error:
            raise SourceUnreachable(error.message, hint=error.hint) from error

    async def file(self, package: PythonPackage) -> Path:
        """The whole file on this machine. Raises FetchFailed, SourceUnreachable, AccessRefused, DiskRefused."""
        if path := self.artifacts.find(package.sha256, package.size):
            return path
        sources = Sources(self.proxy, origins=self.origins)
        paths = await download([package], self.artifacts, sources, self.network, report=Report(), patience=Patience())
        return paths[package.sha256]


@asynccontextmanager
async def asking(artifacts: Artifacts, proxy: str, token: str = "") -> AsyncIterator[Asking]:
    """Connections that are closed in the end; `proxy` is an origin or "". Raises as `Network.origins`."""
    async with Network(proxy, token) as network:
        yield Asking(network, artifacts, proxy, await network.origins() if proxy else Origins())
