"""What Pythons of this machine said of themselves, kept so that no command has to run them to hear it again.

One small file for each, by everything that the answer can depend on: the path that is run, the program behind it
(device, inode, size, time of its last change) and, where the path is inside a virtual environment, that environment's
pyvenv.cfg. So another Python at the same place is asked anew. A script that bears a Python's name is asked each time:
what it leads to may be another one tomorrow. An answer that cannot be kept costs the question, nothing else.

The tags of the wheels that it can run take as long to work out, and are kept with the answer: they depend on the C
library, the architecture and the Python that runs this, too.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from envagent.materialize.interpreter import Interpreter, describe
from envproxy import __version__


class _Said(msgspec.Struct, frozen=True):
    """An `Interpreter` with its tags, as it is written down."""

    executable: str
    version: str
    implementation: str
    cache_tag: str
    magic: str
    library: str
    abi: str
    soabi: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, found: Interpreter) -> _Said:
        """What is to be written down of it."""
        return cls(
            executable=str(found.executable),
            tags=tuple(sorted(found.tags)),
            **{name: getattr(found, name) for name in _FIELDS},
        )

    def interpreter(self) -> Interpreter:
        """The Python that said it."""
        found = Interpreter(Path(self.executable), **{name: getattr(self, name) for name in _FIELDS})
        vars(found)["tags"] = frozenset(self.tags)  # where its cached_property has them once they are known
        return found


_FIELDS = tuple(name for name in _Said.__struct_fields__ if name not in {"executable", "tags"})


class Interpreters:
    """Pythons that were asked once; `folder` is where the answers are, and made when there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self, executable: Path) -> Interpreter:
        """As `interpreter.describe` (blocking), which is asked at most once. Raises PrefixRefused."""
        place = self._place(executable)
        if said := _read(place):
            return said.interpreter()
        found = describe(executable)
        if place:
            _write(place, found)
        return found

    def _place(self, executable: Path) -> Path | None:
        """Where the answer of this very program is; None where there is none, or a script."""
        try:
            if _is_script(executable):
                return None
            seen = [*_surroundings(), str(executable.absolute()), *_identity(executable)]
        except OSError:
            return None
        with suppress(OSError):
            seen += _identity(executable.parent.parent / "pyvenv.cfg")
        return self._folder / hashlib.sha256("\0".join(seen).encode()).hexdigest()


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _identity(path: Path) -> list[str]:
    found = path.stat()
    return [str(path.resolve()), *map(str, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))]


def _surroundings() -> list[str]:
    """What decides which wheels run here, beside the Python that they are for."""
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    return [__version__, sys.executable, os.uname().machine, libc or ""]


def _read(place: Path | None) -> _Said | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=_Said) if place else None
    except (OSError, msgspec.MsgspecError):
        return None


def _write(place: Path, found: Interpreter) -> None:
    draft = place.with_name(f"{place.name}.{os.urandom(4).hex()}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.encode(_Said.of(found)))
        draft.replace(place)
