"""What the upstream of the benchmarks has: synthetic, the same in every run, shaped like the real thing.

    numpy   the project page that hurts: 4,415 files, 1.9 MB of JSON; its last wheel is real bytes, 16 MB
    tree    60 packages, five levels deep: 100 MB of wheels with sidecars, on pages of up to 1,200 files
    cold    files of one size that nobody asked for yet, on a page of 1,000 older ones
    huge    a page of 50,000 files, 10 MB

Beside them `wheels` makes projects of files on the disk. Files that only fill pages have digests but no bytes.
"""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec
from packaging.utils import parse_wheel_filename

from fixtures.wheels import Dist, make_wheel

WHEEL_BYTES = 16_000_000
NUMPY = "numpy"
NUMPY_FILES = 4415
NUMPY_WHEEL = "numpy-2.99.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
COLD = "cold"
HUGE = "huge"
HUGE_FILES = 50_000
LEVELS = (1, 12, 20, 17, 10)  # packages of the tree by depth: 60
ROOT = "tree-0-00"

Body = tuple[bytes | memoryview, ...]
"""A file's bytes in pieces, so that large files may share most of theirs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on a page. `metadata_sha256` announces a sidecar (PEP 658), a `shallow` file has a short path."""

    filename: str
    sha256: str
    size: int | None = None
    uploaded: str | None = None
    requires_python: str | None = None
    metadata_sha256: str | None = None
    shallow: bool = False

    @property
    def path(self) -> str:
        """Where the file is below the root of the files: its digest in three parts, as on the public index."""
        digest = self.sha256[:12] if self.shallow else self.sha256
        return f"{digest[:2]}/{digest[2:4]}/{digest[4:]}/{self.filename}"


@dataclass(frozen=True, slots=True)
class Project:
    """A page, and the bytes of those of its files that have any."""

    name: str
    entries: tuple[Entry, ...]
    bodies: Mapping[str, Body] = field(default_factory=dict)


def numpy() -> Project:
    """The page of a project with a long history and many platforms."""
    wheel = random.Random(NUMPY).randbytes(WHEEL_BYTES)
    tags = [
        f"cp3{minor}-cp3{minor}-{platform}"
        for minor in range(7, 14)
        for platform in ("manylinux_2_17_x86_64.manylinux2014_x86_64", "macosx_11_0_arm64", "win_amd64")
    ]
    seed = random.Random("history")
    names = (f"numpy-1.{number // len(tags)}.0-{tags[number % len(tags)]}.whl" for number in range(NUMPY_FILES - 1))
    last = Entry(NUMPY_WHEEL, hashlib.sha256(wheel).hexdigest(), len(wheel), _uploaded(seed), ">=3.11")
    return Project(NUMPY, (*(_old(name, seed) for name in names), last), {NUMPY_WHEEL: (wheel,)})


def tree() -> Iterator[Project]:
    """The packages that are installed; every one needs all that name it in the level above."""
    seed = random.Random("tree")
    names = [[f"tree-{level}-{number:02}" for number in range(count)] for level, count in enumerate(LEVELS)]
    needs: dict[str, list[str]] = {name: [] for level in names for name in level}
    for above, below in pairwise(names):
        for name in below:
            for parent in seed.sample(above, min(len(above), 2)):
                needs[parent].append(name)
    for name, required in needs.items():
        yield _package(name, required, seed)


def cold(count: int, size: int) -> Project:
    """`count` files of `size` bytes; they differ in their first bytes only."""
    seed = random.Random(COLD)
    rest = memoryview(seed.randbytes(size - 8))
    bodies: dict[str, Body] = {cold_name(number): (number.to_bytes(8), rest) for number in range(count)}
    entries = (Entry(name, _digest(body), size, _uploaded(seed), ">=3.11") for name, body in bodies.items())
    history = (_old(f"cold-0.0.{n}-py3-none-any.whl", seed) for n in range(1000))
    return Project(COLD, (*history, *entries), bodies)


def cold_name(number: int) -> str:
    """The file of `cold` with that number."""
    return f"cold-{number}.0-py3-none-any.whl"


