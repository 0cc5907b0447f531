"""The node store: where installed-form trees live, who may build one, and how one becomes visible.

    root/trees/ab/<key>/{manifest,tree/}   published: complete, verified, never touched again
    root/work/<pid>-<random>/              of a running process, locked by it; else an orphan and swept
    root/locks/<key>  root/in-use          flocks: one build of a tree, none removed while anyone materializes
    root/prefixes/  root/leases/           what gc must keep (references.py)
    root/trash/  root/journal  root/boot   what is being unlinked; what is durable; the boot that all else is of

Invariant: a directory under `trees/` is whole, for it arrives by one rename(2), and right, for a tree that was not
synced before the machine went down is discarded at the next start. A key names its content (the sha256 of an artifact
and what it was laid out for), so two builders make the same tree and the second one is thrown away.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import TreeDamaged
from envagent.store.boot import current_boot, once_after_boot
from envagent.store.flock import Flock, acquire, held
from envagent.store.journal import Journal
from envagent.store.manifest import Manifest, TornManifest
from envagent.store.sync import syncfs

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Tree:
    """A published tree: `key` names it, `files` is the directory that the manifest describes."""

    key: str
    path: Path

    @cached_property
    def files(self) -> Path:
        """The root of what is linked into prefixes."""
        return self.path / "tree"

    @cached_property
    def manifest_path(self) -> Path:
        """The file of the manifest."""
        return self.path / "manifest"

    @cached_property
    def manifest(self) -> Manifest:
        """Raises TreeDamaged."""
        try:
            return Manifest.read(self.manifest_path)
        except (TornManifest, FileNotFoundError):
            raise TreeDamaged(self.key) from None

    @property
    def is_whole(self) -> bool:
        """Whether its manifest can be read, and every file and link of it is there, whatever is in them."""
        try:
            return all(
                map(os.path.lexists, (self.files / path for path in (*self.manifest.paths, *self.manifest.links)))
            )
        except TreeDamaged:
            return False


class Build:
    """The right to build the tree `key`, until `publish` or `release`: fill `files`, then publish its manifest."""

    def __init__(self, store: NodeStore, key: str, folder: Path, lock: Flock) -> None:
        self.key = key
        self._store = store
        self._folder = folder
        self._lock = lock
        self.files.mkdir(parents=True)

    @property
    def files(self) -> Path:
        """The directory to fill."""
        return self._folder / "tree"

    def publish(self, manifest: Manifest) -> Tree:
        """Make the tree visible, at once and whole."""
        (self._folder / "manifest").write_bytes(manifest.encode())
        (self._folder / "manifest").chmod(0o444)
        try:
            return self._store.admit(self.key, self._folder)
        finally:
            self._lock.release()

    def release(self) -> None:
        """Give up the right to build; what was written goes with the working directory it is in."""
        self._lock.release()


class NodeStore:
    """A store under `root`, made where there is none; any number of processes may have it open.

    `boot_id` tells one run of the machine from the next; trees not known to be durable do not outlive one.
    """

    def __init__(self, root: Path, *, boot_id: str | None = None) -> None:
        self.root = root.absolute()
        self.boot_id = boot_id if boot_id is not None else current_boot()
        for name in ("trees", "work", "locks", "prefixes", "leases", "trash"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.root / "journal")
        self._fresh: set[str] = set()
        once_after_boot(self.root / "boot", self.root / "locks" / ".boot", self.boot_id, self._discard_unsynced)

    # --- looking ---------------------------------------------------------------------------------------

    def find(self, key: str) -> Tree | None:
        """The tree, or None. Only meaningful while `in_use` is held, else it may go at any time."""
        path = self._place(key)
        return Tree(key, path) if os.path.isdir(path) else None  # noqa: PTH112  # hundreds of them each time

    def trees(self) -> Iterator[Tree]:
        """Every published tree."""
        for shelf in sorted((self.root / "trees").iterdir()):
            for path in sorted(shelf.iterdir()):
                yield Tree(path.name, path)

    @contextmanager
    def in_use(self) -> Iterator[Path]:
        """A working directory of this process; nothing is removed from the store while it is held."""
        with held(self.root / "in-use", shared=True):
            work, lock = self._new_work()
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
                lock.release()

    # --- building --------------------------------------------------------------------------------------

    def reserve(self, key: str, work: Path, *, wait: bool) -> Tree | Build | None:
        """The tree where someone has built it by now, else the right to build it inside `work`.

        None where another is at it and `wait` is False. Who waits must hold no other reservation.
        """
        lock = acquire(self.root / "locks" / key, wait=wait)
        if lock is None:
            return None
        if tree := self.find(key):
            lock.release()
            return tree
        return Build(self, key, work / key, lock)

    def admit(self, key: str, folder: Path) -> Tree:
        """Rename a finished folder to its place; where one stands already, that one stays."""
        place = self._place(key)
        place.parent.mkdir(exist_ok=True)
        try:
            folder.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            shutil.rmtree(folder)
        self._fresh.add(key)
        return Tree(key, place)

    @property
    def fresh(self) -> frozenset[str]:
        """The keys of what this process has published and not settled."""
        return frozenset(self._fresh)

    def settle(self, names: set[str] | None = None) -> None:
        """Make durable what this process has published, and `names` that lie on the same disk: one syncfs(2)."""
        fresh = self._fresh | (names or set())
        fresh -= self.journal.names()
        if fresh:
            syncfs(self.root)
            self.journal.note(fresh)
        self._fresh.clear()

    # --- removing --------------------------------------------------------------------------------------

    def touch(self, tree: Tree) -> None:
        """The tree is used now: gc removes what was not used for longest first."""
        os.utime(tree.manifest_path)

    def discard(self, tree: Tree) -> None:
        """Take a tree out of sight, at once; its files go with the trash."""
        tree.path.rename(self.root / "trash" / f"{tree.key}.{os.urandom(4).hex()}")

    def discard_damaged(self, key: str) -> None:
        """Take a tree out of sight that is not whole; one that was built anew meanwhile stays."""
        with held(self.root / "locks" / key):
            tree = self.find(key)
            if tree and not tree.is_whole:
                self.discard(tree)
                self.journal.forget([key])

    def sweep(self) -> int:
        """Remove what dead processes left in `work/`, and empty the trash. The number of orphans."""
        with held(self.root / "locks" / ".work"):
            orphans = [path for path in (self.root / "work").iterdir() if self._is_orphan(path)]
        for path in [*orphans, *(self.root / "trash").iterdir()]:
            shutil.rmtree(path, ignore_errors=True)
        return len(orphans)

    def _is_orphan(self, path: Path) -> bool:
        lock = acquire(path, wait=False)
        if lock is None:
            return False
        path.rename(self.root / "trash" / path.name)
        lock.release()
        return True

    def _new_work(self) -> tuple[Path, Flock]:
        with held(self.root / "locks" / ".work", shared=True):
            work = self.root / "work" / f"{os.getpid()}-{os.urandom(4).hex()}"
            work.mkdir()
            lock = acquire(work)
        assert lock is not None
        return work, lock

    def _place(self, key: str) -> Path:
        return Path(f"{self.root}/trees/{key[:2]}/{key}")

    def _discard_unsynced(self) -> None:
        durable = self.journal.names()
        for tree in self.trees():
            if tree.key not in durable:
                self.discard(tree)
