"""The files of a release as an index lists them, with upstream's URLs (PEP 503, 691, 700).

Asked of the proxy where it has the index, else of the index itself. A page without sizes is helped out by asking for
the length of each file. What nobody tells stays unknown (0, ""): the reader of the lock refuses it by name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.utils import canonicalize_version

from envagent.errors import SourceUnreachable
from envagent.fetch.sources import Origins
from envagent.lock.complete import KnownFile
from envproxy.config import default_endpoint
from envproxy.errors import EnvproxyError
from envproxy.pypi.names import version_of
from envproxy.pypi.page import parse
from envproxy.pypi.source import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.fetch.network import Network
    from envagent.fetch.sources import Sources
    from envagent.lock.complete import Wanted
    from envproxy.pypi.entries import ProjectFile


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file, and where it can be asked for here and now."""

    known: KnownFile
    link: str


class Releases:
    """Asks as `sources` say, whose proxy was asked for its origins."""

    def __init__(self, network: Network, sources: Sources) -> None:
        self._network = network
        self._proxy = sources.proxy
        self._origins = sources.origins or Origins()
        self._direct = sources.fallback or not sources.proxy
        self._pages: dict[tuple[str, str], asyncio.Task[list[_Listed]]] = {}

    async def files(self, wanted: Wanted) -> Sequence[KnownFile]:
        """Every file of the release, or the one at its URL if it is of no index. Raises SourceUnreachable."""
        listed = [file for file in await self._page(wanted) if _is_of(file.known, wanted)]
        if wanted.url and not wanted.source:
            listed = [file for file in listed if file.known.url == wanted.url] or [_alone(wanted.url)]
        return await asyncio.gather(*map(self._sized, listed))

    async def _page(self, wanted: Wanted) -> list[_Listed]:
        """Asked for once, however many releases of it are wanted."""
        key = (wanted.source, wanted.name)
        if key not in self._pages:
            self._pages[key] = asyncio.create_task(self._listed(*key, beside=wanted.beside))
        return await self._pages[key]

    async def _listed(self, index: str, project: str, *, beside: bool) -> list[_Listed]:
        for name in self._origins.index_names(index) if self._proxy else ():
            files = await self._read(f"{self._proxy}/pypi/{name}/simple/{project}/", project)
            if files:
                urls = await self._network.files_of(name, project)
                return [_Listed(_known(file, urls.get(file.filename, file.url)), file.url) for file in files]
        root = default_endpoint() if index == "" and not self._proxy else index
        if "://" not in root or not self._direct:
            return []
        files = await self._read(f"{root.rstrip('/')}/{project}/", project, may_refuse=beside)
        return [_Listed(_known(file, file.url), file.url) for file in files]

    async def _read(self, url: str, project: str, *, may_refuse: bool = False) -> list[ProjectFile]:
        page = await self._network.page(url, accept=ACCEPT, may_refuse=may_refuse)
        if page is None:
            return []
        try:
            return list(parse(page.body, content_type=page.content_type, url=page.url, project=project).files())
        except EnvproxyError as error:
            raise SourceUnreachable(error.message, hint=error.hint) from error

    async def _sized(self, listed: _Listed) -> KnownFile:
        if listed.known.size or not (self._direct or self._is_proxys(listed.link)):
            return listed.known
        try:
            length = await self._network.server(listed.link).length(listed.link)
        except EnvproxyError:  # of any kind: then its size is not known, and its entry is refused by name
            return listed.known
        return replace(listed.known, size=length or 0)

    def _is_proxys(self, url: str) -> bool:
        return bool(self._proxy) and url.startswith(f"{self._proxy}/")


def _known(file: ProjectFile, url: str) -> KnownFile:
    requires_python = file.raw.get("requires-python") or ""
    return KnownFile(file.filename, url, file.size or 0, file.sha256 or "", requires_python)


def _is_of(file: KnownFile, wanted: Wanted) -> bool:
    version = version_of(file.filename, wanted.name)
    return version is not None and canonicalize_version(version) == canonicalize_version(wanted.version)


def _alone(url: str) -> _Listed:
    """A file that no index lists."""
    return _Listed(KnownFile(unquote(url.rpartition("/")[2]), url, 0, ""), url)
