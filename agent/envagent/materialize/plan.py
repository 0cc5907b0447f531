"""What an environment is to be: these conda packages, these wheels, for that interpreter. A value, with an identity.

Two plans with one identity make environments with the same files; how they get there (hardlinks or copies, compiled
or not) is no part of it. The plan is judged (names, tags) before the disk is touched. The Python of a
conda environment is one of its packages and says what it is only when it runs (conda_python.py): until then `given`
is None.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from envagent.errors import ArtifactRefused
from envagent.lock.model import CondaPackage
from envagent.materialize.conda_order import closure
from envagent.materialize.wheel_name import project_of, tags_of

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.interpreter import Interpreter

_LAYOUT = 3  # of trees and prefixes: another number makes other trees and other prefixes
_SITE = re.compile(r"lib/([^/]+)/site-packages")
_RECORD_FIELDS = tuple(field.name for field in fields(CondaPackage))


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel on this machine: any path, its real `filename`, the `sha256` (hexadecimal) that it must have.

    `requested` is whether someone asked for it by name (REQUESTED, PEP 376); `direct_url` is the content of
    direct_url.json (PEP 610) for what did not come from an index by name. `verified` is whether this very process has
    compared the bytes with the digest already.
    """

    path: Path
    sha256: str
    filename: str
    requested: bool = False
    direct_url: str = ""
    verified: bool = False


@dataclass(frozen=True, slots=True)
class CondaFile:
    """A conda package on this machine: any path, and its entry in the lock, which goes into conda-meta.

    `verified` is as of wheels.
    """

    path: Path
    package: CondaPackage
    verified: bool = False

    @property
    def sha256(self) -> str:
        """The digest that it must have, hexadecimal."""
        return self.package.sha256

    @property
    def filename(self) -> str:
        """What conda calls it."""
        return self.package.filename

    @property
    def stem(self) -> str:
        """Its one name inside an environment: name, version and build (CEP 34)."""
        return f"{self.package.name}-{self.package.version}-{self.package.build}"


Source = CondaFile | WheelFile


@dataclass(frozen=True)
class Plan:
    """Where two packages hold the same file, the later one wins; wheels come after everything of conda's.

    `given` is the interpreter of an environment that has none of conda's.
    """

    wheels: tuple[WheelFile, ...] = ()
    given: Interpreter | None = None
    conda: tuple[CondaFile, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every package, in the order in which they are laid over one another."""
        return (*self.conda, *self.wheels)

    @property
    def interpreter(self) -> Interpreter:
        """Whose Python it is; only of a plan for which it is known."""
        assert self.given is not None, "the interpreter was not asked yet"
        return self.given

    @cached_property
    def conda_python(self) -> CondaFile | None:
        """The package that is the interpreter."""
        return next((source for source in self.conda if source.package.name == "python"), None)

    @cached_property
    def python_parts(self) -> tuple[CondaFile, ...]:
        """That package and those that it needs to run, nothing where there is none."""
        names = closure("python", [source.package for source in self.conda])
        return tuple(source for source in self.conda if source.package.name in names)

    @cached_property
    def library(self) -> str:
        """The interpreter's directory under lib/ (python3.11), "" where there is none."""
        if self.conda_python is None:
            return self.given.library if self.given else ""
        package = self.conda_python.package
        if found := _SITE.fullmatch(package.python_site_packages_path):  # CEP 17
            return found[1]
        return f"python{'.'.join(package.version.split('.')[:2])}"

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of everything that decides what the files are."""
        python = None if self.conda_python else self.given
        said = {
            "layout": _LAYOUT,
            "python": python and [str(python.executable), python.version, python.implementation, python.library],
            "wheels": [[w.sha256, w.filename, w.requested, w.direct_url] for w in self.wheels],
            "conda": [[getattr(source.package, name) for name in _RECORD_FIELDS] for source in self.conda],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def key(self, source: Source) -> str:
        """The store's name of the tree of a package. Of conda's only noarch ones depend on the Python."""
        if isinstance(source, CondaFile) and source.package.subdir != "noarch":
            return f"{source.sha256}-{_LAYOUT}"
        return f"{source.sha256}-{self.library or 'no-python'}-{_LAYOUT}"

    def bytecode_key(self, source: Source) -> str:
        """The store's name of the tree of its compiled modules."""
        return f"{source.sha256}-{self.library}-{_LAYOUT}-{self.interpreter.cache_tag}-{self.interpreter.magic}"

    def check(self) -> None:
        """Refuse a wheel for another machine or Python, and a project that is there twice. Raises ArtifactRefused.

        Of a conda Python that was not asked yet the tags are not known, and not checked.
        """
        seen: dict[str, str] = {}
        for wheel in self.wheels:
            if self.given and self.given.tags.isdisjoint(tags_of(wheel.filename)):
                python = f"{self.given.implementation} {self.given.version}"
                raise ArtifactRefused(
                    wheel.filename,
                    f"it is not for {python} on this machine",
                    hint="lock for this platform and Python",
                )
            project = project_of(wheel.filename)
            if other := seen.get(project):
                raise ArtifactRefused(wheel.filename, f"the plan also has {other}", hint="keep one of them")
            seen[project] = wheel.filename
