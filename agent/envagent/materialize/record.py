"""RECORD: what a wheel promises of each of its files, and what an installed distribution says of them.

The format is that of "Recording installed projects" (PEP 376, PEP 427, PEP 627): CSV rows of path, `algorithm=digest`
in unpadded URL-safe base64, size. A wheel's RECORD must name every file of the archive with a strong digest; only
RECORD itself and its signatures go without. Pure: bytes in, rows out.
"""

from __future__ import annotations

import binascii
import csv
import hashlib
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STRONG = {"sha256": 32, "sha384": 48, "sha512": 64}
"""The algorithms that may vouch for a file and their digests' lengths in bytes (PEP 427: sha256 or better)."""


# Of bytes: translating text takes longer than all else that is done with a row.
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Promise(NamedTuple):
    """What a row says of a file: `digest` are raw bytes, `size` is in bytes or None where the row leaves it out."""

    algorithm: str
    digest: bytes
    size: int | None


class Row(NamedTuple):
    """A row of an installed RECORD: `path` is relative to site-packages, an empty digest leaves its fields empty."""

    path: str
    algorithm: str = ""
    digest: bytes = b""
    size: int = 0


def parse(text: bytes) -> dict[str, Promise | None]:
    """Path to promise, None for a row without a digest. Raises ValueError in words for a person."""
    try:
        rows = _rows(text.decode())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"RECORD is not CSV in UTF-8 ({error})") from None
    promises: dict[str, Promise | None] = {}
    for row in rows:
        if _is_directory(row):
            continue
        path, promise = _promise(row)
        if promises.setdefault(path, promise) != promise:
            raise ValueError(f"RECORD says two different things of {path!r}")
    return promises


def _rows(text: str) -> list[list[str]]:
    """The rows that are not empty. Few RECORDs quote anything, and those that do not only need to be split."""
    plain = text.replace("\r\n", "\n")
    if '"' not in plain and "\r" not in plain:
        return [line.split(",") for line in plain.split("\n") if line]
    return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]


def _is_directory(row: list[str]) -> bool:
    """Some builders list directories, of which there is nothing to promise."""
    return row[0].endswith("/") and not any(row[1:])


def _promise(row: list[str]) -> tuple[str, Promise | None]:
    if len(row) != 3:
        raise ValueError(f"RECORD has a row of {len(row)} fields instead of 3: {','.join(row)[:100]!r}")
    path, digest, size = row
    if not digest:
        return path, None
    algorithm, _, encoded = digest.partition("=")
    algorithm = algorithm.lower()  # hashlib, which pip asks, takes SHA256 too
    if algorithm not in STRONG:
        raise ValueError(
            f"RECORD vouches for {path!r} by {algorithm[:20]!r}, which is not one of {', '.join(STRONG)}"
        )
    try:
        raw = binascii.a2b_base64(encoded.encode().translate(_FROM_URL_SAFE) + b"=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != STRONG[algorithm] or not (size == "" or (size.isascii() and size.isdecimal() and len(size) < 20)):
        raise ValueError(f"RECORD has a broken digest or size for {path!r}")
    return path, Promise(algorithm, raw, int(size) if size else None)


def row(path: str, data: bytes) -> Row:
    """The row of a file with this content."""
    return Row(path, "sha256", hashlib.sha256(data).digest(), len(data))


def render(rows: Iterable[Row], *, own_path: str) -> bytes:
    """An installed RECORD, ordered by path; `own_path` is its own row, without digest and size."""
    return _written(sorted(map(_fields, [*rows, Row(own_path)])))


def amended(text: bytes, added: Mapping[str, bytes]) -> bytes:
    """An installed RECORD with rows for further files, given their content; the order by path is kept."""
    lines = [_fields(row(path, data)) for path, data in added.items()]
    return _written(sorted([*_rows(text.decode()), *lines]))


def _written(rows: list[list[str]]) -> bytes:
    """The rows, three fields each; the csv module is only needed where one has to be quoted."""
    text = "".join([f"{','.join(row)}\n" for row in rows])
    if '"' in text or "\r" in text or (text.count(","), text.count("\n")) != (2 * len(rows), len(rows)):
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(rows)
        text = out.getvalue()
    return text.encode()


def _fields(row: Row) -> list[str]:
    if not row.digest:
        return [row.path, "", ""]
    encoded = binascii.b2a_base64(row.digest, newline=False).rstrip(b"=").translate(_TO_URL_SAFE)
    return [row.path, f"{row.algorithm}={encoded.decode()}", str(row.size)]
