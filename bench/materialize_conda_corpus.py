"""A Conda environment to materialize: this machine's CPython and synthetic packages, with some wheels beside them.

Half of the packages are for one platform, with a library that names the prefix, half are noarch Python. Contents are
those of the synthetic wheels. Everything is kept under `.bench/` for the next run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from envagent.lock.canonical import canonical_bytes
from envagent.lock.model import Environment, Interpreter, Lock, Package, PythonPackage, Target, pypi_name
from fixtures import conda_packages
from fixtures.conda_packages import PLACEHOLDER, File, make_conda
from fixtures.conda_plans import locked, this_python
from fixtures.conda_pythons import PLATFORM

from .materialize_corpus import Wheels, contents, make, sha256, sources

PACKAGES, WHEELS = 200, 40
QUICK_PACKAGES, QUICK_WHEELS = 8, 3
FILES_EACH = 60


@dataclass(frozen=True, slots=True)
class Stock:
    """`folder` has conda packages and `wheels`; `conda` and `mixed` are locks without and with the latter."""

    folder: Path
    wheels: Wheels

    @property
    def conda(self) -> Path:
        """The lock of the conda packages."""
        return self.folder / "conda.json"

    @property
    def mixed(self) -> Path:
        """The lock of everything."""
        return self.folder / "mixed.json"


def obtain(place: Path, *, quick: bool) -> Stock:
    """The stock, made if it is not there yet. Raises CannotMoveError where this CPython makes no package."""
    count = QUICK_PACKAGES if quick else PACKAGES
    folder = place / f"conda-synthetic-{count}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, QUICK_WHEELS if quick else WHEELS)
        _write(folder, count)
        (folder / "complete").touch()
    return Stock(folder, Wheels("mixed", tuple(sorted(folder.glob("*.whl"))), is_real=False))


def _write(folder: Path, count: int) -> None:
    (folder / "complete").unlink()
    text, code = sources()
    entries: list[Package] = []
    for number in range(count):
        package = this_python() if number == 0 else _package(number, random.Random(number), text, code)
        (folder / package.filename).write_bytes(package.data)
        entries.append(locked(package))
    _write_lock(folder / "conda.json", entries)
    _write_lock(folder / "mixed.json", [*entries, *map(_wheel, sorted(folder.glob("*.whl")))])


def _package(number: int, choose: random.Random, text: bytes, code: bytes) -> conda_packages.Package:
    name = f"synthetic-{number:03}"
    is_native = number % 2 == 0
    below = f"lib/{name}" if is_native else f"site-packages/conda_{number:03}"
    files = {f"{below}/{path}": File(data) for path, data in contents(choose, text, code, FILES_EACH)}
    if is_native:
        library = code[:200_000] + PLACEHOLDER.encode() + b"\0" + code[200_000:400_000]
        files[f"lib/lib{name}.so"] = File(library, placeholder=PLACEHOLDER, mode="binary")
        return make_conda(name, subdir=PLATFORM, files=files)
    return make_conda(name, depends=["python"], noarch="python", files=files)


def _wheel(path: Path) -> PythonPackage:
    name, version = path.name.split("-")[:2]
    url = f"https://files.example.org/{path.name}"
    return PythonPackage(
        kind="wheel", name=pypi_name(name), version=version, filename=path.name, url=url, size=path.stat().st_size,
        sha256=sha256(path), index="main", depends=(),
    )  # fmt: skip


def _write_lock(place: Path, packages: list[Package]) -> None:
    target = Target(platform=PLATFORM, interpreter=Interpreter("conda", name="python"), packages=tuple(packages))
    place.write_bytes(canonical_bytes(Lock({"default": Environment(targets=(target,))})))
