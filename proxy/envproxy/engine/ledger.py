"""What people put into the catalog and no upstream can give back, once more in a plain file.

The catalog is one SQLite file, and a broken disk can spoil it. Every change to uploads is also an entry of the ledger
`uploads.ledger`, a line of text, written and synced in the transaction that makes the change: a catalog that is made
anew starts with what the ledger says, and a ledger that is missing is made of the catalog. An entry holds the whole
row as it then was, so the last one about a name counts, and reading them twice changes nothing.

Pins are not here, nor is anything that upstream has. Everything here blocks.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
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

    def append(self, entry: Entry) -> None:
        """Write and sync one entry; the caller keeps other writers out. Raises StorageFull, and leaves no trace."""
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                rest = memoryview(_line(entry))
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)
                if error.errno in FULL:
                    raise StorageFull(f"the disk has no room for an entry in {self.path}") from error
                raise

    def write(self, entries: Iterable[Entry]) -> None:
        """Make the file anew, of these entries."""
        new = self.path.with_name(f"{self.path.name}.new")
        with new.open("wb") as file:
            file.writelines(map(_line, entries))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path)

    def read(self, kinds: Any) -> Iterator[Entry | None]:  # noqa: ANN401 - a union of types
        """Every entry of one of the `kinds`, in order; None in place of one that cannot be read any more."""
        decoder = msgspec.json.Decoder(kinds)
        with self.path.open("rb") as file:
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

    def _enter(self, connection: sqlite3.Connection, entry: Entry) -> None:
        """Make a change, in the transaction of the caller, and enter it into the ledger."""
        entry.redo(connection)
        self._ledger.append(entry)

    def _standing(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        """Entries that say what the database says."""
        yield from ()

    def _made(self, connection: sqlite3.Connection) -> None:
        if not self._ledger.path.exists():
            return
        entries = list(self._ledger.read(self.KINDS))
        for entry in filter(None, entries):
            entry.redo(connection)
        if entries:
            log.warning(
                "%d entries on uploads were taken back from %s, %d could not be read",
                len(entries) - entries.count(None), self._ledger.path, entries.count(None),
            )  # fmt: skip

    def _opened(self, connection: sqlite3.Connection) -> None:
        if not self._ledger.path.exists():
            with transaction(connection):
                self._ledger.write(self._standing(connection))


def _line(entry: Entry) -> bytes:
    text = msgspec.json.encode(entry)
    return b"\n%s %s" % (_checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
