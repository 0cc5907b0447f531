"""Where upstream things come from: what a client needs to write a lock that works without this proxy.

    /api/origins                         the upstream URLs of every index, channel and collection of files
    /pypi/<index>/origins/<project>/     the upstream URL of every file on a project's page

A lock names files by their upstream's own URLs, but pages served here link to this proxy. Invariant: no URL that goes
out carries a credential: no user, no query (signed links), no `/t/<token>/`. What is hosted here has no other origin
and is left out. Nothing is fetched that a page would not fetch.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from .errors import NoSuchThing, PolicyRefused
from .pypi.index import Index, find_index
from .pypi.names import normalize
from .pypi.page import Page
from .tables import Config

_TOKEN = re.compile(r"/t/[^/]+(?=/)")


class OriginRoutes:
    """The handlers."""

    def __init__(self, config: Config, indexes: Mapping[str, Index]) -> None:
        self._origins = msgspec.json.encode(origins(config))
        self._indexes = indexes

    def add_to(self, app: web.Application) -> None:
        """Register the URLs."""
        app.router.add_get("/api/origins", self.all, name="origins")
        app.router.add_get("/pypi/{index}/origins/{project}/", self.project, name="origins.project")

    async def all(self, _request: web.Request) -> web.Response:
        """Indexes, channels and collections of files by name, with the URLs of their upstreams in order."""
        return _json(self._origins)

    async def project(self, request: web.Request) -> web.Response:
        """The files of one project, as its owner lists them now."""
        index, project = (
            find_index(self._indexes, request.match_info["index"]),
            normalize(request.match_info["project"]),
        )
        verdict = index.policy.judge_name(project)
        if not verdict.allowed:
            raise PolicyRefused(verdict.reason)
        owned = await index.owned(project)
        if owned is None:
            raise NoSuchThing(f"index {index.name} has no project {project}")
        files = {} if owned.source.upstream is None else await asyncio.to_thread(_files, owned.page)
        return _json(msgspec.json.encode({"files": files}))


def origins(config: Config) -> dict[str, dict[str, list[str]]]:
    """The answer of /api/origins: names of this proxy to URLs of upstreams."""
    upstreams = config.pypi.upstreams
    return {
        "indexes": {
            name: _public(upstreams[source].url for source in index.sources if source in upstreams)
            for name, index in config.pypi.indexes.items()
        },
        "channels": {
            **{name: _public(channel.url) for name, channel in config.conda.channels.items()},
            **{name: [] for name in config.conda.hosted},
        },
        "files": {name: _public([files.url]) for name, files in config.files.items()},
    }


def public_url(url: str) -> str:
    """The URL without anything that may be a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, path=_TOKEN.sub("", parts.path, count=1), query="", fragment="").geturl()


def _public(urls: Iterable[str]) -> list[str]:
    """Those that mean the same elsewhere: a directory of this machine does not."""
    return [public_url(url) for url in urls if not url.startswith("file:")]


def _files(page: Page) -> dict[str, str]:
    return {link.filename: public_url(link.url) for link in page.links()}


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})
