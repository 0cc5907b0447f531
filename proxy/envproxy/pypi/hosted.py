"""A private repository that lives here: its files were uploaded, its pages are made from the catalog.

It answers for every name it ever had: a project whose last file was deleted is gone, not absent, so that a later
source can never take the name over. Clients must revalidate its pages, for an upload is to be seen at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256

import msgspec

from envproxy.engine.catalog import Catalog, HostedFile
from envproxy.engine.freshness import known_span
from envproxy.engine.upstream import Upstream
from envproxy.errors import NoSuchThing

from .page import Page, parse
from .source import Standing

FRESH_S = 600.0  # in this process only: uploads and the CLI's edits drop what is ready
_URL = "http://hosted.invalid/"  # entries need an absolute URL; nobody ever asks this one (RFC 6761)


class HostedSource:
    """See the module; a `Source`. `clock` gives seconds since the epoch."""

    def __init__(self, name: str, catalog: Catalog, *, clock: Callable[[], float]) -> None:
        self._name = name
        self._catalog = catalog
        self._clock = clock

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._name

    @property
    def upstream(self) -> Upstream | None:
        """Nobody: every file is here."""
        return None

    async def standing(self, project: str, *, ask: bool = False) -> Standing:
        """See `Source`. Never fails."""
        now = self._clock()
        files = await self._catalog.hosted_files(self._name, project)
        span = known_span(now, FRESH_S)
        if files:
            return Standing("known", span, _fingerprint(files), checked_at=now, shared_s=0.0)
        state = "gone" if await self._catalog.ever_hosted(self._name, project) else "absent"
        return Standing("gone" if state == "gone" else "absent", span, checked_at=now, shared_s=0.0)

    async def last(self, project: str) -> Standing | None:
        """See `Source`: what is here now."""
        return await self.standing(project)

    async def page(self, project: str) -> Page:
        """See `Source`."""
        files = await self._catalog.hosted_files(self._name, project)
        if not files:
            raise NoSuchThing(f"{self._name} has no project {project}")
        return await asyncio.to_thread(_page, project, files)

    async def remember_absence(self, project: str) -> None:
        """Nothing to remember: the catalog knows."""


def _fingerprint(files: list[HostedFile]) -> str:
    return sha256(msgspec.json.encode(files)).hexdigest()


def _page(project: str, files: list[HostedFile]) -> Page:
    """The page as an upstream would have sent it (PEP 691, 700), through the one parser that all pages pass."""
    body = {
        "meta": {"api-version": "1.4"},
        "name": project,
        "files": [_entry(file) for file in files],
    }
    return parse(msgspec.json.encode(body), content_type=None, url=_URL, project=project)


def _entry(file: HostedFile) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": f"{_URL}{file.sha256}/{file.filename}",
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": file.upload_time,
        "yanked": file.yanked or True if file.yanked is not None else False,
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if file.metadata_sha256:
        entry["core-metadata"] = {"sha256": file.metadata_sha256}
    return entry
