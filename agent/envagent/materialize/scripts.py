"""What lands in `bin/`: launchers for entry points, and a wheel's own scripts with their `#!python` line filled in.

Every file made here finds its interpreter beside itself when it runs, so it is the same in every prefix: one file in
the store, linked everywhere, right for long and spaced paths and after a symlink to it. Launchers that we write
ourselves use the `#!/bin/sh` form that any POSIX system runs. A wheel's own script keeps everything but its first
line (docstring, `from __future__`, coding cookie, line numbers), which no multi-line trick can promise; it needs
`env -S` (coreutils of 2018 and later).
"""

from __future__ import annotations

import configparser
import re
from typing import NamedTuple

GROUPS = ("console_scripts", "gui_scripts")
"""The groups that become scripts; on POSIX both alike (entry points specification)."""

SHEBANG = b"#!python"
"""How a script begins that wants its first line replaced; #!pythonw does, too (PEP 427)."""

_HERE = '"$(dirname -- "$(realpath -- "$0")")/python"'
_LAUNCHER = """\
#!/bin/sh
'''exec' {here} "$0" "$@"
' '''
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({attr}())
"""
_OWN_LINE = f'#!/usr/bin/env -S sh -c \'exec {_HERE} "$0" "$@"\''.encode()
_OBJECT = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?\s*")  # entry points specification: the object reference
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class EntryPoint(NamedTuple):
    """A script that calls the function `attr` (dotted, as in a class) of `module`."""

    name: str
    module: str
    attr: str


def entry_points(text: bytes) -> tuple[EntryPoint, ...]:
    """The console and GUI scripts that an entry_points.txt declares. Raises ValueError in words for a person."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names are case-sensitive
    try:
        parser.read_string(text.decode())
    except (UnicodeDecodeError, configparser.Error) as error:
        raise ValueError(f"entry_points.txt cannot be read ({error})") from None
    found = {
        name: _entry_point(name, value or "")
        for group in GROUPS
        if parser.has_section(group)
        for name, value in parser.items(group)
    }
    return tuple(found.values())


def _entry_point(name: str, value: str) -> EntryPoint:
    if not name or name in {".", ".."} or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError(f"entry_points.txt declares a script named {name!r}")
    matched = _OBJECT.fullmatch(value)
    if not (matched and _DOTTED.fullmatch(matched[1]) and _DOTTED.fullmatch(matched[2])):
        raise ValueError(f"entry_points.txt declares {name!r} as {value!r}, which names no function")
    return EntryPoint(name, matched[1], matched[2])


def launcher(point: EntryPoint) -> bytes:
    """The script of an entry point, the same for every prefix."""
    return _LAUNCHER.format(
        here=_HERE, module=point.module, first=point.attr.partition(".")[0], attr=point.attr
    ).encode()


def with_interpreter(script: bytes) -> bytes:
    """A wheel's own script that starts with SHEBANG, made to run the interpreter of the prefix it is in."""
    _, newline, body = script.partition(b"\n")
    return _OWN_LINE + newline + body
