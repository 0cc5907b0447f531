"""From a wheel to its tree in the store: what an installer leaves behind, laid out relative to any prefix.

A small wheel is one job of one worker. A large one is read here and its members are shared out in units; what remains
(scripts, INSTALLER, RECORD, the manifest) is done when they are written. Both go through the same steps, with other
hands. Invariant: nothing is published unless the wheel has the SHA-256 that was asked for and every file is the one
that RECORD promises.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from envagent.errors import ArtifactRefused
from envagent.materialize import record
from envagent.materialize.job import Digest, Install, Unpack
from envagent.materialize.layout import BIN, Placed, record_path, site_packages, spread
from envagent.materialize.member import Damaged, read, starts_with, write_new
from envagent.materialize.paths import directories
from envagent.materialize.scripts import SHEBANG, launcher, with_interpreter
from envagent.materialize.wheel import Wheel, read_wheel
from envagent.materialize.work import perform
from envagent.store.manifest import Entry, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from envagent.materialize.job import CondaInstall, Job
    from envagent.materialize.plan import WheelFile
    from envagent.store.node import Build, Tree

INSTALLER = b"envagent\n"
_WHOLE_BYTES = 20 << 20  # of a wheel: one worker makes the whole tree, in a few tenths of a second
_UNIT_BYTES = 8 << 20  # of unpacked content: small enough to share out, large enough to be worth a frame
_UNIT_FILES = 500


class Hands(Protocol):
    """Who does jobs: the workers, or whoever asks."""

    def submit(self, job: Job) -> Future[list[bytes]]:
        """The answer, now or later; the future raises ArtifactRefused, Damaged or OSError."""


class _Own:
    """Hands that do a job when they are given it."""

    def submit(self, job: Job) -> Future[list[bytes]]:
        """As Hands say."""
        done: Future[list[bytes]] = Future()
        try:
            done.set_result(perform(job).result())
        except (ArtifactRefused, Damaged, OSError) as error:
            done.set_exception(error)
        return done


def install(job: Install) -> bytes:
    """Make the tree with one's own hands; the file of its manifest. Raises ArtifactRefused; OSError passes."""
    return _begin(job, _Own()).manifest().encode()


def start(source: WheelFile, library: str, build: Build, hands: Hands, *, prove: bool) -> Unpacking:
    """Begin to build the tree; without `prove` RECORD is believed. Raises ArtifactRefused; OSError passes."""
    job = Install(str(source.path), source.filename, source.sha256, library, str(build.files), prove, source.verified)
    if source.path.stat().st_size > _WHOLE_BYTES:
        shared = _begin(job, hands)
        return Unpacking(source, build, (shared.digest, *(written for _, written in shared.units)), shared.manifest)
    whole = hands.submit(job)
    return Unpacking(source, build, (whole,), lambda: Manifest.decode(whole.result()[0]))


@dataclass(frozen=True)
class Unpacking:
    """A tree on its way: `manifest` waits for the `parts`, and for nothing else."""

    source: WheelFile
    build: Build
    parts: tuple[Future[list[bytes]], ...]
    manifest: Callable[[], Manifest]

    def finish(self) -> Tree:
        """Publish the tree. Raises ArtifactRefused; OSError passes."""
        return self.build.publish(self.manifest())


def _begin(job: Install, hands: Hands) -> _Parts:
    digest = _digest_of(job, hands)
    try:
        wheel = read_wheel(Path(job.archive), filename=job.filename)
        placed = _spread(wheel, job.library)
        folders = _directories(wheel, placed, job.library)
        for folder in folders:
            os.mkdir(f"{job.root}/{folder}")  # noqa: PTH102  # thousands: no Path per directory
    except ArtifactRefused:
        check_digest(job, digest.result()[0])
        raise
    units = [(unit, hands.submit(_unpack(job, unit))) for unit in _units(placed)]
    return _Parts(job, digest, wheel, placed, folders, units)


