"""Which representation a request asks for (RFC 9110, 12.4 and 12.5) and whether the client has it already (13.1.2).

Invariant: there is always an answer. A missing, unknown or broken header means HTML without coding, never 406: that
is what plain tools and old installers expect (PEP 691). Never looks at User-Agent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from envproxy.pypi.render import Encoding, Format

if TYPE_CHECKING:
    from collections.abc import Mapping

# A handful of installers send a handful of headers; the bound is for everybody else.
_REMEMBERED = 256

_ALIASES = {
    "application/vnd.pypi.simple.latest+json": Format.JSON.value,
    "application/vnd.pypi.simple.latest+html": Format.HTML_V1.value,
}
# Among equals: what carries most for those who name it, what everybody reads for those who take anything.
_BY_NAME = (Format.HTML, Format.HTML_V1, Format.JSON)
_BY_WILDCARD = tuple(reversed(_BY_NAME))
_CODINGS = (Encoding.GZIP, Encoding.ZSTD)

_ENTITY_TAG = re.compile(r'"[^"]*"')


@lru_cache(maxsize=_REMEMBERED)
def choose_format(accept: str | None) -> Format:
    """The format that an Accept header likes best."""
    ranges = {_ALIASES.get(name, name): q for name, q in reversed(_weighted(accept or ""))}
    best = max(Format, key=lambda fmt: _liking(fmt, ranges))
    return best if _liking(best, ranges)[0] > 0 else Format.HTML


def _liking(fmt: Format, ranges: Mapping[str, float]) -> tuple[float, int, int]:
    """Quality, then how exactly it was asked for, then our own preference: the greatest wins."""
    family = fmt.value.partition("/")[0]
    if fmt.value in ranges:
        return (ranges[fmt.value], 2, _BY_NAME.index(fmt))
    if f"{family}/*" in ranges:
        return (ranges[f"{family}/*"], 1, _BY_NAME.index(fmt))
    return (ranges.get("*/*", 0.0), 0, _BY_WILDCARD.index(fmt))


@lru_cache(maxsize=_REMEMBERED)
def choose_encoding(accept_encoding: str | None) -> Encoding:
    """The content coding that an Accept-Encoding header likes best: zstd before gzip, none if it names none."""
    codings = {name.removeprefix("x-"): q for name, q in reversed(_weighted(accept_encoding or ""))}
    # Identity is always acceptable unless refused, but whoever lists a coding and not identity would rather have it.
    best, best_q = Encoding.IDENTITY, codings.get(Encoding.IDENTITY.value, 0.0)
    for coding in _CODINGS:
        q = codings.get(coding.value, codings.get("*", 0.0))
        if q > 0 and q >= best_q:
            best, best_q = coding, q
    return best


def matches(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match names the entity tag, compared weakly (RFC 9110, 13.1.2): then the answer is 304."""
    if if_none_match == etag or if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)


def _weighted(header: str) -> list[tuple[str, float]]:
    """The members of a list header with their q-values, in lower case; a member with a broken q is passed over."""
    members = []
    for member in header.lower().split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        q = next((p.partition("=")[2] for p in parameters if p.partition("=")[0].strip() == "q"), "1")
        quality = _quality(q)
        if name and quality is not None:
            members.append((name, quality))
    return members


def _quality(text: str) -> float | None:
    try:
        quality = float(text)
    except ValueError:
        return None
    return quality if 0 <= quality <= 1 else None
