"""The artifacts on this machine: verified downloads, by sha256, found with one stat and no hashing.

    root/files/ab/<sha256>      verified, read-only, never touched again
    root/arriving/<sha256>      being written by whoever holds the flock on it; else left over, and gone on with
    root/unsure/<sha256>        not synced when the machine went down: hashed again before it is used
    root/built/<sha256>         empty: the artifact was built here, and nobody else has it
    root/journal  root/boot     what is durable; the boot that `files` is of

Invariant: what is under `files/` has the bytes that its name says, for it came there by one rename(2) after its
digest was checked. No file is synced on its own: `settle` syncs all of them at once, whenever there is time. Any
number of processes may have it open. It downloads nothing.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.fetch.arrival import Arrival
from envagent.store.boot import current_boot, once_after_boot
from envagent.store.flock import acquire
from envagent.store.gc import Held, choose
from envagent.store.journal import Journal
from envagent.store.sync import syncfs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed: how many artifacts and leftovers of downloads, and bytes of both."""

    files: int
    leftovers: int
    size: int


class Artifacts:
    """The artifacts under `root`, made where there is none. `boot_id` tells one run of the machine from the next."""

    def __init__(self, root: Path, *, boot_id: str | None = None) -> None:
        self.root = root.absolute()
        for name in ("files", "arriving", "unsure", "built"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self.root / "journal")
        self._fresh: set[str] = set()
        boot = boot_id if boot_id is not None else current_boot()
        once_after_boot(self.root / "boot", self.root / ".boot", boot, self._doubt_unsynced)

    # --- looking ---------------------------------------------------------------------------------------

    def find(self, sha256: str, size: int) -> Path | None:
        """The artifact of that digest and size in bytes, or None."""
        path = self._place(sha256)
        try:
            return path if path.stat().st_size == size else None
        except FileNotFoundError:
            return path if self._is_right_after_all(sha256) and path.stat().st_size == size else None

    def locate(self, sha256: str) -> Path | None:
        """The artifact of that digest, whatever its size, or None."""
        path = self._place(sha256)
        return path if path.exists() or self._is_right_after_all(sha256) else None

    def touch(self, sha256: str) -> None:
        """It is used now: what was not used for longest is removed first."""
        with suppress(OSError):  # of another user, or on a disk that is read-only: there is no gc for those
            os.utime(self._place(sha256))

    def held(self) -> Iterator[Held]:
        """Every artifact, with its size in bytes and when it was used last."""
        for path in self._files():
            with suppress(FileNotFoundError):  # evicted meanwhile
                stat = path.stat()
                yield Held(path.name, stat.st_size, stat.st_mtime)

    def built(self) -> set[str]:
        """The digests of what was built on this machine, so that no server can give it again."""
        return set(os.listdir(self.root / "built"))  # noqa: PTH208  # names are all that is needed

    # --- adding ----------------------------------------------------------------------------------------

    def claim(self, sha256: str, size: int) -> Path | Arrival | None:
        """The artifact where it is by now, else the right to bring it; None while another process is at it."""
        lock = acquire(self.root / "arriving" / sha256, wait=False)
        if lock is None:
            return None
        arrival = Arrival(self.root / "arriving" / sha256, lock, sha256, size, self._admit)
        if path := self.find(sha256, size):
            arrival.discard()
            return path
        return arrival

    def adopt(self, path: Path, sha256: str) -> Path:
        """Give a file on the same disk its place; the caller has compared its bytes with the digest."""
        return self._admit(path, sha256)

    def vouch(self, sha256: str) -> None:
        """Its bytes were compared with the digest as they came, by another object of this process."""
        self._fresh.add(sha256)

    def note_built(self, sha256: str) -> None:
        """What arrives under that digest is built here. To be noted first: else it may be gone between."""
        (self.root / "built" / sha256).touch()

    def has_verified(self, sha256: str) -> bool:
        """Whether this object had the bytes compared with the digest, since it was made or settled last."""
        return sha256 in self._fresh

    def settle(self, names: Collection[str] = ()) -> None:
        """Make durable what this object added, and `names` that are here: one syncfs(2), which may take seconds."""
        fresh = self._fresh.union(names) - self._journal.names()
        if fresh:
            syncfs(self.root)
            self._journal.note(fresh)
        self._fresh.clear()

    # --- removing --------------------------------------------------------------------------------------

    def collect(self, *, budget: int = 0, kept: set[str] | None = None) -> Collected:
        """Remove artifacts beyond `budget` bytes, and what dead downloads left (blocking).

        `kept` stay in any case; without it, what was built here. The caller holds off whoever reads artifacts: the
        lock of the node store is for both.
        """
        chosen = self.evict(budget, kept=kept)
        leftovers = self.sweep()
        return Collected(len(chosen), len(leftovers), sum(gone.size for gone in chosen) + sum(leftovers))

    def evict(self, budget: int, *, kept: set[str] | None = None) -> list[Held]:
        """Remove artifacts beyond `budget` bytes, the longest unused first; which ones (blocking). As `collect`."""
        chosen = choose(self.held(), self.built() if kept is None else kept, budget=budget)
        for gone in chosen:
            self._place(gone.key).unlink(missing_ok=True)
            (self.root / "built" / gone.key).unlink(missing_ok=True)
        self._journal.keep({path.name for path in self._files()})
        return chosen

    def sweep(self) -> list[int]:
        """Remove downloads that nobody is at, and what nobody vouches for; their sizes in bytes (blocking)."""
        sizes = []
        for path in (self.root / "arriving").iterdir():
            if lock := acquire(path, wait=False):
                sizes.append(path.stat().st_size)
                path.unlink()
                lock.release()
        for path in (self.root / "unsure").iterdir():
            with suppress(FileNotFoundError):  # somebody vouches for it after all
                size = path.stat().st_size
                path.unlink()
                sizes.append(size)
        return sizes

    # --- files -----------------------------------------------------------------------------------------

    def _place(self, sha256: str) -> Path:
        return self.root / "files" / sha256[:2] / sha256

    def _files(self) -> Iterator[Path]:
        for shelf in sorted((self.root / "files").iterdir()):
            yield from sorted(shelf.iterdir())

    def _admit(self, path: Path, sha256: str) -> Path:
        """Give verified bytes their place."""
        place = self._place(sha256)
        place.parent.mkdir(exist_ok=True)
        path.chmod(0o444)
        path.rename(place)
        self._fresh.add(sha256)
        return place

    def _doubt_unsynced(self) -> None:
        durable = self._journal.names()
        for path in self._files():
            if path.name not in durable:
                path.rename(self.root / "unsure" / path.name)

    def _is_right_after_all(self, sha256: str) -> bool:
        """Whether an artifact from before the machine went down has the right bytes; then it has its place again."""
        path = self.root / "unsure" / sha256
        try:
            with path.open("rb") as file:
                is_right = hashlib.file_digest(file, "sha256").hexdigest() == sha256
            if is_right:
                self._admit(path, sha256)
            else:
                path.unlink()
        except FileNotFoundError:  # there is none, or another process was faster
            return self._place(sha256).exists()
        return is_right