def huge() -> Project:
    """A page far beyond what anybody publishes: 200 bytes a file."""
    seed = random.Random(HUGE)
    entries = (Entry(f"huge-{n}-py3-none-any.whl", _hex(seed), shallow=True) for n in range(HUGE_FILES))
    return Project(HUGE, tuple(entries))


def wheels(folder: Path) -> Iterator[Project]:
    """A project for every wheel in the folder, with its sidecar."""
    for path in sorted(folder.glob("*.whl")):
        name = parse_wheel_filename(path.name)[0]
        wheel = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            metadata = archive.read(f"{'-'.join(path.name.split('-')[:2])}.dist-info/METADATA")
        digests = hashlib.sha256(wheel).hexdigest(), hashlib.sha256(metadata).hexdigest()
        entry = Entry(path.name, digests[0], len(wheel), metadata_sha256=digests[1])
        yield Project(name, (entry,), {path.name: (wheel,), f"{path.name}.metadata": (metadata,)})


def page(project: Project, files_url: str) -> bytes:
    """The JSON page (PEP 691, 700); files are below `files_url`, absolute as on the public index."""
    versions = sorted({entry.filename.split("-")[1] for entry in project.entries})
    return msgspec.json.encode(
        {
            "meta": {"api-version": "1.1"},
            "name": project.name,
            "versions": versions,
            "files": [_listed(entry, files_url) for entry in project.entries],
        }
    )


def listing(names: Iterable[str]) -> bytes:
    """The JSON list of all projects (PEP 691)."""
    return msgspec.json.encode({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]})


def _package(name: str, required: list[str], seed: random.Random) -> Project:
    # Sizes of wheels are about log-normal: most are small, a few make up the bytes.
    size = min(int(seed.lognormvariate(12.2, 2.4)), 30_000_000)
    modules = {f"{name.replace('-', '_')}/m{n}.py": _source(seed) for n in range(3 + min(size // 16_000, 120))}
    dist = make_wheel(name, "9.0", requires=required, files=modules, payload_size=size, requires_python=">=3.9")
    history = tuple(
        _old(f"{name.replace('-', '_')}-1.{n}-py3-none-any.whl", seed, sidecar=True)
        for n in range(int(10 ** seed.uniform(0.9, 3.08)))
    )
    sidecar = f"{dist.filename}.metadata"
    return Project(name, (*history, _entry(dist)), {dist.filename: (dist.data,), sidecar: (dist.metadata,)})


def _entry(dist: Dist) -> Entry:
    return Entry(
        dist.filename,
        dist.sha256,
        len(dist.data),
        dist.upload_time,
        dist.requires_python,
        hashlib.sha256(dist.metadata).hexdigest(),
    )


def _old(filename: str, seed: random.Random, *, sidecar: bool = False) -> Entry:
    return Entry(
        filename,
        sha256=_hex(seed),
        size=seed.randrange(10_000, WHEEL_BYTES),
        uploaded=_uploaded(seed),
        requires_python=">=3.7",
        metadata_sha256=_hex(seed) if sidecar else None,
    )


def _source(seed: random.Random) -> bytes:
    """A module: compresses about as text does."""
    return b"".join(b"value_%d = %d\n" % (n, seed.randrange(10**6)) for n in range(150))


def _listed(entry: Entry, files_url: str) -> dict[str, object]:
    shown: dict[str, object] = {
        "filename": entry.filename,
        "url": f"{files_url}/{entry.path}",
        "hashes": {"sha256": entry.sha256},
    }
    if entry.uploaded is not None:
        shown |= {"requires-python": entry.requires_python, "yanked": False}
        shown |= {"size": entry.size, "upload-time": entry.uploaded}
    if entry.metadata_sha256 is not None:
        shown["core-metadata"] = {"sha256": entry.metadata_sha256}
    return shown


def _digest(body: Body) -> str:
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return digest.hexdigest()


def _hex(seed: random.Random) -> str:
    return f"{seed.getrandbits(256):064x}"


def _uploaded(seed: random.Random) -> str:
    return f"20{seed.randrange(15, 25)}-{seed.randrange(1, 13):02}-{seed.randrange(1, 29):02}T12:00:00.123456Z"
