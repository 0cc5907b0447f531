"""requirements.txt with pinned versions (pip's format): read for given machines, written for one target.

A pin names a release, not a file: a Completer lists its files, and the best that the line's digests allow is taken.
Without digests the index is believed once, at import. Only pins are a lock: ranges, editables, local paths and other
files by reference are refused. The format has no sizes, no dependencies, and nothing of conda.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement

from envagent.errors import LockIncomplete, LockRefused, NoPlaceFor, Problem
from envagent.lock import rules
from envagent.lock.complete import Completer, KnownFile, Wanted
from envagent.lock.machine import best_wheel, holds, marker_environment, wheel_tags
from envagent.lock.model import Environment, Lock, PythonPackage, Request, Target, pypi_name
from envagent.lock.syntax import decoded, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMENT = re.compile(r"(^|\s)#.*")
_HASH = re.compile(r"\s--hash[=\s]\s*(?:sha256:(?P<sha256>[0-9a-f]{64})|\S+)")
_INDEX = re.compile(r"(?:-i|--index-url|(--extra-index-url))[=\s]\s*(\S+)")


@dataclass(frozen=True, slots=True)
class _Pin:
    """One line: exactly one release, and the digests of the files that will do (any, if there are none)."""

    where: str
    requirement: Requirement
    version: str
    digests: frozenset[str]

    @property
    def name(self) -> str:
        return pypi_name(self.requirement.name)

    def wanted(self, indexes: _Indexes) -> tuple[Wanted, ...]:
        """The questions for its files, the main index's first."""
        if url := self.requirement.url:
            return (Wanted("pypi", "", self.name, self.version, url),)
        beside = (Wanted("pypi", index, self.name, self.version, beside=True) for index in indexes.extra)
        return (Wanted("pypi", indexes.main, self.name, self.version), *beside)


@dataclass(frozen=True, slots=True)
class _Indexes:
    """Where pins are looked for, as pip does: on every one of them. `main` is "" for the default index."""

    main: str
    extra: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """Those that the file names."""
        return tuple(dict.fromkeys(index for index in (self.main, *self.extra) if index))


def read(data: bytes, name: str, machines: Sequence[Target], completer: Completer) -> Lock:
    """The release files that the pins mean on each machine. Raises LockRefused."""
    if not machines:
        raise refused(name, "does not say for which machine (name the platform and the Python version)")
    problems: list[Problem] = []
    pins, indexes = _parsed(decoded(data, name), problems)
    if problems:
        raise LockRefused(name, problems)
    known = completer.find(list(dict.fromkeys(wanted for pin in pins for wanted in pin.wanted(indexes))))
    targets = tuple(_target(machine, pins, indexes, known, problems) for machine in machines)
    if problems:
        raise LockIncomplete(name, problems)
    return Lock({"default": Environment(request=Request(indexes=indexes.named), targets=targets)})


# --- lines ----------------------------------------------------------------------------------------------


