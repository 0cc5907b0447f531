"""What people put into the catalog and no upstream can give back, once more in a plain file.

The catalog is one SQLite file, and a broken disk can spoil it. Every change to uploads is also an entry of the ledger
`uploads.ledger`, a line of text, written and synced in the transaction that makes the change. The catalog keeps up to
which byte it has read the ledger, and opens by redoing the entries after that: those that a loss of power took back,
or all of them if it is made anew. A ledger that is missing is made of the catalog. An entry holds the whole row as it
then was, so the last one about a name counts, and reading them twice changes nothing. A change that fails leaves no
entry.

Pins are not here, nor is anything that upstream has. Everything here blocks.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from envproxy.errors import StorageFull

from .database import Database, transaction
from .store import FULL

FILENAME = "uploads.ledger"

log = logging.getLogger(__name__)


class Entry(Protocol):
    """One change: a `msgspec.Struct` whose tag, in the field `entry`, says what it is about."""

    def redo(self, connection: sqlite3.Connection) -> None:
        """Make the catalog say what the entry says."""


class Ledger:
    """The file: lines of a CRC-32 in hex, a space and a JSON object.

    Each begins with its line break, so that what a crash tore off spoils no entry after it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def end(self) -> int | None:
        """Its length in bytes, None if there is no such file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return None

    def append(self, entry: Entry) -> int:
        """Write and sync one entry, return where it ends; the caller keeps other writers out.

        Raises StorageFull and other OSErrors: the caller cuts off what may have been written.
        """
        with self.path.open("ab", buffering=0) as file:
            try:
                rest = memoryview(_line(entry))
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno in FULL:
                    raise StorageFull(f"the disk has no room for an entry in {self.path}") from error
                raise
            return file.tell()

    def cut(self, end: int) -> None:
        """Take back what was appended after byte `end`; the caller keeps other writers out."""
        with self.path.open("ab", buffering=0) as file:
            if file.tell() > end:
                file.truncate(end)
                os.fsync(file.fileno())

    def write(self, entries: Iterable[Entry]) -> None:
        """Make the file anew, of these entries."""
        new = self.path.with_name(f"{self.path.name}.new")
        with new.open("wb") as file:
            file.writelines(map(_line, entries))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path)

    def read(self, kinds: Any, start: int) -> Iterator[Entry | None]:  # noqa: ANN401 - a union of types
        """Every entry of one of the `kinds` from byte `start` on; None in place of one that cannot be read."""
        decoder = msgspec.json.Decoder(kinds)
        with self.path.open("rb") as file:
            file.seek(start)
            for line in filter(None, (line.rstrip(b"\n") for line in file)):
                checksum, _, text = line.partition(b" ")
                try:
                    yield decoder.decode(text) if checksum == _checksum(text) else None
                except msgspec.DecodeError:
                    yield None


class Recorded(Database):
    """A database some of whose rows are in a ledger beside it, too. `KINDS` are the kinds of entries."""

    KINDS: ClassVar[Any]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._ledger = Ledger(path.with_name(FILENAME))

    async def _enter(self, decide: Callable[[sqlite3.Connection], Entry | None]) -> bool:
        """Make the change that `decide` names, in database and ledger; False if it names none.

        Whatever goes wrong, in `decide` or on the disk, leaves neither a change nor an entry.
        """
        return await self._in_thread(lambda: self._entered(self._connection, decide))

    def _standing(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        """Entries that say what the database says."""
        yield from ()

    def _entered(self, connection: sqlite3.Connection, decide: Callable[[sqlite3.Connection], Entry | None]) -> bool:
        try:
            with transaction(connection):
                self._catch_up(connection)  # with a process that was killed between its entry and its commit
                entry = decide(connection)
                if entry is None:
                    return False
                entry.redo(connection)
                _read_up_to(connection, self._ledger.append(entry))
        except BaseException:
            with transaction(connection):
                self._ledger.cut(_read_so_far(connection))
            raise
        return True

    def _opened(self, connection: sqlite3.Connection) -> None:
        end = self._ledger.end
        if end is None or end < _read_so_far(connection):
            self._ledger.write(self._standing(connection))
            _read_up_to(connection, self._ledger.end or 0)
        else:
            self._catch_up(connection)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Redo the entries that the database has not read."""
        start, end = _read_so_far(connection), self._ledger.end or 0
        if end <= start:
            return
        entries = list(self._ledger.read(self.KINDS, start))
        for entry in filter(None, entries):
            entry.redo(connection)
        _read_up_to(connection, end)
        if entries:
            log.warning(
                "%d entries on uploads were taken back from %s, %d could not be read",
                len(entries) - entries.count(None), self._ledger.path, entries.count(None),
            )  # fmt: skip


def _read_so_far(connection: sqlite3.Connection) -> int:
    """Up to which byte of the ledger the database says what it says."""
    read: int = connection.execute("SELECT read_bytes FROM ledger").fetchone()[0]
    return read


def _read_up_to(connection: sqlite3.Connection, end: int) -> None:
    connection.execute("UPDATE ledger SET read_bytes = ?", (end,))


def _line(entry: Entry) -> bytes:
    text = msgspec.json.encode(entry)
    return b"\n%s %s" % (_checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
