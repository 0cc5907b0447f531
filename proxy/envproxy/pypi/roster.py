"""The names of a million projects: found in upstreams' lists, put in order, and written as a list of our own.

PyPI's list is 40 MB, so nothing here ever holds one: names are found piece by piece as the list arrives, kept by
SQLite in a temporary file that needs two megabytes of memory, and come out in order and once each (PEP 503, 691).
Invariant: every name is normalised (PEP 503) and safe in a URL and in markup. Everything here blocks, each call for
some milliseconds; where lists come from and go to is not known here.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator

from envproxy.errors import BadUpstreamBody

from .admission import Admission
from .render import Format

_NAME = rb"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?"
_IN_JSON = re.compile(rb'"name"\s*:\s*"(' + _NAME + rb')"')
# Directory listings have a slash behind the name.
_IN_HTML = re.compile(rb"<a\b[^<>]*>\s*(" + _NAME + rb")/?\s*</a\s*>", re.IGNORECASE)
_RUN = re.compile(rb"[-_.]+")
_LONGEST_LINK = 4096  # bytes: what one entry of a list may take
_BATCH = 2000  # names written at a time

_JSON_HEAD = b'{"meta":{"api-version":"1.0"},"projects":['
_HTML_HEAD = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="1.0">
<title>Simple index</title>
</head>
<body>
"""


class NameReader:
    """Finds the names in one list, JSON or HTML; `where` is what to call it in an error."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._head = b""
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The names that end in this piece, normalised, in the list's order. Raises BadUpstreamBody."""
        if len(self._head) < _LONGEST_LINK:
            self._head = (self._head + piece)[:_LONGEST_LINK]
        text = self._rest + piece
        pattern = _IN_JSON if self._is_json else _IN_HTML
        names, end = [], 0
        for match in pattern.finditer(text):
            names.append(match[1])
            end = match.end()
        self._rest = text[max(end, len(text) - _LONGEST_LINK) :]
        return _RUN.sub(b"-", b"\n".join(names).lower()).split(b"\n") if names else []

    def close(self) -> None:
        """Raises BadUpstreamBody unless what was read calls itself a list of projects: a portal page does not."""
        said = self._head.lower()
        if not (b'"projects"' in said if self._is_json else b"simple" in said or b"repository-version" in said):
            raise BadUpstreamBody(
                f"{self._where} sent something that is no list of projects",
                hint="check that the source's URL is that of a simple index (PEP 503)",
            )

    @property
    def _is_json(self) -> bool:
        return self._head.lstrip()[:1] == b"{"


class Roster:
    """Names in order, each once, that `admission` admits; `close` it. One thread at a time may call its methods."""

    def __init__(self, admission: Admission) -> None:
        self._admits = admission.filter()
        # "" is a file of SQLite's own, removed when closed.
        self._names = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._names.execute("PRAGMA journal_mode = OFF")
        self._names.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        """Remove the temporary file."""
        self._names.close()

    def add(self, names: Iterable[bytes]) -> None:
        """Add normalised names; those that are here already, or not admitted, change nothing."""
        self._names.execute("BEGIN")
        rows = ((name,) for name in names if self._admits(name))
        self._names.executemany("INSERT OR IGNORE INTO names VALUES (?)", rows)
        self._names.execute("COMMIT")

    def written(self, fmt: Format) -> Iterator[bytes]:
        """The list in pieces. The HTML formats differ in their label only."""
        is_json = fmt is Format.JSON
        yield _JSON_HEAD if is_json else _HTML_HEAD
        write, between = (_json_entry, b",") if is_json else (_html_entry, b"")
        for number, batch in enumerate(self._batches()):
            yield (between if number else b"") + between.join(map(write, batch))
        yield b"]}" if is_json else b"</body>\n</html>\n"

    def _batches(self) -> Iterator[list[bytes]]:
        rows = self._names.execute("SELECT name FROM names ORDER BY name")
        while batch := rows.fetchmany(_BATCH):
            yield [name for (name,) in batch]


def _json_entry(name: bytes) -> bytes:
    return b'{"name":"%s"}' % name


def _html_entry(name: bytes) -> bytes:
    return b'<a href="%s/">%s</a>\n' % (name, name)
