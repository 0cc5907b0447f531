"""What an environment is to be: these wheels, for that interpreter. A value, with an identity of its own.

Two plans with one identity make environments with the same files; how they get there (hardlinks or copies, compiled
or not) is no part of it. The plan is judged (names, tags) before the store or the disk are touched.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from envagent.errors import ArtifactRefused
from envagent.materialize.wheel_name import promised_by

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.interpreter import Interpreter

_LAYOUT = 2  # of trees and prefixes: another number makes other trees and other prefixes


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel on this machine: any path, its real `filename`, the `sha256` (hexadecimal) that it must have.

    `requested` is whether someone asked for it by name (REQUESTED, PEP 376); `direct_url` is the content of
    direct_url.json (PEP 610) for what did not come from an index by name.
    """

    path: Path
    sha256: str
    filename: str
    requested: bool = False
    direct_url: str = ""


@dataclass(frozen=True)
class Plan:
    """Where two wheels hold the same file, the later one wins."""

    wheels: tuple[WheelFile, ...]
    interpreter: Interpreter

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of everything that decides what the files are."""
        python = self.interpreter
        said = {
            "layout": _LAYOUT,
            "python": [str(python.executable), python.version, python.implementation, python.library],
            "wheels": [[w.sha256, w.filename, w.requested, w.direct_url] for w in self.wheels],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def key(self, wheel: WheelFile) -> str:
        """The store's name of the wheel's tree."""
        return f"{wheel.sha256}-{self.interpreter.library}-{_LAYOUT}"

    def bytecode_key(self, wheel: WheelFile) -> str:
        """The store's name of the tree of its compiled modules."""
        return f"{self.key(wheel)}-{self.interpreter.cache_tag}-{self.interpreter.magic}"

    def check(self) -> None:
        """Refuse a wheel for another machine or Python, and a project that is there twice. Raises ArtifactRefused."""
        seen: dict[str, str] = {}
        for wheel in self.wheels:
            promised = promised_by(wheel.filename)
            if promised.tags.isdisjoint(self.interpreter.tags):
                python = f"{self.interpreter.implementation} {self.interpreter.version}"
                raise ArtifactRefused(
                    wheel.filename,
                    f"it is not for {python} on this machine",
                    hint="lock for this platform and Python",
                )
            if other := seen.get(promised.name):
                raise ArtifactRefused(wheel.filename, f"the plan also has {other}", hint="keep one of them")
            seen[promised.name] = wheel.filename
