"""From bytes to plain values: JSON and TOML read strictly, and nothing but LockRefused raised.

Strict means what a document of a stranger deserves: UTF-8, bounded size and depth, no key twice in one object, no
NaN. YAML is read by yaml_syntax.py, for only YAML locks should pay for its import.
"""

from __future__ import annotations

import json
from typing import Any

from envagent.errors import LockRefused, Problem

MAX_BYTES = 64 * 2**20


def decoded(data: bytes, name: str) -> str:
    """The text of a document; raises LockRefused."""
    if len(data) > MAX_BYTES:
        raise refused(name, f"has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(name, f"is not UTF-8 (byte {error.start})") from error


def read_json(data: bytes, name: str) -> object:
    """RFC 8259, no key twice; raises LockRefused."""
    text = decoded(data, name)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refused(name, f"is not JSON: {error}") from error


def read_toml(data: bytes, name: str) -> dict[str, Any]:
    """TOML 1.0; raises LockRefused."""
    import tomllib  # noqa: PLC0415  # our own locks are JSON

    text = decoded(data, name)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(name, f"is not TOML: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:128]!r} stands twice in one object")
    return members


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def refused(name: str, what: str) -> LockRefused:
    """The refusal of a document as a whole: it `what`."""
    return LockRefused(name, [Problem("$", what)])
