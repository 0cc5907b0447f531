"""One SQLite file and the one thread that touches it.

WAL with synchronous=NORMAL: a crash of the process loses nothing, a crash of the machine at most the last moments,
and never the consistency of the file. Several processes may open it; `changes_elsewhere` tells one of the writes of
others. Knows no table by its meaning.

A file that is damaged is moved aside, never deleted, and replaced, for a cache must start: at once when it cannot be
opened, else, since most pages of a large file are seldom read, at the next start after the damage was met. It is left
where it is while another process has it open.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

from envproxy.errors import ConfigError, Problem

from .schema import MIGRATIONS

T = TypeVar("T")
Row = tuple[Any, ...]

BUSY_TIMEOUT_S = 10.0  # another process may hold the write lock for a batch, never for long
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_LOST = """the catalog %s is corrupt (%s): starting with a new one, the old one is %s.
hint: pages and metadata come back by themselves, uploads from the ledger, pins do not: try `sqlite3 %s .recover`"""
_DAMAGED = """the catalog %s is corrupt (%s): restart envproxy.
hint: it will start with a new one, take back uploads from the ledger, and keep this one beside it"""

log = logging.getLogger(__name__)


class Database:
    """Opens on `async with`; closing ends its thread. Methods may be called from any task of one event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_new = False  # made by this open: blobs of an earlier life, if any, are to be adopted
        self.damaged = False  # a read or a write met corruption: the next start makes a new file
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog")
        self._connection: sqlite3.Connection  # used by that thread alone
        self._presence: TextIO  # its lock tells others that we have the file open
        self._data_version = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    async def open(self) -> None:
        """Open or make the file, bring its schema up to date.

        Raises ConfigError for a file of a newer envproxy, OSError or sqlite3.OperationalError for an unusable place.
        """
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Finish what was asked for, close the file, end the thread."""
        await self._in_thread(self._close)
        await asyncio.to_thread(self._thread.shutdown)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def changes_elsewhere(self) -> bool:
        """Whether another process wrote since the last call (since `open`, at the first)."""
        before, self._data_version = self._data_version, await self._in_thread(self._read_data_version)
        return self._data_version != before

    async def _rows(self, sql: str, *values: object) -> list[Row]:
        return await self._in_thread(lambda: self._connection.execute(sql, values).fetchall())

    async def _row(self, sql: str, *values: object) -> Row | None:
        rows = await self._rows(sql, *values)
        return rows[0] if rows else None

    async def _write(self, sql: str, *values: object) -> int:
        """Run one statement, return how many rows it changed."""
        return await self._in_thread(lambda: self._connection.execute(sql, values).rowcount)

    async def _write_many(self, sql: str, rows: Iterable[Row]) -> int:
        """Run one statement for each of `rows` in one transaction, return how many rows it changed."""
        return await self._transaction(lambda connection: connection.executemany(sql, rows).rowcount)

    async def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the thread, in one transaction that no other writer can come between."""

        def run() -> T:
            with transaction(self._connection) as connection:
                return work(connection)

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._watched, work)

    def _watched(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if _is_corruption(error) and not self.damaged:
                self.damaged = True
                log.error(_DAMAGED, self.path, error)  # noqa: TRY400 - where it was met says nothing
                self._beside("damaged").write_text(str(error))
            raise

    def _opened(self, connection: sqlite3.Connection) -> None:
        """Called in the transaction that makes the tables or brings them up to date, at each open."""

    def _open(self) -> None:
        with _opening_alone(self._beside("opening")):
            self._presence = self._beside("open").open("w")
            try:
                self._replace_damaged()
                self._connect()
                fcntl.flock(self._presence, fcntl.LOCK_SH)
            except BaseException:
                self._presence.close()
                raise
        self._data_version = self._read_data_version()

    def _close(self) -> None:
        self._connection.close()
        self._presence.close()

    def _connect(self) -> None:
        try:
            self._connection, self.is_new = _connect(self.path, self._opened)
        except sqlite3.DatabaseError as error:
            if not _is_corruption(error) or not _locked_alone(self._presence):
                raise
            self._replace(str(error))
            self._connection, self.is_new = _connect(self.path, self._opened)

    def _replace_damaged(self) -> None:
        """Begin anew if an earlier process met corruption."""
        note = self._beside("damaged")
        if note.exists() and _locked_alone(self._presence):
            if self.path.exists():
                self._replace(note.read_text())
            note.unlink()

    def _replace(self, why: str) -> None:
        aside = _move_aside(self.path)
        log.warning(_LOST, self.path, why, aside, aside)

    def _beside(self, purpose: str) -> Path:
        return self.path.with_name(f"{self.path.name}-{purpose}")

    def _read_data_version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction that no other writer can come between; what is raised in it undoes it."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        yield connection


@contextlib.contextmanager
def _opening_alone(lock_file: Path) -> Iterator[None]:
    """Let one process at a time open the file.

    SQLite's busy timeout does not cover the switch to WAL, and nothing but this keeps two from moving a corrupt file
    aside, one of them the other's new one.
    """
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked_alone(presence: TextIO) -> bool:
    """Whether no other process has the file open."""
    try:
        fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_corruption(error: sqlite3.DatabaseError) -> bool:
    """SQLite itself says so; the errors of Python's module about our own mistakes have no code."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _CORRUPT


def _connect(path: Path, opened: Callable[[sqlite3.Connection], None]) -> tuple[sqlite3.Connection, bool]:
    """Open `path` with an up-to-date schema, `opened` by its owner; the second value is whether it was empty."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            is_new = _migrate(connection, path) == 0
            opened(connection)
        return connection, is_new
    except BaseException:
        connection.close()
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Take the steps that the file lacks, return how many it had taken before."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        what = f"was written by a newer envproxy (schema {version}, this one knows {len(MIGRATIONS)})"
        raise ConfigError([Problem(str(path), what, "upgrade envproxy, or use another directory")])
    for step in MIGRATIONS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    return version


def _move_aside(path: Path) -> Path:
    """Rename the file and its WAL to catalog.corrupt-<n>, the first number that is free."""
    aside = next(p for n in count(1) if not (p := path.with_name(f"{path.stem}.corrupt-{n}")).exists())
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)  # an index of the WAL, made anew
    with contextlib.suppress(FileNotFoundError):  # a clean close leaves no WAL
        path.with_name(f"{path.name}-wal").rename(f"{aside}-wal")
    return path.rename(aside)
