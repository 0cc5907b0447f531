"""The files of hosted (private, uploaded-to) indexes.

A filename means the same bytes for ever: other bytes under it are refused, even after it was deleted. The project of
a file that was ever here can be told from a foreign one, so that deleting the last file need not send installers to
another index (dependency confusion).
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass

from envproxy.errors import Conflict

from .database import Database

_COLUMNS = (
    "source, project, filename, sha256, size, metadata_sha256, requires_python, "
    "upload_time, yanked, version, uploader"
)


@dataclass(frozen=True, slots=True)
class HostedFile:
    """One uploaded file. `upload_time` is RFC 3339; `yanked` None or the reason, possibly empty (PEP 592)."""

    source: str
    project: str
    filename: str
    sha256: str
    size: int
    metadata_sha256: str | None
    requires_python: str | None
    upload_time: str
    yanked: str | None
    version: str
    uploader: str


class Hosted(Database):
    """The tables `hosted_files` and `hosted_names`."""

    async def add_hosted(self, file: HostedFile) -> bool:
        """Publish a file whose blob is in the store; False if these bytes were already there under this name.

        Raises Conflict if the name stands, or once stood, for other bytes.
        """
        return await self._transaction(lambda connection: _add(connection, file))

    async def check_hosted_name(self, source: str, filename: str, sha256: str) -> None:
        """Raises Conflict if the name stands, or once stood, for other bytes than these."""
        await self._in_thread(lambda: _check_name(self._connection, source, filename, sha256))

    async def hosted_files(self, source: str, project: str) -> list[HostedFile]:
        """The files of a project, by filename."""
        rows = await self._rows(
            f"SELECT {_COLUMNS} FROM hosted_files WHERE source = ? AND project = ? ORDER BY filename",  # noqa: S608
            source, project,
        )  # fmt: skip
        return [HostedFile(*row) for row in rows]

    async def hosted_projects(self, source: str) -> list[str]:
        """The projects that have files, by name."""
        rows = await self._rows("SELECT DISTINCT project FROM hosted_files WHERE source = ? ORDER BY 1", source)
        return [project for (project,) in rows]

    async def ever_hosted(self, source: str, project: str) -> bool:
        """Whether the project has, or ever had, a file here."""
        sql = "SELECT 1 FROM hosted_names WHERE source = ? AND project = ? LIMIT 1"
        return await self._row(sql, source, project) is not None

    async def set_yanked(self, source: str, filename: str, reason: str | None) -> bool:
        """Yank with a reason (possibly empty), or un-yank with None (PEP 592); False if there is no such file."""
        sql = "UPDATE hosted_files SET yanked = ? WHERE source = ? AND filename = ?"
        return await self._write(sql, reason, source, filename) > 0

    async def delete_hosted(self, source: str, filename: str) -> bool:
        """Unpublish a file; its blob is no longer pinned. False if there is no such file."""
        return await self._write("DELETE FROM hosted_files WHERE source = ? AND filename = ?", source, filename) > 0


def _add(connection: sqlite3.Connection, file: HostedFile) -> bool:
    connection.execute(
        "INSERT OR IGNORE INTO hosted_names (source, filename, project, sha256) VALUES (?, ?, ?, ?)",
        (file.source, file.filename, file.project, file.sha256),
    )
    _check_name(connection, file.source, file.filename, file.sha256)
    marks = ", ".join("?" * len(astuple(file)))
    insert = f"INSERT OR IGNORE INTO hosted_files ({_COLUMNS}) VALUES ({marks})"  # noqa: S608 (constants)
    return connection.execute(insert, astuple(file)).rowcount == 1


def _check_name(connection: sqlite3.Connection, source: str, filename: str, sha256: str) -> None:
    sql = "SELECT sha256 FROM hosted_names WHERE source = ? AND filename = ? AND sha256 != ?"
    if (other := connection.execute(sql, (source, filename, sha256)).fetchone()) is not None:
        raise Conflict(
            f"{filename} is already taken in {source} by other bytes (SHA-256 {other[0]})",
            hint="a filename keeps its meaning even after deletion: upload under a new version or build number",
        )
