"""Finding a Python of this machine for a lock that brings none: the version that it says, or a refusal.

Looked at are, in this order, the directories on PATH, the versions of pyenv, those that uv manages, and the
interpreter that runs this. Directories and the environment come in as arguments; what a Python is, it says itself
(interpreter.py). Invariant: the one returned is a CPython with the GIL of exactly the version asked for, as far as
that is spelled out. Nothing is installed or downloaded.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import PrefixRefused
from envagent.materialize.interpreter import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from envagent.materialize.interpreter import Interpreter

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")


def find_system(
    version: str,
    *,
    environ: Mapping[str, str],
    running: Path = Path(sys.executable),
    describe: Callable[[Path], Interpreter] = describe,
) -> Interpreter:
    """The first CPython on this machine that is a `version` such as 3.11 or 3.11.7.

    Blocking: `describe` runs what is found, or remembers what it said (interpreters.py).

    3.11 is satisfied by any 3.11.x, 3.11.7 by nothing else. Raises PrefixRefused, which names what was found instead.
    """
    asked = _VERSION.fullmatch(version)
    if asked is None:
        raise PrefixRefused(f"{version!r} is not a version of Python", hint="write it like 3.11 or 3.11.7")
    found: dict[Path, Interpreter] = {}
    for candidate in _candidates(f"{asked[1]}.{asked[2]}", environ, running):
        python = _described(candidate, describe)
        if python is None:
            continue
        if _satisfies(python, version):
            return python
        found.setdefault(python.executable, python)
    there = ", ".join(_said(python) for python in found.values()) or "no Python at all"
    raise PrefixRefused(
        f"Python {version} is not on this machine; found: {there}",
        hint="install it, or have the lock bring one: envagent lock --standalone-python, or --conda python",
    )


def _candidates(minor: str, environ: Mapping[str, str], running: Path) -> Iterator[Path]:
    """What may be a Python, each file once: those whose name promises the minor version come first."""
    folders = list(_folders(environ))
    named = [folder / name for name in (f"python{minor}", "python3", "python") for folder in folders]
    seen: set[Path] = set()
    for path in [*named, running]:
        real = path.resolve()
        if real not in seen and path.is_file():
            seen.add(real)
            yield path


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where Pythons lie. The shims of pyenv are left out: slow scripts that lead to what is in its versions."""
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    pyenv = _place(environ.get("PYENV_ROOT"), home and home / ".pyenv")
    data = _place(environ.get("XDG_DATA_HOME"), home and home / ".local" / "share")
    uv = _place(environ.get("UV_PYTHON_INSTALL_DIR"), data and data / "uv" / "python")
    for entry in environ.get("PATH", "").split(":"):
        if Path(entry).is_absolute() and not (pyenv and Path(entry) == pyenv / "shims"):
            yield Path(entry)
    if pyenv:
        yield from _newest_first(pyenv / "versions")
    if uv:
        yield from _newest_first(uv)


def _place(told: str | None, otherwise: Path | None) -> Path | None:
    return Path(told) if told else otherwise


def _newest_first(installations: Path) -> list[Path]:
    """The bin directory of each installation, those with higher numbers in their names first."""
    return [path / "bin" for path in sorted(installations.glob("*"), key=_numbers, reverse=True)]


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _described(candidate: Path, describe: Callable[[Path], Interpreter]) -> Interpreter | None:
    """What it says of itself, None for what only bears the name of a Python."""
    try:
        return describe(candidate)
    except PrefixRefused:
        return None


def _satisfies(python: Interpreter, version: str) -> bool:
    parts = version.split(".")
    return _is_usual(python) and python.version.split(".")[: len(parts)] == parts


def _is_usual(python: Interpreter) -> bool:
    return python.implementation == "cpython" and not python.abi


def _said(python: Interpreter) -> str:
    kind = "" if _is_usual(python) else " free-threaded" if python.abi else f" {python.implementation}"
    return f"{python.version}{kind} ({python.executable})"
