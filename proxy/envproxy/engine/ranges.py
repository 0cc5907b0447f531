"""Byte ranges and validators of one representation (RFC 9110 sections 13 and 14), as pure functions.

Only single ranges are honoured: open, closed and suffix. Several ranges, or ones that do not parse, are ignored as
section 14.2 allows, which no installer minds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, stop) of a representation of `total` bytes."""

    start: int
    stop: int
    total: int

    @property
    def length(self) -> int:
        """How many bytes the span has."""
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """The Content-Range header of a 206."""
        return f"bytes {self.start}-{self.stop - 1}/{self.total}"


class Unsatisfiable(Exception):
    """The range lies outside the representation."""


def requested(range_header: str | None, if_range: str | None, *, etag: str | None, total: int) -> Span | None:
    """The part that a request asks for, None for the whole.

    `etag` is the quoted strong validator of what would be sent; an If-Range that names another one (or a date, which
    we never hand out) asks for the whole. Raises `Unsatisfiable`.
    """
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return None
    match = _SINGLE.fullmatch(range_header.strip())
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        return _suffix(int(match[2]), total)
    start, last = int(match[1]), int(match[2]) if match[2] else total - 1
    if match[2] and last < start:
        return None
    if start >= total:
        raise Unsatisfiable
    return Span(start, min(last + 1, total), total)


def _suffix(length: int, total: int) -> Span:
    if length == 0 or total == 0:
        raise Unsatisfiable
    return Span(max(0, total - length), total, total)