def _parsed(text: str, problems: list[Problem]) -> tuple[list[_Pin], _Indexes]:
    pins: list[_Pin] = []
    main, extra = "", []
    for number, line in logical_lines(text):
        where = f"line {number}"
        if found := _INDEX.fullmatch(line):
            if found[1]:
                extra.append(found[2])
            else:
                main = found[2]
            problem = rules.url(found[2])
        else:
            problem = _add_pin(where, line, pins)
        if problem:
            problems.append(Problem(where, problem))
    return pins, _Indexes(main, tuple(index for index in dict.fromkeys(extra) if index != main))


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines joined at their backslashes, without comments and blanks, each with the number of its first."""
    lines: list[tuple[int, str]] = []
    start, joined = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        start = start if joined else number
        joined += _COMMENT.sub("", line).rstrip("\\") + " "
        if not line.endswith("\\"):
            lines.append((start, joined.strip()))
            joined = ""
    return [(number, line) for number, line in lines if line]


def _add_pin(where: str, line: str, pins: list[_Pin]) -> str:
    """What is wrong with the line; nothing, and a pin more, if it is right."""
    digests = frozenset(found["sha256"] for found in _HASH.finditer(line) if found["sha256"])
    text = _HASH.sub("", line).strip()
    if text.startswith("-"):
        return f"is an option that no lock has: {text[:80]!r}"
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError):
        return f"is not a requirement (PEP 508): {text[:80]!r}"
    version = _pinned(requirement)
    if not version:
        return f"does not pin one version: {text[:80]!r}"
    pins.append(_Pin(where, requirement, version, digests))
    return ""


def _pinned(requirement: Requirement) -> str:
    """The one version that the requirement allows, "" if it allows several. A URL must be a wheel's, which tells."""
    if requirement.url:
        filename = unquote(requirement.url.partition("#")[0].rpartition("/")[2])
        parts = filename.split("-")
        return parts[1] if filename.endswith(".whl") and len(parts) >= 5 and not rules.version(parts[1]) else ""
    specifiers = list(requirement.specifier)
    if len(specifiers) == 1 and specifiers[0].operator == "==" and not specifiers[0].version.endswith(".*"):
        return specifiers[0].version
    return ""


# --- files ----------------------------------------------------------------------------------------------


def _target(
    machine: Target,
    pins: Sequence[_Pin],
    indexes: _Indexes,
    known: Mapping[Wanted, Sequence[KnownFile]],
    problems: list[Problem],
) -> Target:
    environment, tags = marker_environment(machine), wheel_tags(machine)
    packages = []
    for pin in pins:
        if not holds(pin.requirement.marker, environment):
            continue
        files = _files(pin, indexes, known)
        chosen = best_wheel(files, tags) or next((name for name in sorted(files) if not name.endswith(".whl")), None)
        if chosen is None:
            problems.append(Problem(pin.where, f"no known file of {pin.name} {pin.version} fits {machine.name}"))
        else:
            packages.append(_package(pin, *files[chosen]))
    return machine.with_python(tuple(packages))


def _files(
    pin: _Pin, indexes: _Indexes, known: Mapping[Wanted, Sequence[KnownFile]]
) -> dict[str, tuple[KnownFile, str]]:
    """The files that will do by name, each with its index: the first that has it."""
    found: dict[str, tuple[KnownFile, str]] = {}
    for wanted in pin.wanted(indexes):
        for file in known.get(wanted, ()):
            if not pin.digests or file.sha256 in pin.digests:
                found.setdefault(file.filename, (file, wanted.source))
    return found


def _package(pin: _Pin, file: KnownFile, index: str) -> PythonPackage:
    return PythonPackage(
        kind="wheel" if file.filename.endswith(".whl") else "sdist",
        name=pin.name,
        version=pin.version,
        filename=file.filename,
        index=index,
        url=file.url,
        size=file.size,
        sha256=file.sha256,
        requires_python=file.requires_python,
    )


# --- writing --------------------------------------------------------------------------------------------


def write(target: Target) -> bytes:
    """The Python packages of a target, hashed. Raises NoPlaceFor conda packages and built wheels."""
    misfits = [package.filename for package in target.packages if package.kind == "conda" or not package.url]
    if misfits:
        raise NoPlaceFor("requirements.txt", misfits, holds="it holds files of indexes")
    indexes = dict.fromkeys(package.index for package in target.python if "://" in package.index)
    options = ["--index-url", *["--extra-index-url"] * len(indexes)]
    lines = [f"{option} {index}" for option, index in zip(options, indexes, strict=False)]
    header = f"# for {target.platform}, Python {target.python_version}"
    return "\n".join([header, *lines, *map(_line, target.python), ""]).encode()


def _line(package: PythonPackage) -> str:
    pin = f"{package.name}=={package.version}" if package.index else f"{package.name} @ {package.url}"
    return f"{pin} \\\n    --hash=sha256:{package.sha256}"
