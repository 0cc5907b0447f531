"""What a lock says: environments x targets -> artifacts, every one with its upstream URL, size and sha256.

Frozen and in canonical order: whatever order the parts came in, equal locks compare equal and have the same bytes
(canonical.py). While a foreign lock is being imported a size of 0 and a sha256 of "" mean "not known yet"; no lock
that was read or sealed (reading.py) holds either. This module knows nothing of files, networks or other formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from envagent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""The value of `envmesh-lock`: a reader refuses any other."""

Kind = Literal["conda", "wheel", "sdist", "interpreter"]
KINDS: tuple[Kind, ...] = ("interpreter", "conda", "sdist", "wheel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file that is downloaded, verified against `sha256` and installed. `size` is in bytes."""

    name: str
    version: str
    url: str
    size: int = 0
    sha256: str = ""
    depends: tuple[str, ...] = ()
    requested_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Order what has no order of its own."""
        object.__setattr__(self, "depends", tuple(sorted(set(self.depends))))
        object.__setattr__(self, "requested_by", tuple(sorted(set(self.requested_by))))


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage(Artifact):
    """A `.conda` or `.tar.bz2`; the fields are those of its repodata record. `timestamp` is in ms since the epoch."""

    kind: ClassVar[Kind] = "conda"
    build: str
    channel: str
    subdir: str
    md5: str = ""
    constrains: tuple[str, ...] = ()
    noarch: str = ""
    license: str = ""
    timestamp: int = 0
    purls: tuple[str, ...] = ()
    python_site_packages_path: str = ""

    def __post_init__(self) -> None:
        """Order what has no order of its own."""
        Artifact.__post_init__(self)
        object.__setattr__(self, "constrains", tuple(sorted(set(self.constrains))))
        object.__setattr__(self, "purls", tuple(sorted(set(self.purls))))

    @property
    def filename(self) -> str:
        """The last segment of the URL: conda knows a package by no other name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonPackage(Artifact):
    """A wheel, or an sdist that a wheel is built of. `depends` are PEP 508 requirements.

    `index` is the name or the URL of the index, "" for a file named by its URL alone. `built_from` says that the
    wheel was built and is no upstream's file: it names the source (a VCS reference with its commit, or an sdist with
    its sha256), and `url` may then be "".
    """

    kind: Literal["wheel", "sdist"]
    filename: str
    index: str = ""
    requires_python: str = ""
    built_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterArchive(Artifact):
    """A relocatable CPython from a files upstream, pinned like everything else."""

    kind: ClassVar[Kind] = "interpreter"
    filename: str


Package = CondaPackage | PythonPackage | InterpreterArchive


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Whose Python runs: a package of the target (conda, files: `name`), or the machine's (system: `version`)."""

    kind: Literal["conda", "system", "files"]
    name: str = ""
    version: str = ""


def namespace(package: Package) -> str:
    """Inside which names are unique: conda's, Python's or the interpreters'."""
    return "pypi" if isinstance(package, PythonPackage) else package.kind


def _place(package: Package) -> tuple[int, str, str, str]:
    return (KINDS.index(package.kind), package.name, package.version, package.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of machine: a conda platform, and the least of each virtual package that it must have (CEP 30)."""

    platform: str
    name: str = ""
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    interpreter: Interpreter | None = None
    packages: tuple[Package, ...] = ()

    def __post_init__(self) -> None:
        """A target without a name bears its platform's; packages have one order."""
        object.__setattr__(self, "name", self.name or self.platform)
        object.__setattr__(self, "packages", tuple(sorted(self.packages, key=_place)))

    def with_python(self, packages: tuple[Package, ...]) -> Target:
        """The machine with these packages, and whatever Python of its version the system has."""
        return replace(self, interpreter=Interpreter("system", version=self.python_version), packages=packages)

    @property
    def conda(self) -> tuple[CondaPackage, ...]:
        """The conda packages, by name."""
        return tuple(package for package in self.packages if isinstance(package, CondaPackage))

    @property
    def python(self) -> tuple[PythonPackage, ...]:
        """The wheels and sdists."""
        return tuple(package for package in self.packages if isinstance(package, PythonPackage))

    @property
    def has_condas_python(self) -> bool:
        """Whether its Python is one of its conda packages."""
        return self.interpreter is not None and self.interpreter.kind == "conda"

    @property
    def archive(self) -> InterpreterArchive | None:
        """The archive whose Python runs, where that is neither conda's nor the machine's."""
        if self.interpreter is None or self.interpreter.kind != "files":
            return None
        name = self.interpreter.name
        return next((p for p in self.packages if isinstance(p, InterpreterArchive) and p.name == name), None)

    @property
    def python_version(self) -> str:
        """The version of the interpreter, "" where there is none."""
        if self.interpreter is None or self.interpreter.kind == "system":
            return self.interpreter.version if self.interpreter else ""
        kind = "conda" if self.interpreter.kind == "conda" else "interpreter"
        return next((p.version for p in self.packages if p.kind == kind and p.name == self.interpreter.name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for. The order of channels and indexes is their priority; of the rest it means nothing."""

    python: str = ""
    pypi: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Order what has no order of its own."""
        object.__setattr__(self, "pypi", tuple(sorted(set(self.pypi))))
        object.__setattr__(self, "conda", tuple(sorted(set(self.conda))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One request and its solutions, a target each."""

    request: Request = field(default_factory=Request)
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        """Targets have one order: by name."""
        object.__setattr__(self, "targets", tuple(sorted(self.targets, key=lambda target: target.name)))

    def target(self, name: str | None = None) -> Target:
        """The target called `name`, or the only one; raises UsageError."""
        if name is None and len(self.targets) == 1:
            return self.targets[0]
        for target in self.targets:
            if target.name == name:
                return target
        known = ", ".join(target.name for target in self.targets) or "none"
        wanted = f"no target {name!r}" if name else "several targets" if self.targets else "no target at all"
        raise UsageError(f"the environment has {wanted}", hint=f"its targets are: {known}; --target names one")


@dataclass(frozen=True, slots=True)
class Lock:
    """The whole document: environments by name."""

    environments: Mapping[str, Environment]

    def label(self, name: str | None = None) -> str:
        """The name of the environment that is meant: `name`, or the only one's, or `default`; raises UsageError."""
        if name is None:
            name = next(iter(self.environments)) if len(self.environments) == 1 else "default"
        if name not in self.environments:
            known = ", ".join(sorted(self.environments)) or "none"
            raise UsageError(f"the lock has no environment {name!r}", hint=f"it has: {known}")
        return name

    def environment(self, name: str | None = None) -> Environment:
        """The environment that is meant by `name`; raises UsageError."""
        return self.environments[self.label(name)]


def interpreter_of(packages: tuple[Package, ...]) -> Interpreter | None:
    """The interpreter that conda packages bring with them, if they do."""
    has_python = any(isinstance(package, CondaPackage) and package.name == "python" for package in packages)
    return Interpreter("conda", name="python") if has_python else None


def pypi_name(name: str) -> str:
    """PEP 503's one spelling of a project's name."""
    return re.sub(r"[-_.]+", "-", name).lower()
