"""From a conda package to its tree in the store: unpacked, checked against paths.json, laid out for one Python.

A worker does all of it for one package at a time (`perform`), the digest of the archive first; the process that asked
publishes. The tree also holds `conda-meta/<stem>.json` as far as that is the same everywhere (conda_meta.py).
Placeholders of prefixes are left in place: which prefix it will be is not known here.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import ArtifactRefused
from envagent.materialize import conda_archive, conda_meta
from envagent.materialize.conda_package import PathEntry, moves, read_package
from envagent.materialize.install import check_digest
from envagent.materialize.job import CondaInstall
from envagent.materialize.layout import BIN
from envagent.materialize.link import make_directories
from envagent.materialize.member import Damaged
from envagent.materialize.paths import directories
from envagent.materialize.scripts import launcher
from envagent.materialize.work import digest
from envagent.store.manifest import Entry, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from envagent.materialize.conda_package import Package
    from envagent.materialize.plan import CondaFile
    from envagent.materialize.untar import Contents
    from envagent.materialize.workers import Workers
    from envagent.store.node import Build, Tree


def start(source: CondaFile, library: str, build: Build, workers: Workers) -> Unpacking:
    """Begin to build the tree of a package."""
    path, root = str(source.path), str(build.files)
    job = CondaInstall(path, source.filename, source.sha256, library, root, source.stem, source.verified)
    return Unpacking(source, build, workers.submit(job))


@dataclass(frozen=True)
class Unpacking:
    """A tree on its way: `finish` waits for the worker."""

    source: CondaFile
    build: Build
    manifest: Future[list[bytes]]

    @property
    def parts(self) -> tuple[Future[list[bytes]], ...]:
        """What `finish` waits for."""
        return (self.manifest,)

    def finish(self) -> Tree:
        """Publish the tree. Raises ArtifactRefused; OSError passes."""
        [manifest] = self.manifest.result()
        return self.build.publish(Manifest.decode(manifest))


def perform(job: CondaInstall) -> bytes:
    """Fill the tree and return its manifest, encoded (runs in a worker). Raises ArtifactRefused; OSError passes."""
    if not job.verified:
        check_digest(job, digest(job.archive))
    tree = Path(job.root)
    try:
        contents = conda_archive.unpack(Path(job.archive), tree)
        package = read_package(contents, stem=job.stem, library=job.library)
        return _Layout(tree, contents, package).make(job).encode()
    except Damaged as damaged:
        raise ArtifactRefused(job.filename, str(damaged)) from None


class _Layout:
    def __init__(self, tree: Path, contents: Contents, package: Package) -> None:
        self._tree = tree
        self._contents = contents
        self._package = package
        self._entries: list[Entry] = []

    def make(self, job: CondaInstall) -> Manifest:
        """Leave what paths.json lists, each at its place, and add what is made here."""
        points = {f"{BIN}/{point.name}": launcher(point) for point in self._package.entry_points}
        meta = conda_meta.path_of(job.stem)
        installed = self._package.installed
        files = [(entry, place) for entry, place in installed if entry.path_type != "directory"]
        empty = {place for entry, place in installed if entry.path_type == "directory"}
        folders = sorted({*directories([*(place for _, place in files), *points, meta, *empty]), *empty})
        self._remove_unlisted()
        if self._package.is_python:
            for here, there in moves(job.library).items():
                if here in self._contents.directories:
                    _move(self._tree / here, self._tree / there)
        make_directories(self._tree, folders)
        for path, data in points.items():
            self._write(path, data, executable=True)
        described = [self._described(entry, place) for entry, place in installed]
        described += [_of_launcher(path, data) for path, data in points.items()]
        self._write(meta, conda_meta.template(self._package.index, described), executable=False)
        links = [(place, target) for entry, place in files if (target := self._contents.links.get(entry.path))]
        return Manifest.of(folders, [*self._entries, *self._of_archive(files)], links)

    def _remove_unlisted(self) -> None:
        """Files that paths.json does not list, and what directories that leaves empty."""
        listed = {entry.path for entry, _ in self._package.installed}
        for path in (self._contents.files.keys() | self._contents.links.keys()) - listed:
            (self._tree / path).unlink()
        for path in sorted(self._contents.directories - set(directories(listed)) - listed, reverse=True):
            (self._tree / path).rmdir()

    def _of_archive(self, files: list[tuple[PathEntry, str]]) -> Iterator[Entry]:
        for entry, place in files:
            if file := self._contents.files.get(entry.path):
                yield Entry(place, file.size, file.executable, file.sha256)

    def _described(self, entry: PathEntry, place: str) -> PathEntry:
        """The entry as conda-meta has it: of a link, the digest is that of its target's name."""
        if target := self._contents.links.get(entry.path):
            in_prefix = hashlib.sha256(target.encode()).hexdigest()
            return PathEntry(place, entry.path_type, entry.sha256, in_prefix, entry.size_in_bytes)
        mode, placeholder = entry.file_mode, entry.prefix_placeholder
        if placeholder:
            mode = mode or "text"
        return PathEntry(
            place,
            entry.path_type,
            entry.sha256,
            None,
            entry.size_in_bytes,
            mode if placeholder else None,
            placeholder,
        )

    def _write(self, path: str, data: bytes, *, executable: bool) -> None:
        target = self._tree / path
        target.write_bytes(data)
        target.chmod(0o555 if executable else 0o444)
        self._entries.append(Entry(path, len(data), executable, hashlib.sha256(data).digest()))


def _move(here: Path, there: Path) -> None:
    """Rename a file or directory; a directory that is there already takes what is in it. Raises Damaged."""
    if not os.path.lexists(there):
        there.parent.mkdir(parents=True, exist_ok=True)
        here.rename(there)
    elif here.is_dir() and there.is_dir() and not there.is_symlink():
        for inside in here.iterdir():
            _move(inside, there / inside.name)
        here.rmdir()
    else:
        raise Damaged(f"two of its files would be installed as {there.name}")


def _of_launcher(path: str, data: bytes) -> PathEntry:
    return PathEntry(path, "unix_python_entry_point", hashlib.sha256(data).hexdigest(), None, len(data))
