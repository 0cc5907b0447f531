"""requirements.txt and requirements.in (pip's format) as what is asked for, with the files that they include.

Options that choose where to look become indexes, `-c` files become constraints. What names no release of an index or
a URL is refused: editables, paths, links to directories. A file with digests is a lock already: `envagent import`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from envagent.errors import LockRefused, Problem
from envagent.lock import rules
from envagent.lock.model import Request
from envagent.lock.requirements import logical_lines
from envagent.lock.syntax import decoded
from envagent.resolve.asked import CONSTRAINTS, ONLY_BINARY, PRERELEASE
from envproxy.config import default_endpoint

_OPTION = re.compile(r"(--?[a-z-]+)[ =]?(.*)")
_SHORT = {"-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-e": "--editable", "-f": "--find-links"}
_PATHS = (".", "/", "file:")
_WITHOUT_MEANING = {"--prefer-binary", "--use-feature", "--trusted-host", "--require-hashes"}


@dataclass
class _Reading:
    """What was read so far, of all files."""

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    default_index: str = ""
    more_indexes: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    open: list[Path] = field(default_factory=list)


def read(path: Path) -> Request:
    """What the file asks for. Raises LockRefused."""
    reading = _Reading()
    _read_file(path, reading, reading.requirements)
    return _request(reading, path.name)


def read_lines(lines: list[str], path: Path) -> Request:
    """What such lines in another file, at `path`, ask for. Raises LockRefused."""
    reading = _Reading(open=[path])
    _read_lines("\n".join(lines), reading, reading.requirements)
    return _request(reading, path.name)


def _request(reading: _Reading, name: str) -> Request:
    if reading.problems:
        raise LockRefused(name, reading.problems)
    says_where = bool(reading.default_index or reading.more_indexes)
    indexes = [*reading.more_indexes, reading.default_index or default_endpoint()] if says_where else []
    held = {CONSTRAINTS: json.dumps(sorted(set(reading.constraints)))} if reading.constraints else {}
    return Request(
        pypi=tuple(reading.requirements),
        indexes=tuple(dict.fromkeys(indexes)),
        options={**held, **reading.options},
    )


def _read_file(path: Path, reading: _Reading, into: list[str]) -> None:
    if path in reading.open:
        reading.problems.append(Problem(str(path.name), "includes itself"))
        return
    try:
        text = decoded(path.read_bytes(), path.name)
    except OSError as error:
        reading.problems.append(Problem(path.name, f"cannot be read: {error.strerror}"))
        return
    reading.open.append(path)
    _read_lines(text, reading, into)
    reading.open.pop()


def _read_lines(text: str, reading: _Reading, into: list[str]) -> None:
    for number, line in logical_lines(text):
        where = f"{reading.open[-1].name} line {number}"
        problem = _option(line, reading, into) if line.startswith("-") else _requirement(line, into)
        if problem:
            reading.problems.append(Problem(where, problem))


def _requirement(line: str, into: list[str]) -> str:
    """What is wrong with the line, "" for a requirement."""
    if " --hash" in line:
        return "has digests, so this is a lock (`envagent import` reads it)"
    try:
        requirement = Requirement(line)
    except (InvalidRequirement, RecursionError):
        what = rules.OF_THIS_MACHINE if line.startswith(_PATHS) else "is not a requirement (PEP 508)"
        return f"{what}: {line[:80]!r}"
    into.append(str(requirement))
    problem = rules.place(requirement.url)
    return f"{problem}: {line[:80]!r}" if problem else ""


def _option(line: str, reading: _Reading, into: list[str]) -> str:
    """What is wrong with the line, "" for an option that a lock can follow."""
    found = _OPTION.fullmatch(line)
    name, value = (_SHORT.get(found[1], found[1]), found[2].strip()) if found else (line, "")
    beside = reading.open[-1].parent / value
    match name:
        case "--requirement":
            _read_file(beside, reading, into)
        case "--constraint":
            _read_file(beside, reading, reading.constraints)
        case "--index-url":
            reading.default_index = value
        case "--extra-index-url":
            reading.more_indexes.append(value)
        case "--only-binary" if value == ":all:":
            reading.options[ONLY_BINARY] = "yes"
        case "--pre":
            reading.options[PRERELEASE] = "allow"
        case _:
            return "" if name in _WITHOUT_MEANING else f"is an option that no lock can follow: {line[:80]!r}"
    return ""
