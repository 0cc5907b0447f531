"""The files of hosted (private, uploaded-to) indexes.

A filename means the same bytes for ever: other bytes under it are refused, even after it was deleted. The project of
a file that was ever here can be told from a foreign one, so that deleting the last file need not send installers to
another index (dependency confusion).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import msgspec

from envproxy.errors import Conflict

from .ledger import Entry, Recorded

_COLUMNS = (
    "source, project, filename, sha256, size, metadata_sha256, requires_python, "
    "upload_time, yanked, version, uploader"
)
_MARKS = ", ".join("?" * len(_COLUMNS.split(",")))
_TAKE_NAME = "INSERT OR REPLACE INTO hosted_names (source, filename, project, sha256) VALUES (?, ?, ?, ?)"
_DELETED = """
    SELECT source, filename, project, sha256 FROM hosted_names
    EXCEPT SELECT source, filename, project, sha256 FROM hosted_files
"""


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


class FileKept(msgspec.Struct, frozen=True, tag_field="entry", tag="file"):
    """A file was published, yanked or unyanked: it now is as `file` says."""

    file: HostedFile

    def redo(self, connection: sqlite3.Connection) -> None:
        """See `Entry`."""
        file = self.file
        connection.execute(_TAKE_NAME, (file.source, file.filename, file.project, file.sha256))
        connection.execute(f"INSERT OR REPLACE INTO hosted_files ({_COLUMNS}) VALUES ({_MARKS})", astuple(file))  # noqa: S608


class FileDeleted(msgspec.Struct, frozen=True, tag_field="entry", tag="file-deleted"):
    """A file was deleted; its name stays taken."""

    source: str
    filename: str
    project: str
    sha256: str

    def redo(self, connection: sqlite3.Connection) -> None:
        """See `Entry`."""
        connection.execute(_TAKE_NAME, (self.source, self.filename, self.project, self.sha256))
        connection.execute("DELETE FROM hosted_files WHERE source = ? AND filename = ?", (self.source, self.filename))


class Hosted(Recorded):
    """The tables `hosted_files` and `hosted_names`."""

    async def add_hosted(self, file: HostedFile) -> bool:
        """Publish a file whose blob is in the store; False if these bytes were already there under this name.

        Raises Conflict if the name stands, or once stood, for other bytes.
        """
        return await self._enter(lambda connection: _published(connection, file))

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
        return await self._enter(lambda connection: _yanked(connection, source, filename, reason))

    async def delete_hosted(self, source: str, filename: str) -> bool:
        """Unpublish a file; its blob is no longer pinned. False if there is no such file."""
        return await self._enter(lambda connection: _deleted(connection, source, filename))

    def _standing(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        yield from super()._standing(connection)
        for row in connection.execute(f"SELECT {_COLUMNS} FROM hosted_files"):  # noqa: S608 (a constant)
            yield FileKept(HostedFile(*row))
        for row in connection.execute(_DELETED):
            yield FileDeleted(*row)


def _published(connection: sqlite3.Connection, file: HostedFile) -> FileKept | None:
    _check_name(connection, file.source, file.filename, file.sha256)
    return FileKept(file) if _find(connection, file.source, file.filename) is None else None


def _yanked(connection: sqlite3.Connection, source: str, filename: str, reason: str | None) -> FileKept | None:
    file = _find(connection, source, filename)
    return None if file is None else FileKept(replace(file, yanked=reason))


def _deleted(connection: sqlite3.Connection, source: str, filename: str) -> FileDeleted | None:
    file = _find(connection, source, filename)
    return None if file is None else FileDeleted(source, filename, file.project, file.sha256)


def _find(connection: sqlite3.Connection, source: str, filename: str) -> HostedFile | None:
    sql = f"SELECT {_COLUMNS} FROM hosted_files WHERE source = ? AND filename = ?"  # noqa: S608 (a constant)
    row = connection.execute(sql, (source, filename)).fetchone()
    return None if row is None else HostedFile(*row)


def _check_name(connection: sqlite3.Connection, source: str, filename: str, sha256: str) -> None:
    sql = "SELECT sha256 FROM hosted_names WHERE source = ? AND filename = ? AND sha256 != ?"
    if (other := connection.execute(sql, (source, filename, sha256)).fetchone()) is not None:
        raise Conflict(
            f"{filename} is already taken in {source} by other bytes (SHA-256 {other[0]})",
            hint="a filename keeps its meaning even after deletion: upload under a new version or build number",
        )
