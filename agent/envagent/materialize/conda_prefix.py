"""Writing the name of an environment into files that were built for another: conda's prefix replacement.

Text grows and shrinks; in a binary the rest of the string moves up and its end is filled with NULs, so that no offset
changes (the placeholder is long for that reason). A first line that would be too long for the kernel, or would have a
space in its path, is rewritten in the way that conda and rattler do it. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re

_MAX_SHEBANG_BYTES = 127  # Linux (BINPRM_BUF_SIZE)
_SHEBANG = re.compile(rb"#! *(/(?:\\ |[^ \n\r\t])*)(.*)", re.DOTALL)
_PYTHON = re.compile(rb"python(?:\d+(?:\.\d+)?)?")


class PrefixTooLong(Exception):
    """The prefix has more bytes than the binary has room for: `room`."""

    def __init__(self, room: int) -> None:
        super().__init__(f"there is room for {room} bytes")
        self.room = room


def in_binary(data: bytes, placeholder: bytes, prefix: bytes) -> bytes | bytearray:
    """The same number of bytes with `prefix` for `placeholder`. Raises PrefixTooLong."""
    at = data.find(placeholder)
    if at < 0:
        return data
    if len(prefix) > len(placeholder):
        raise PrefixTooLong(len(placeholder))
    replaced = bytearray(data)  # patched in place: libraries may be large, and one copy is enough
    while at >= 0:
        end = data.find(b"\0", at)
        string = data[at : end if end >= 0 else len(data)]
        replaced[at : at + len(string)] = string.replace(placeholder, prefix).ljust(len(string), b"\0")
        at = data.find(placeholder, at + len(string))
    return replaced


def in_text(data: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    """The text with `prefix` for `placeholder`, and a first line that the kernel can follow."""
    if not data.startswith(b"#!"):
        return data.replace(placeholder, prefix)
    line, newline, rest = data.partition(b"\n")
    return _shebang(line, placeholder, prefix) + newline + rest.replace(placeholder, prefix)


def _shebang(line: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    if b" " in prefix and placeholder in line:
        return _through_another(line).replace(placeholder, prefix)
    replaced = line.replace(placeholder, prefix)
    return replaced if len(replaced) <= _MAX_SHEBANG_BYTES else _through_another(replaced)


def _through_another(line: bytes) -> bytes:
    """The line by way of a shell for a Python, which may be anywhere, and of env for anything else."""
    found = _SHEBANG.fullmatch(line)
    if found is None:
        return line
    path, options = found[1], found[2]
    name = path.rpartition(b"/")[2]
    if _PYTHON.fullmatch(name):
        return b"#!/bin/sh\n'''exec' \"" + path + b'"' + options + b' "$0" "$@" #\'\'\''
    return b"#!/usr/bin/env " + name + options
