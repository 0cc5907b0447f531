"""What became of each piece, one JSON object a line: the log that `envagent trace` and `envagent status` read.

    {"at": 1767225600.5, "what": "got", "sha256": "ab...", "piece": 3, "of": "node-7", "bytes": 4096, "seconds": 0.2}

`of` is the node that gave a piece or took one, "" for the proxy. Lines are written behind the transfers' backs, once
a second, so a process that is killed loses a second of them; no decision depends on them. The file is bounded: at
LIMIT_BYTES it becomes the one before, and the one before that goes. A line that a crash or a full disk cut costs that
line alone: the next one begins on a line of its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import msgspec

from envagent.store.journal import ends_in_a_cut_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_BYTES = 16_000_000
WRITE_EVERY_S = 1.0

What = Literal["got", "wrong", "failed", "sent", "whole"]
"""A piece came; it had other bytes than it should; it did not come; a peer took one; the artifact is whole."""

_log = logging.getLogger(__name__)


class Event(msgspec.Struct, frozen=True):
    """One line. `at` is in seconds since the epoch; `of` is a node, "" for the proxy."""

    at: float
    what: What
    sha256: str
    piece: int
    of: str
    bytes: int = 0
    seconds: float = 0.0


class EventLog:
    """The log of one agent, at `path`. `clock` gives seconds since the epoch."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._lines: list[bytes] = []

    def note(self, what: What, sha256: str, piece: int, of: str, *, count: int = 0, seconds: float = 0.0) -> None:
        """Something happened now, with `count` bytes in `seconds`."""
        event = Event(round(self._clock(), 3), what, sha256, piece, of, count, round(seconds, 3))
        self._lines.append(msgspec.json.encode(event) + b"\n")

    async def write_often(self) -> None:
        """Write what was noted once a second, for ever; a disk in trouble costs lines and is said."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await asyncio.to_thread(self.write)
            except OSError as error:
                _log.warning("events cannot be written to %s: %s", self._path, error)

    def write(self) -> None:
        """Write what was noted (blocking). OSError passes."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._path.exists() and self._path.stat().st_size >= LIMIT_BYTES:
            self._path.replace(_before(self._path))
        with self._path.open("ab+") as file:
            if ends_in_a_cut_line(file.fileno()):
                lines.insert(0, b"\n")
            file.write(b"".join(lines))


def read_events(path: Path) -> Iterator[Event]:
    """All events that are kept, the oldest first; what was cut is left out."""
    for file in (_before(path), path):
        if not file.exists():
            continue
        with file.open("rb") as lines:
            for line in lines:
                with suppress(msgspec.DecodeError):
                    yield msgspec.json.decode(line, type=Event)


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
