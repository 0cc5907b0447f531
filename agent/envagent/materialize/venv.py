"""The files that make a prefix a virtual environment of an interpreter (PEP 405): links, pyvenv.cfg, activation.

They are the prefix's own, few, and written anew for each; all else comes from the store. The activation scripts
(activate.py) have the path pasted into quotes: one that a shell or PATH would read in another way is refused before
(`fault_of_path`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.materialize.activate import scripts

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.interpreter import Interpreter

_UNQUOTABLE = frozenset("\"'`$\\!:;\n\r\t\0")
_MAX_PATH_BYTES = 3000  # of 4096: the rest is for what is inside


def fault_of_path(prefix: Path) -> str:
    """Why no environment can live at this absolute path, in words; "" for nothing."""
    text = str(prefix)
    if bad := sorted(_UNQUOTABLE & set(text)):
        return f"the path has {bad[0]!r} in it, which shells and PATH read in another way"
    if len(text.encode(errors="surrogateescape")) > _MAX_PATH_BYTES:
        return f"the path is longer than {_MAX_PATH_BYTES} bytes"
    return ""


def links(python: Interpreter) -> dict[str, str]:
    """The symbolic links of the prefix, path to target."""
    major, minor = python.release
    return {
        "bin/python": str(python.executable),
        "bin/python3": "python",
        f"bin/python{major}.{minor}": "python",
        "lib64": "lib",
    }


def files(python: Interpreter, prefix: Path, kept: Path) -> dict[str, bytes]:
    """The prefix's own files, path to content; `prefix` is where it will be. For `kept` see activate.py."""
    config = {
        "home": str(python.executable.parent),
        "implementation": python.implementation,
        "version": python.version,
        "executable": str(python.executable),
        "include-system-site-packages": "false",
    }
    lines = "".join(f"{key} = {value}\n" for key, value in config.items())
    return {"pyvenv.cfg": lines.encode(), **scripts(prefix, kept)}
