"""Reading any lock there is, and writing each: the one place that knows all formats.

Formats differ in what they hold. What is missing (sizes, digests) is asked of a Completer or refused; a format that
knows no machines (requirements, pylock, uv.lock) is read for those that the caller names. docs/lock.md says what each
format cannot hold: packages are never left out silently, only `partial` allows it.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal

from envagent.errors import LockRefused, Problem, UsageError
from envagent.lock.canonical import canonical_bytes
from envagent.lock.document import Node
from envagent.lock.model import Interpreter, Lock
from envagent.lock.reading import read_lock, sealed
from envagent.lock.syntax import decoded, read_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.lock.complete import Completer
    from envagent.lock.model import Environment, Target

Format = Literal["envmesh", "pixi", "conda-lock", "pylock", "requirements", "explicit", "uv"]
EXPORTS: tuple[Format, ...] = ("envmesh", "pylock", "pixi", "conda-lock", "requirements", "explicit")

_SIGNS: tuple[tuple[Format, str], ...] = (
    ("envmesh", r"\A\s*\{"),
    ("explicit", r"^@EXPLICIT\s*$"),
    ("pylock", r"^lock-version\s*="),
    ("uv", r"^version\s*=\s*\d"),
    ("conda-lock", r"^package:"),
    ("pixi", r"^version:\s*\d"),
)
_HOLDS = {"pylock": {"wheel", "sdist"}, "requirements": {"wheel", "sdist"}, "explicit": {"conda"}}


def import_bytes(data: bytes, name: str, completer: Completer, *, machines: Sequence[Target] = ()) -> Lock:
    """The lock that these bytes are, in any format; sizes and digests that it lacks come from `completer`.

    `name` is the file's, and tells requirements files by their ending. `machines` are targets without packages, with
    an interpreter: those that a format without machines is read for. Raises LockRefused.
    """
    form = sniff(data, name)
    if form == "envmesh":
        return read_lock(data, name)
    from envagent.lock.complete import completed  # noqa: PLC0415  # our own locks are complete

    return sealed(completed(_drafted(form, data, name, completer, machines), completer, name), name)


def sniff(data: bytes, name: str) -> Format:
    """Which format the bytes are in. Raises LockRefused."""
    text = decoded(data, name)
    for form, sign in _SIGNS:
        if re.search(sign, text, re.MULTILINE):
            return form
    if name.endswith((".txt", ".in")):
        return "requirements"
    what = "is not a lock of a kind known here (docs/lock.md lists them)"
    raise LockRefused(name, [Problem("$", what, "`envagent lock` makes one of what a project asks for")])


def needs_machines(data: bytes, name: str) -> bool:
    """Whether the bytes are in a format without machines, so that somebody must name some. Raises LockRefused."""
    form = sniff(data, name)
    if form == "pylock":
        return not Node(read_toml(data, name)).member("tool").has("envagent")
    return form in {"requirements", "uv"}


def _drafted(form: Format, data: bytes, name: str, completer: Completer, machines: Sequence[Target]) -> Lock:
    if form == "pixi":
        from envagent.lock import pixi  # noqa: PLC0415  # YAML

        return pixi.read(data, name)
    if form == "conda-lock":
        from envagent.lock import conda_lock  # noqa: PLC0415  # YAML

        return conda_lock.read(data, name)
    if form == "pylock":
        from envagent.lock import pylock  # noqa: PLC0415  # packaging.pylock

        return pylock.read(data, name, machines)
    if form == "uv":
        from envagent.lock import uv  # noqa: PLC0415

        return uv.read(data, name, machines)
    if form == "explicit":
        from envagent.lock import explicit  # noqa: PLC0415  # as all that are not needed for locks of our own

        return explicit.read(data, name)
    from envagent.lock import requirements  # noqa: PLC0415

    return requirements.read(data, name, machines, completer)


def export(lock: Lock, env: str | None, form: Format, *, target: str | None = None, partial: bool = False) -> bytes:
    """The lock in another format: one target of one environment, or as much as one file of it holds.

    `env` and `target` may be left out where there is only one. With `partial`, packages of kinds that the format
    does not know are left out; else they are refused. Raises CannotExport, UsageError.
    """
    if form not in EXPORTS:
        raise UsageError(f"no lock is written as {form!r}", hint=f"formats are {', '.join(EXPORTS)}")
    if partial and form in _HOLDS:
        lock = _only(lock, _HOLDS[form])
    if form in {"envmesh", "pixi"}:
        chosen = lock if env is None else Lock({env: lock.environment(env)})
        return _written_whole(chosen, form)
    environment = lock.environment(env)
    if form == "conda-lock":
        from envagent.lock import conda_lock  # noqa: PLC0415  # YAML

        return conda_lock.write(environment)
    return _written_target(lock.label(env), environment, environment.target(target), form)


def _written_whole(lock: Lock, form: Format) -> bytes:
    if form == "envmesh":
        return canonical_bytes(lock)
    from envagent.lock import pixi  # noqa: PLC0415  # YAML

    return pixi.write(lock)


def _written_target(label: str, environment: Environment, target: Target, form: Format) -> bytes:
    if form == "explicit":
        from envagent.lock import explicit  # noqa: PLC0415

        return explicit.write(target)
    if form == "requirements":
        from envagent.lock import requirements  # noqa: PLC0415

        return requirements.write(target)
    from envagent.lock import pylock  # noqa: PLC0415  # packaging.pylock

    return pylock.write(label, environment.request, target)


def _only(lock: Lock, kinds: set[str]) -> Lock:
    def target(old: Target) -> Target:
        packages = tuple(package for package in old.packages if package.kind in kinds)
        version = "" if "conda" in kinds else old.python_version
        interpreter = Interpreter("system", version=version) if version else old.interpreter
        return dataclasses.replace(old, interpreter=interpreter, packages=packages)

    return Lock(
        {
            name: dataclasses.replace(environment, targets=tuple(map(target, environment.targets)))
            for name, environment in lock.environments.items()
        }
    )
