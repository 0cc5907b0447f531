"""A Python on this machine, described by itself: what an environment for it is laid out, tagged and compiled for.

Asked once by running it (some 20 ms) and then a plain value. Nothing is guessed from paths, and an interpreter inside
a virtual environment describes the one that the environment was made of (PEP 405).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from envagent.errors import PrefixRefused

_QUESTION = """
import importlib.util, json, os, sys, sysconfig
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({
    "executable": os.path.realpath(base) if sys.prefix == sys.base_prefix else base,
    "version": ".".join(map(str, sys.version_info[:3])),
    "implementation": sys.implementation.name,
    "cache_tag": sys.implementation.cache_tag,
    "magic": importlib.util.MAGIC_NUMBER.hex(),
    "library": os.path.basename(sysconfig.get_path("stdlib")),
    "abi": "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "",
    "soabi": sysconfig.get_config_var("SOABI") or "",
}))
"""
_TIMEOUT_S = 30
_SHORT = {"pypy": "pp", "ironpython": "ip", "jython": "jy"}  # PEP 425


@dataclass(frozen=True)
class Interpreter:
    """`library` is its directory under lib/ (python3.11), `magic` its bytecode (hexadecimal); `abi` is "t" or "".

    `tree` is the key of the tree in the node store that it runs from, "" for one of the machine.
    """

    executable: Path
    version: str
    implementation: str
    cache_tag: str
    magic: str
    library: str
    abi: str = ""
    soabi: str = ""
    tree: str = ""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    @cached_property
    def tags(self) -> frozenset[str]:
        """Every tag of a wheel that it can run on this machine, such as py3-none-any (PEP 425)."""
        from packaging.tags import (  # noqa: PLC0415  # slow to import, and interpreters.py keeps what comes of it
            compatible_tags,
            cpython_tags,
            generic_tags,
            platform_tags,
        )

        platforms = list(platform_tags())
        major, minor = self.release
        if self.implementation == "cpython":
            own = cpython_tags(self.release, [f"cp{major}{minor}{self.abi}"], platforms)
            short = f"cp{major}{minor}"
        else:
            short = f"{_SHORT.get(self.implementation, self.implementation)}{major}{minor}"
            own = generic_tags(short, [self.soabi.replace("-", "_").replace(".", "_")], platforms)
        return frozenset(map(str, [*own, *compatible_tags(self.release, short, platforms)]))


def describe(executable: Path) -> Interpreter:
    """Ask the interpreter at `executable` (blocking). Raises PrefixRefused where it does not answer."""
    import subprocess  # noqa: PLC0415  # once per Python

    try:
        answer = subprocess.run(  # noqa: S603  # the interpreter that the caller chose
            [executable, "-I", "-S", "-B", "-c", _QUESTION],
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_S,
            text=True,
        ).stdout
        said = json.loads(answer)
        return Interpreter(**{**said, "executable": Path(said["executable"])})
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError) as error:
        raise PrefixRefused(
            f"{executable} is not a Python that can be asked about itself ({error})",
            hint="choose another interpreter",
        ) from None
