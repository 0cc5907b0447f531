"""The files that say what is to be locked: told apart by name, read by the module of their format, and joined.

Locks of other tools are no inputs, for `envagent import` reads them as they are. A lock of envagent is one: it says
what was asked for then, for which machines, and what was found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envagent.errors import LockRefused, Problem, UsageError
from envagent.lock.formats import sniff
from envagent.lock.model import Environment, Request
from envagent.lock.reading import read_lock
from envagent.resolve.asked import merged
from envagent.resolve.machines import without_packages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from envagent.lock.model import Lock, Target


@dataclass(frozen=True, slots=True)
class Inputs:
    """What files ask for. `platforms` are machines in words; `lock` is an earlier lock, if one is among the files."""

    request: Request = field(default_factory=Request)
    platforms: tuple[str, ...] = ()
    lock: Lock | None = None

    def found(self, env: str) -> Environment:
        """The environment as the earlier lock has it, an empty one if it has none."""
        return self.lock.environments.get(env, Environment()) if self.lock else Environment()

    def machines(self, env: str) -> tuple[Target, ...]:
        """The machines of the earlier lock."""
        return tuple(without_packages(target) for target in self.found(env).targets)


def read(paths: Sequence[Path], env: str, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> Inputs:
    """What the files ask for together; `env` is the environment that is meant where a file has several.

    Raises LockRefused, UsageError; OSError passes.
    """
    every = [_read(path, env, extras, groups) for path in paths]
    locks = [inputs.lock for inputs in every if inputs.lock is not None]
    if len(locks) > 1:
        raise UsageError("two of the files are locks", hint="give the one that is to be kept to")
    return Inputs(
        request=merged(inputs.request for inputs in every),
        platforms=tuple(dict.fromkeys(words for inputs in every for words in inputs.platforms)),
        lock=locks[0] if locks else None,
    )


def _read(path: Path, env: str, extras: Sequence[str], groups: Sequence[str]) -> Inputs:
    match path.name:
        case "pyproject.toml":
            from envagent.resolve import pyproject  # noqa: PLC0415  # each format imports what it needs

            return Inputs(pyproject.read(path, extras=extras, groups=groups))
        case "pixi.toml":
            from envagent.resolve import pixi_toml  # noqa: PLC0415

            return Inputs(*pixi_toml.read(path, env=env))
        case name if name.endswith((".yml", ".yaml")):
            from envagent.resolve import environment_yml  # noqa: PLC0415  # YAML

            return Inputs(*environment_yml.read(path))
        case name if name.endswith((".txt", ".in")):
            from envagent.resolve import requirements_file  # noqa: PLC0415

            return Inputs(requirements_file.read(path))
        case _:
            return _earlier(path, env)


def _earlier(path: Path, env: str) -> Inputs:
    data = path.read_bytes()
    if sniff(data, path.name) != "envmesh":
        what = "is another tool's lock, and says what was found and not what was asked for"
        raise LockRefused(path.name, [Problem("$", what, "`envagent import` reads it")])
    lock = read_lock(data, path.name)
    return Inputs(lock.environments.get(env, Environment()).request, (), lock)