@dataclass(frozen=True)
class _Parts:
    """A tree whose members are being written."""

    job: Install
    digest: Future[list[bytes]]
    wheel: Wheel
    placed: list[Placed]
    folders: list[str]
    units: list[tuple[list[Placed], Future[list[bytes]]]]

    def manifest(self) -> Manifest:
        """Wait for the members and write what is not one. Raises ArtifactRefused; OSError passes."""
        try:
            entries = [entry for unit, digests in self.units for entry in _entries(unit, digests.result())]
        except Damaged as damaged:
            check_digest(self.job, self.digest.result()[0])
            raise ArtifactRefused(self.job.filename, str(damaged)) from None
        check_digest(self.job, self.digest.result()[0])
        entries += self._written()
        return Manifest.of(self.folders, entries)

    def _written(self) -> Iterator[Entry]:
        """The files that are ours or changed by us, and the RECORD of everything."""
        rows = [_row(place, self.job.library) for place in self.placed if not place.is_script]
        for path, data, executable in self._made():
            rows.append(record.row(_from_site(path, self.job.library), data))
            yield self._write(path, data, executable=executable)
        own = record_path(self.wheel, self.job.library)
        text = record.render(rows, own_path=_from_site(own, self.job.library))
        yield self._write(own, text, executable=False)

    def _made(self) -> Iterator[tuple[str, bytes, bool]]:
        for point in self.wheel.entry_points:
            yield f"{BIN}/{point.name}", launcher(point), True
        with self.wheel.path.open("rb") as file:
            for script in (place for place in self.placed if place.is_script):
                yield script.path, with_interpreter(read(file.fileno(), script.member)), True
        yield (
            posixpath.join(posixpath.dirname(record_path(self.wheel, self.job.library)), "INSTALLER"),
            INSTALLER,
            False,
        )

    def _write(self, path: str, data: bytes, *, executable: bool) -> Entry:
        write_new(f"{self.job.root}/{path}", data, executable=executable)
        return Entry(path, len(data), executable, hashlib.sha256(data).digest())


def _spread(wheel: Wheel, library: str) -> list[Placed]:
    with wheel.path.open("rb") as file:
        try:
            return spread(wheel, library, lambda member: starts_with(file.fileno(), member, SHEBANG))
        except Damaged as damaged:
            raise ArtifactRefused(wheel.filename, str(damaged)) from None


def _units(placed: list[Placed]) -> Iterator[list[Placed]]:
    """Runs of members, in the order of the archive, that one worker writes at a time; the largest member first."""
    unit: list[Placed] = []
    size = 0
    own = sorted(
        (place for place in placed if not place.is_script), key=lambda place: place.member.size, reverse=True
    )
    for place in own:
        if unit and (size + place.member.size > _UNIT_BYTES or len(unit) == _UNIT_FILES):
            yield unit
            unit, size = [], 0
        unit.append(place)
        size += place.member.size
    if unit:
        yield unit


def _unpack(job: Install, unit: list[Placed]) -> Unpack:
    return Unpack(job.archive, job.root, [place.member for place in unit], [place.path for place in unit], job.prove)


def _entries(unit: list[Placed], digests: list[bytes]) -> Iterator[Entry]:
    for place, digest in zip(unit, digests, strict=True):
        yield Entry(place.path, place.member.size, place.member.executable, digest)


def _directories(wheel: Wheel, placed: list[Placed], library: str) -> list[str]:
    launchers = [f"{BIN}/{point.name}" for point in wheel.entry_points]
    return directories([*(place.path for place in placed), *launchers, record_path(wheel, library)])


def _row(place: Placed, library: str) -> record.Row:
    member = place.member
    return record.Row(_from_site(place.path, library), member.algorithm, member.digest, member.size)


def _from_site(path: str, library: str) -> str:
    """The path as RECORD writes it: relative to site-packages."""
    site = site_packages(library)
    return path.removeprefix(f"{site}/") if path.startswith(f"{site}/") else posixpath.relpath(path, site)


def _digest_of(asked: Install, hands: Hands) -> Future[list[bytes]]:
    """The answer to a Digest job; what was compared already is not read again."""
    if not asked.verified:
        return hands.submit(Digest(asked.archive))
    known: Future[list[bytes]] = Future()
    known.set_result([bytes.fromhex(asked.sha256)])
    return known


def check_digest(asked: Install | CondaInstall, found: bytes) -> None:
    """That the file is the one that was asked for, by its SHA-256. Raises ArtifactRefused."""
    if found.hex() != asked.sha256:
        raise ArtifactRefused(
            asked.filename, f"its sha256 is {found.hex()}, {asked.sha256} was asked for", hint="fetch the file again"
        )
