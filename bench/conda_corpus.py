"""A flat channel of the size of conda-forge: 500,000 records of 25,000 names, with the bytes of one package.

Every number is drawn from a digest of name and record, so any record can be written without those before it, the
same in every run, and nothing is kept in memory. linux-64 has all the records; noarch has one package of 16 MB. One
name in five has 63 records, the next ones 20, 10, 5 and 2. `ROOT` needs 100 packages, itself included, and their
older versions need 100 more, so a client looks at 200 names; nobody asks for the others. As in a real channel a name
keeps what it needs from one version to the next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import zstandard

RECORDS = (2, 5, 10, 20, 63)  # of the names in turn: 20 on average
NAMES = 25_000
QUICK_NAMES = 2_500
PACKAGE = "large-1.0-0.conda"
PACKAGE_BYTES = 16_000_000
WANTED = 100  # packages of an environment
ROOT = "pkg-00004"
LEVEL = 12  # of zstd: gives 86 bytes a record, where conda-forge, with a higher level and more variety, has 82
PLATFORM: Final = "linux-64"
_PIECE_BYTES = 1_000_000
_TIMESTAMP_MS = 1_600_000_000_000


@dataclass(frozen=True, slots=True)
class Stock:
    """linux-64 with `names` names; `changed` is the number of one whose newest record says something else."""

    names: int
    changed: int | None = None

    def records(self) -> int:
        """How many there are."""
        return self.names // len(RECORDS) * sum(RECORDS)

    def write(self, place: Path) -> None:
        """Write repodata.json and repodata.json.zst into a new directory."""
        place.mkdir(parents=True)
        compressor = zstandard.ZstdCompressor(level=LEVEL, threads=-1).compressobj()
        with (place / "repodata.json").open("wb") as flat, (place / "repodata.json.zst").open("wb") as zst:
            for piece in _joined(self._pieces()):
                flat.write(piece)
                zst.write(compressor.compress(piece))
            zst.write(compressor.flush())

    def _pieces(self) -> Iterator[bytes]:
        """Older records are .tar.bz2, as in a channel that has been there for long."""
        yield b'{"info":{"subdir":"linux-64"},"packages":{'
        yield from _separated(self._entries(".tar.bz2"))
        yield b'},"packages.conda":{'
        yield from _separated(self._entries(".conda"))
        yield b'},"removed":[],"repodata_version":1}'

    def _entries(self, suffix: str) -> Iterator[bytes]:
        for name in range(self.names):
            count = RECORDS[name % len(RECORDS)]
            half = range(count // 2) if suffix == ".tar.bz2" else range(count // 2, count)
            for number in half:
                yield self._entry(name, number, suffix, is_newest=number == count - 1)

    def _entry(self, name: int, number: int, suffix: str, *, is_newest: bool) -> bytes:
        drawn, habits = _drawn(b"%d %d" % (name, number)), _drawn(b"%d" % name)
        version, build = f"1.{number // 3}.0", f"h{habits[number % 3 :][:4].hex()}_{number % 3}"
        record = {
            "build": build,
            "build_number": number % 3,
            "depends": [*self._needs(name, habits, is_newest=is_newest), "__glibc >=2.17,<3.0.a0"],
            "license": "MIT" if is_newest and name == self.changed else "BSD-3-Clause",
            "license_family": "BSD",
            "md5": hashlib.md5(drawn).hexdigest(),
            "name": _name(name),
            "sha256": drawn.hex(),
            "size": int.from_bytes(drawn[:3]),
            "subdir": PLATFORM,
            "timestamp": _TIMESTAMP_MS + int.from_bytes(drawn[3:8]) % 10**11,
            "version": version,
        }
        key = f"{_name(name)}-{version}-{build}{suffix}"
        return msgspec.json.encode(key) + b":" + msgspec.json.encode(record)

    def _needs(self, name: int, habits: bytes, *, is_newest: bool) -> list[str]:
        turn, kind = divmod(name, len(RECORDS))
        if turn < WANTED and kind == len(RECORDS) - 1:
            needs = [f"{_wanted(below)} >=1.{below % 5}" for below in _below(turn)]
            return needs if is_newest else [*needs, _name(turn * len(RECORDS) + 3)]
        if turn < WANTED:
            return []  # so that nothing of the environment leads to all the others
        others = (int.from_bytes(habits[at : at + 3]) % self.names for at in range(8, 14 + 3 * (habits[31] % 6), 3))
        return [f"{_name(other)} >=1.{other % 8},<2.0a0" for other in others]


def write_noarch(place: Path) -> None:
    """A noarch of one package, whose bytes are no archive: a proxy must not care."""
    place.mkdir(parents=True)
    body = random.Random(PACKAGE).randbytes(PACKAGE_BYTES)
    record = {
        "build": "0",
        "build_number": 0,
        "depends": [],
        "md5": hashlib.md5(body).hexdigest(),
        "name": "large",
        "noarch": "generic",
        "sha256": hashlib.sha256(body).hexdigest(),
        "size": len(body),
        "subdir": "noarch",
        "version": "1.0",
    }
    flat = msgspec.json.encode(
        {"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {PACKAGE: record}, "repodata_version": 1}
    )
    (place / PACKAGE).write_bytes(body)
    (place / "repodata.json").write_bytes(flat)
    (place / "repodata.json.zst").write_bytes(zstandard.compress(flat, LEVEL))


def _drawn(seed: bytes) -> bytes:
    return hashlib.sha256(seed).digest()


def _name(number: int) -> str:
    return f"pkg-{number:05}"


def _wanted(turn: int) -> str:
    return _name(turn * len(RECORDS) + len(RECORDS) - 1)


def _below(turn: int) -> list[int]:
    """A tree of three branches, with a second way to most packages."""
    children = [3 * turn + branch for branch in (1, 2, 3)]
    return [below for below in (*children, 2 * turn + 5) if below < WANTED]


def _separated(entries: Iterator[bytes]) -> Iterator[bytes]:
    yield next(entries)
    for entry in entries:
        yield b"," + entry


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for piece in pieces:
        batch += piece
        if len(batch) >= _PIECE_BYTES:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)
