"""What is to be locked: a request, the machines that it is for, and what an earlier lock found.

The request is what goes into the lock, in a person's words. Its options: `exclude-newer` (a date, or a time of
RFC 3339), `only-binary` (yes), `prerelease` (allow), `interpreter` (files: a relocatable Python where Conda brings
none) and `constraints` (a JSON array of requirements that nothing asks for). A conda spec may end in `; <platform>`,
or in `; linux`, `osx`, `win` or `unix`: it is for those machines alone. Pure.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from envagent.errors import UsageError
from envagent.lock.model import Environment, Request, Target, pypi_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envagent.lock.model import Package

EXCLUDE_NEWER, ONLY_BINARY, CONSTRAINTS, PRERELEASE = "exclude-newer", "only-binary", "constraints", "prerelease"
INTERPRETER = "interpreter"
_MINORS = range(9, 16)  # of Python 3: those that anybody still uses, and a few that will come


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What may change of what an earlier lock found: nothing, some projects by name, or everything."""

    everything: bool = False
    names: frozenset[str] = frozenset()

    @property
    def wants_news(self) -> bool:
        """Whether indexes and channels are to be asked again, though their answers of a while ago would do."""
        return self.everything or bool(self.names)

    def keeps(self, package: Package) -> bool:
        """Whether the package is to stay if it can."""
        return not self.everything and package.name not in self.names and pypi_name(package.name) not in self.names


@dataclass(frozen=True, slots=True)
class Asked:
    """`machines` are targets without packages; `found` is the environment as an earlier lock has it."""

    request: Request
    machines: tuple[Target, ...]
    found: Environment = field(default_factory=Environment)
    upgrade: Upgrade = field(default_factory=Upgrade)

    def kept(self, machine: Target) -> tuple[Package, ...]:
        """What an earlier lock found for the machine, and what is to stay of it."""
        earlier = self._earlier(machine)
        return tuple(package for package in earlier.packages if self.upgrade.keeps(package)) if earlier else ()

    def python(self, machine: Target) -> str:
        """The version of a Python that conda does not bring: an earlier lock's where nobody asks for one.

        Raises UsageError.
        """
        earlier = self._earlier(machine)
        stays = earlier and earlier.interpreter and earlier.interpreter.kind == "system"
        if earlier and stays and not self.request.python and not self.upgrade.everything:
            return earlier.python_version
        return python_version(self.request)

    def _earlier(self, machine: Target) -> Target | None:
        return next((target for target in self.found.targets if target.name == machine.name), None)


def constraints(request: Request) -> tuple[str, ...]:
    """The requirements that only constrain. Raises UsageError."""
    text = request.options.get(CONSTRAINTS, "[]")
    try:
        lines = json.loads(text)
    except ValueError:
        lines = None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise UsageError(f"the option {CONSTRAINTS} is not a JSON array of requirements: {text[:80]!r}")
    return tuple(lines)


def exclude_newer(request: Request) -> datetime | None:
    """Releases of this moment and later do not exist. Raises UsageError."""
    text = request.options.get(EXCLUDE_NEWER, "")
    return moment(text) if text else None


def moment(text: str) -> datetime:
    """The moment that `2026-01-31` (the end of that day, UTC, as uv has it) or an RFC 3339 time means."""
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        said = datetime.fromisoformat(text)
    except ValueError:
        said = None
    if said is None or said.tzinfo is None:
        raise UsageError(f"{text!r} is not a date", hint="such as 2026-01-31 or 2026-01-31T12:00:00Z")
    return said.astimezone(UTC)


def specs_for(request: Request, machine: Target) -> tuple[str, ...]:
    """The conda specs that are for this machine, as they stand in the request before the semicolon."""
    system = machine.platform.partition("-")[0]
    words = {"", machine.platform, system} | ({"unix"} if system in {"linux", "osx"} else set())
    parts = (spec.partition(";") for spec in request.conda)
    return tuple(spec.strip() for spec, _, where in parts if where.strip() in words)


def python_version(request: Request, running: tuple[int, int] = sys.version_info[:2]) -> str:
    """The Python of a system interpreter: the version asked for, else this one's or the oldest that will do.

    Raises UsageError.
    """
    minors = [f"{running[0]}.{running[1]}", *(f"3.{minor}" for minor in _MINORS)]
    if not request.python:
        return minors[0]
    if _is_version(request.python):
        return request.python
    allowed = _specifiers(request.python)
    for minor in minors:
        if allowed.contains(f"{minor}.0") or allowed.contains(f"{minor}.99"):  # `>=3.11.4` is met by some 3.11
            return minor
    raise UsageError(f"no Python known here is {request.python}", hint="name a version, such as --python 3.12")


def python_spec(request: Request) -> str:
    """The same as a spec of conda's python."""
    if not request.python:
        return "python"
    if _is_version(request.python):
        return f"python {request.python}.*" if request.python.count(".") < 2 else f"python {request.python}"
    return f"python {_specifiers(request.python)}"


def merged(requests: Iterable[Request]) -> Request:
    """One request of several: lists are joined; of the Python and of an option, the last one said holds."""
    every = list(requests)
    options = {key: value for request in every for key, value in request.options.items()}
    held = dict.fromkeys(line for request in every for line in constraints(request))
    return Request(
        python=next((request.python for request in reversed(every) if request.python), ""),
        pypi=tuple(line for request in every for line in request.pypi),
        conda=tuple(spec for request in every for spec in request.conda),
        channels=tuple(dict.fromkeys(name for request in every for name in request.channels)),
        indexes=tuple(dict.fromkeys(name for request in every for name in request.indexes)),
        options={**options, **({CONSTRAINTS: json.dumps(sorted(held))} if held else {})},
    )


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text).release)
    except InvalidVersion:
        return False


def _specifiers(text: str) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        raise UsageError(f"{text!r} is not a version of Python", hint="such as 3.12 or '>=3.11,<3.14'") from None
