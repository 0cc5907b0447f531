"""Flat repodata (CEP 36), read without building its half million records.

`read` splits a file into raw slices by package name, which is what sharding, filtering and rewriting need; a record
is decoded only where somebody must see into it. What is unknown (`info` keys, record fields, sections) is carried
through byte for byte. Pure: a buffer in, slices of it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from mmap import mmap
from typing import Any, NamedTuple

import msgspec

from envproxy.errors import BadUpstreamBody

from .channel import filename_at, name_in

SECTIONS = ("packages", "packages.conda")
Buffer = bytes | mmap
BROKEN = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What decoding of arbitrary bytes may raise."""

_PAUSE_EVERY = 20_000  # records


class Line(NamedTuple):
    """One record where it stands: `section` is "packages", "packages.conda" or "v3/<ext>"; `key` its key there."""

    section: str
    key: str
    raw: msgspec.Raw

    @property
    def filename(self) -> str:
        """The file that the record is about."""
        return filename_at(self.key, self.section.partition("/")[2])


class Repodata(msgspec.Struct, frozen=True):
    """A file taken apart. `info` is decoded, `lines` and `removed` are by package name."""

    info: dict[str, Any]
    lines: dict[str, list[Line]]
    removed: dict[str, list[str]]

    def names(self) -> list[str]:
        """Every name that the file knows, sorted."""
        return sorted(self.lines.keys() | self.removed.keys())

    def strays(self) -> dict[str, str]:
        """The package names of files whose own name says another one."""
        return {
            line.filename: name for name, lines in self.lines.items() for line in lines if name_in(line.key) != name
        }

    def fingerprint(self, name: str) -> bytes:
        """16 bytes that change whenever anything that the file says of `name` does."""
        digest = blake2b(digest_size=16)
        for section, key, raw in self.lines.get(name, ()):
            digest.update(f"{section}\n{key}\n".encode())
            digest.update(raw)
        for key in self.removed.get(name, ()):
            digest.update(f"removed\n{key}\n".encode())
        return digest.digest()


class _File(msgspec.Struct):
    info: dict[str, Any] = {}
    packages: dict[str, msgspec.Raw] = {}
    conda: dict[str, msgspec.Raw] = msgspec.field(name="packages.conda", default_factory=dict)
    v3: dict[str, dict[str, msgspec.Raw]] = {}
    removed: list[str] = []


class _Named(msgspec.Struct):
    name: str = ""


_FILE = msgspec.json.Decoder(_File)
_NAMED = msgspec.json.Decoder(_Named)
_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _nothing() -> None:
    pass


def read(buffer: Buffer, *, pause: Callable[[], None] = _nothing) -> Repodata:
    """Take flat repodata apart; the slices point into `buffer`. Raises BadUpstreamBody.

    `pause` is called every now and then, for a caller that wants to give mapped pages back.
    """
    try:
        file = _FILE.decode(buffer)
        if not (file.packages or file.conda or file.v3 or file.info or "packages" in _TOP.decode(buffer)):
            raise BadUpstreamBody("this is JSON, but no repodata")
        pause()
        lines: dict[str, list[Line]] = {}
        for number, line in enumerate(_lines(file)):
            name = _NAMED.decode(line.raw).name or name_in(line.key)
            lines.setdefault(name, []).append(line)
            if number % _PAUSE_EVERY == 0:
                pause()
    except BROKEN as error:
        raise BadUpstreamBody(f"this is no repodata: {error}") from error
    removed: dict[str, list[str]] = {}
    for filename in file.removed:
        removed.setdefault(name_in(filename), []).append(filename)
    return Repodata(file.info, lines, removed)


def write(buffer: Buffer, repodata: Repodata, info: Mapping[str, Any]) -> Iterator[bytes]:
    """The file in `buffer` again, in pieces, with the records that `repodata` still has and with this `info`."""
    kept: dict[str, dict[str, msgspec.Raw]] = {}
    for lines in repodata.lines.values():
        for section, key, raw in lines:
            kept.setdefault(section, {})[key] = raw
    yield b'{"info":' + msgspec.json.encode(info)
    for key, raw in _TOP.decode(buffer).items():
        if key != "info":
            yield b"," + msgspec.json.encode(key) + b":"
            yield from _section(key, raw, kept)
    yield b"}"


def without_base_url(info: Mapping[str, Any]) -> dict[str, Any]:
    """`info` for a server that has the packages beside the repodata (CEP 15): without `base_url`."""
    return {key: value for key, value in info.items() if key != "base_url"}


def base_url(info: Mapping[str, Any]) -> str:
    """Where packages are, relative to the repodata ("" is beside it; CEP 15). Raises BadUpstreamBody."""
    value = info.get("base_url") or ""
    if not isinstance(value, str):
        raise BadUpstreamBody(f"base_url of this repodata is not text but {type(value).__name__}")
    return value


def _lines(file: _File) -> Iterator[Line]:
    for section, records in zip(SECTIONS, (file.packages, file.conda), strict=True):
        for key, raw in records.items():
            yield Line(section, key, raw)
    for extension, records in file.v3.items():
        for key, raw in records.items():
            yield Line(f"v3/{extension}", key, raw)


def _section(key: str, raw: msgspec.Raw, kept: Mapping[str, Mapping[str, msgspec.Raw]]) -> Iterator[bytes]:
    if key in SECTIONS:
        yield from _object(kept.get(key, {}))
    elif key == "v3":
        yield from _nested({name.partition("/")[2]: kept[name] for name in kept if name.startswith("v3/")})
    else:
        yield bytes(raw)


def _object(records: Mapping[str, msgspec.Raw]) -> Iterator[bytes]:
    yield b"{"
    for number, (key, raw) in enumerate(records.items()):
        yield (b"," if number else b"") + msgspec.json.encode(key) + b":" + bytes(raw)
    yield b"}"


def _nested(groups: Mapping[str, Mapping[str, msgspec.Raw]]) -> Iterator[bytes]:
    yield b"{"
    for number, (key, records) in enumerate(groups.items()):
        yield (b"," if number else b"") + msgspec.json.encode(key) + b":"
        yield from _object(records)
    yield b"}"
