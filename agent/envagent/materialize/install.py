"""From a wheel to its tree in the store: what an installer leaves behind, laid out relative to any prefix.

A build is submitted (directory read, directories made, members handed to the workers in units) and later finished
(scripts, INSTALLER, RECORD, manifest, published), so that the workers always have the next wheel's members.
Invariant: nothing is published unless the wheel has the SHA-256 that was asked for and every file is the one that
RECORD promises.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import ArtifactRefused
from envagent.materialize import record
from envagent.materialize.job import Digest, Unpack
from envagent.materialize.layout import BIN, Placed, record_path, site_packages, spread
from envagent.materialize.member import Damaged, read, starts_with
from envagent.materialize.paths import directories
from envagent.materialize.scripts import SHEBANG, launcher, with_interpreter
from envagent.materialize.wheel import Wheel, read_wheel
from envagent.store.manifest import Entry, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from envagent.materialize.plan import Source, WheelFile
    from envagent.materialize.workers import Workers
    from envagent.store.node import Build, Tree

INSTALLER = b"envagent\n"
_UNIT_BYTES = 8 << 20  # of unpacked content: small enough to share out, large enough to be worth a frame
_UNIT_FILES = 500


def start(source: WheelFile, library: str, build: Build, workers: Workers) -> Unpacking:
    """Begin to build the tree of a wheel. Raises ArtifactRefused; OSError passes."""
    digest = workers.submit(Digest(str(source.path)))
    try:
        wheel = read_wheel(source.path, filename=source.filename)
        placed = _spread(wheel, library)
        for directory in _directories(wheel, placed, library):
            (build.files / directory).mkdir()
    except ArtifactRefused:
        check_digest(source, digest)
        raise
    units = [(unit, _submit(wheel, unit, build, workers)) for unit in _units(placed)]
    return Unpacking(source, library, build, digest, wheel, placed, units)


@dataclass(frozen=True)
class Unpacking:
    """A tree on its way: `finish` waits for the workers."""

    source: WheelFile
    library: str
    build: Build
    digest: Future[list[bytes]]
    wheel: Wheel
    placed: list[Placed]
    units: list[tuple[list[Placed], Future[list[bytes]]]]

    def finish(self) -> Tree:
        """Publish the tree. Raises ArtifactRefused; OSError passes."""
        try:
            entries = [entry for unit, digests in self.units for entry in _entries(unit, digests.result())]
        except Damaged as damaged:
            check_digest(self.source, self.digest)
            raise ArtifactRefused(self.source.filename, str(damaged)) from None
        check_digest(self.source, self.digest)
        entries += self._written()
        return self.build.publish(Manifest.of(_directories(self.wheel, self.placed, self.library), entries))

    def _written(self) -> Iterator[Entry]:
        """The files that are ours or changed by us, and the RECORD of everything."""
        rows = [_row(place, self.library) for place in self.placed if not place.is_script]
        for path, data, executable in self._made():
            rows.append(record.row(_from_site(path, self.library), data))
            yield self._write(path, data, executable=executable)
        own = record_path(self.wheel, self.library)
        text = record.render(rows, own_path=_from_site(own, self.library))
        yield self._write(own, text, executable=False)

    def _made(self) -> Iterator[tuple[str, bytes, bool]]:
        for point in self.wheel.entry_points:
            yield f"{BIN}/{point.name}", launcher(point), True
        with self.wheel.path.open("rb") as file:
            for script in (place for place in self.placed if place.is_script):
                yield script.path, with_interpreter(read(file.fileno(), script.member)), True
        yield posixpath.join(posixpath.dirname(record_path(self.wheel, self.library)), "INSTALLER"), INSTALLER, False

    def _write(self, path: str, data: bytes, *, executable: bool) -> Entry:
        target = self.build.files / path
        target.write_bytes(data)
        target.chmod(0o555 if executable else 0o444)
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


def _submit(wheel: Wheel, unit: list[Placed], build: Build, workers: Workers) -> Future[list[bytes]]:
    members = [place.member for place in unit]
    return workers.submit(Unpack(str(wheel.path), str(build.files), members, [place.path for place in unit]))


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


def check_digest(source: Source, digest: Future[list[bytes]]) -> None:
    """That the file is the one that was asked for, by the answer to a Digest job. Raises ArtifactRefused."""
    found = digest.result()[0].hex()
    if found != source.sha256:
        raise ArtifactRefused(
            source.filename, f"its sha256 is {found}, {source.sha256} was asked for", hint="fetch the file again"
        )
