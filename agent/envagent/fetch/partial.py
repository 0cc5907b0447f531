"""Artifacts of which only pieces are here, on disk: how much room they take, and which may go.

    folder/<sha256>/marks     and other files of an artifact (peers/holding.py); who brings it has a shared lock on it

Invariant: what somebody brings is not removed, in whichever process that is, for removal needs the lock. A place is
renamed before its files go, so whoever begins the same artifact meanwhile begins with an empty one. Everything here
blocks.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from envagent.store.flock import Flock, acquire
from envagent.store.gc import Held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 512  # of st_blocks, whatever the filesystem's own
_GOING = ".going"


def reserve(place: Path) -> Flock:
    """Make the place, where there is none, and keep it from being removed."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        try:
            lock = acquire(place / "marks", shared=True)
        except FileNotFoundError:  # it was removed a moment ago
            continue
        assert lock is not None
        return lock


class Partials:
    """Those below `folder`, which need not be there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self) -> Iterator[Held]:
        """Every one, with the bytes that it takes on disk (its file has holes) and when its last piece came."""
        for place in sorted(self._folder.glob("*")):
            try:
                stats = [path.stat() for path in (place, *place.iterdir())]
            except FileNotFoundError:  # it is whole, or removed, by now
                continue
            yield Held(
                place.name,
                sum(stat.st_blocks for stat in stats) * _BLOCK_BYTES,
                max(stat.st_mtime for stat in stats),
            )

    def idle(self) -> Iterator[Held]:
        """Those that nobody brings now."""
        for one in self.held():
            if lock := _unless_busy(self._folder / one.key):
                lock.release()
                yield one

    def remove(self, sha256: str) -> bool:
        """Remove one, unless it is gone or somebody brings it; whether it was removed. OSError passes."""
        place = self._folder / sha256
        lock = _unless_busy(place)
        if lock is None:
            return False
        gone = place.with_name(f"{sha256}{_GOING}")
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
        lock.release()
        shutil.rmtree(gone)
        return True

    def sweep(self, *, before: float) -> int:
        """Remove those to which nothing came since then (seconds since the epoch); how many."""
        return sum(self.remove(one.key) for one in list(self.held()) if one.used < before)


def _unless_busy(place: Path) -> Flock | None:
    try:
        return acquire(place / "marks", wait=False)
    except FileNotFoundError:
        return None
