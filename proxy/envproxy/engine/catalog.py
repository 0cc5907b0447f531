"""What the proxy remembers between restarts: pages, files and their metadata, blobs and pins, hosted files.

One SQLite file beside the blobs. A row that names a blob is written after the blob became visible; a reader takes a
missing blob for a miss. Nothing is loaded at start. Times come in as seconds since the epoch; project names are
normalised (PEP 503) by the caller; `source` is the name of an upstream or hosted repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Literal

import msgspec
import zstandard

from .blobs import BlobKind, BlobRow, Blobs, Pin
from .channels import Channels, PackageKept
from .hosted import FileDeleted, FileKept, Hosted, HostedFile
from .scrubs import Scrubs

FILENAME = "catalog.sqlite"
"""What the catalog is called in the data directory."""

__all__ = ["FILENAME", "Artifact", "BlobKind", "BlobRow", "Catalog", "HostedFile", "Page", "Pin", "Sidecar"]


@dataclass(frozen=True, slots=True)
class Page:
    """What a source said of a project, last confirmed at `checked_at` and to be asked again after `fresh_until`.

    `body` is the canonical page, None unless known; `fingerprint` the SHA-256 of upstream's own body; `etag` and
    `last_modified` are upstream's validators (RFC 9110, section 8.8). `absent` never was, `gone` was removed.
    """

    source: str
    project: str
    state: Literal["known", "absent", "gone"]
    body: bytes | None
    fingerprint: str
    etag: str | None
    last_modified: str | None
    changed_at: float
    checked_at: float
    fresh_until: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a project whose bytes were cached at some time. `upload_time` is upstream's, for ever (PEP 700)."""

    source: str
    project: str
    filename: str
    sha256: str
    size: int
    url: str
    upload_time: str | None
    first_seen: float


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The metadata of a wheel (PEP 658), None if it has none that can be served; `reason` says how we know.

    `wheel_key` stands for the bytes of one wheel as one source describes them.
    """

    wheel_key: str
    metadata_sha256: str | None
    reason: str


class Catalog(Blobs, Hosted, Channels, Scrubs):
    """The tables `pages`, `artifacts` and `sidecars`, and those of its bases: the whole file."""

    KINDS = FileKept | FileDeleted | PackageKept

    async def load_page(self, source: str, project: str) -> Page | None:
        """What the source last said of the project, if it was ever asked."""
        return await self._in_thread(lambda: self._load_page(source, project))

    async def save_page(self, page: Page) -> None:
        """Remember what the source says now, in place of what it said before."""
        await self._in_thread(lambda: self._save_page(page))

    async def touch_page(self, source: str, project: str, *, checked_at: float, fresh_until: float) -> None:
        """Note that the source confirmed what it had said."""
        sql = "UPDATE pages SET checked_at = ?, fresh_until = ? WHERE source = ? AND project = ?"
        await self._write(sql, checked_at, fresh_until, source, project)

    async def forget_page(self, source: str, project: str) -> None:
        """Drop what the source said, as if it had never been asked."""
        await self._write("DELETE FROM pages WHERE source = ? AND project = ?", source, project)

    async def page_names(self, source: str) -> list[str]:
        """The projects that the source is known to have, by name."""
        sql = "SELECT project FROM pages WHERE source = ? AND state = 'known' ORDER BY project"
        return [project for (project,) in await self._rows(sql, source)]

    async def find_artifact(self, source: str, project: str, filename: str, sha256: str | None) -> Artifact | None:
        """The file with that digest; the one seen last if `sha256` is None."""
        row = await self._row(
            f"{_ARTIFACTS} AND filename = ? AND sha256 = coalesce(?, sha256) ORDER BY first_seen DESC LIMIT 1",
            source, project, filename, sha256,
        )  # fmt: skip
        return None if row is None else Artifact(*row)

    async def first_artifact(self, source: str, project: str, filename: str) -> Artifact | None:
        """The file as it was seen first."""
        row = await self._row(
            f"{_ARTIFACTS} AND filename = ? ORDER BY first_seen, rowid LIMIT 1", source, project, filename
        )
        return None if row is None else Artifact(*row)

    async def find_digest(self, source: str, sha256: str) -> Artifact | None:
        """The file of a source that has this digest, under the name that it was seen with first."""
        sql = f"{_ARTIFACT} WHERE source = ? AND sha256 = ? ORDER BY first_seen, rowid LIMIT 1"
        row = await self._row(sql, source, sha256)
        return None if row is None else Artifact(*row)

    async def add_artifact(self, artifact: Artifact) -> None:
        """Remember a file. Of one already known only the URL changes, and an upload time that was missing."""
        await self._write(
            """
            INSERT INTO artifacts (source, project, filename, sha256, size, url, upload_time, first_seen)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET
                url = excluded.url, upload_time = coalesce(upload_time, excluded.upload_time)
            """,
            *astuple(artifact),
        )

    async def artifacts(self) -> list[Artifact]:
        """Every file that was ever cached, by project: for the command line, since there may be very many."""
        rows = await self._rows(f"{_ARTIFACT} ORDER BY project, filename")
        return [Artifact(*row) for row in rows]

    async def artifacts_of(self, source: str, project: str) -> list[Artifact]:
        """The files of a project, by filename, then in the order they were seen."""
        rows = await self._rows(f"{_ARTIFACTS} ORDER BY filename, first_seen", source, project)
        return [Artifact(*row) for row in rows]

    async def find_sidecar(self, wheel_key: str) -> Sidecar | None:
        """What is known of the metadata of a wheel."""
        row = await self._row(
            "SELECT wheel_key, metadata_sha256, reason FROM sidecars WHERE wheel_key = ?", wheel_key
        )
        return None if row is None else Sidecar(*row)

    async def save_sidecar(self, sidecar: Sidecar) -> None:
        """Remember what is known of the metadata of a wheel, in place of what was."""
        sql = "INSERT OR REPLACE INTO sidecars (wheel_key, metadata_sha256, reason) VALUES (?, ?, ?)"
        await self._write(sql, *astuple(sidecar))

    async def sidecars_for(self, wheel_keys: Iterable[str]) -> dict[str, str | None]:
        """The SHA-256 of the metadata of each of the wheels that is known, None for one that has none."""
        sql = """
            SELECT wheel_key, metadata_sha256 FROM sidecars
            WHERE wheel_key IN (SELECT value FROM json_each(?))
            """

        def look_up() -> dict[str, str | None]:  # of a long page there are thousands: not on the loop
            wanted = msgspec.json.encode(list(wheel_keys)).decode()
            return dict(self._connection.execute(sql, (wanted,)).fetchall())

        return await self._in_thread(look_up)

    def _load_page(self, source: str, project: str) -> Page | None:
        sql = f"SELECT {_PAGE} FROM pages WHERE source = ? AND project = ?"  # noqa: S608 (a constant)
        row = self._connection.execute(sql, (source, project)).fetchone()
        if row is None:
            return None
        page = Page(*row)
        if page.body is None:
            return page
        return replace(page, body=zstandard.ZstdDecompressor().decompress(page.body))

    def _save_page(self, page: Page) -> None:
        if page.body is not None:
            page = replace(page, body=zstandard.ZstdCompressor().compress(page.body))
        row = astuple(page)
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT OR REPLACE INTO pages ({_PAGE}) VALUES ({marks})", row)  # noqa: S608


_PAGE = "source, project, state, body, fingerprint, etag, last_modified, changed_at, checked_at, fresh_until"
_ARTIFACT = "SELECT source, project, filename, sha256, size, url, upload_time, first_seen FROM artifacts"
_ARTIFACTS = f"{_ARTIFACT} WHERE source = ? AND project = ?"
