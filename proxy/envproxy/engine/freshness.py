"""How long an answer of upstream may be used, as pure functions of headers and clocks (RFC 9111, RFC 5861).

All times are seconds since the epoch. Two rules bound everything: no answer is fresh for longer than `CAP_S`, since
pip >= 26.2 obeys our max-age on simple pages, and a definite absence lasts `ABSENT_S`. An upstream without
Cache-Control (there are such) gets the configured default; one that says no-cache or no-store gets `SHORT_S`, for a
cache in front of a cluster cannot ask it for every client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

CAP_S = 600  # what PyPI gives its own pages
SHORT_S = 30
ABSENT_S = 60  # how late a new project may become visible
BEHIND_S = 300  # RFC 5861 stale-while-revalidate, as PyPI's CDN has it
ABSENT_IN_OUTAGE_S = 7 * 24 * 3600  # how long a known absence counts while its upstream cannot be asked
RETRY_S = 5  # how long a failed refresh is not tried again

_LONGEST_S = 2**31  # what longer numbers of seconds count as (RFC 9111, 1.2.2)


class Moment(Enum):
    """What a request may do with an answer of a given age."""

    FRESH = "serve"
    BEHIND = "serve, refresh behind the client's back"
    FIRST = "refresh first; serve stale only if that fails"


@dataclass(frozen=True, slots=True)
class Span:
    """Until when an answer is fresh, and until when it may be served while a refresh runs behind."""

    fresh_until: float
    behind_until: float

    def at(self, now: float) -> Moment:
        """The moment that `now` is."""
        if now < self.fresh_until:
            return Moment.FRESH
        return Moment.BEHIND if now < self.behind_until else Moment.FIRST


def lifetime(cache_control: str | None, age: str | None, *, default_s: float) -> float:
    """Seconds that an upstream answer is fresh on arrival: s-maxage or max-age less Age, within [SHORT_S, CAP_S]."""
    directives = _directives(cache_control or "")
    if "no-store" in directives or "no-cache" in directives:
        return min(SHORT_S, default_s)
    stated = _seconds(directives.get("s-maxage", directives.get("max-age")))
    if stated is None:
        return min(default_s, CAP_S)
    return float(min(max(stated - (_seconds(age) or 0), SHORT_S), CAP_S))


def known_span(checked_at: float, lifetime_s: float) -> Span:
    """The span of a page that upstream confirmed at `checked_at`."""
    return Span(checked_at + lifetime_s, checked_at + lifetime_s + BEHIND_S)


def absent_span(checked_at: float) -> Span:
    """The span of a definite absence: short, and never stretched, since a private name may appear any moment."""
    return Span(checked_at + ABSENT_S, checked_at + ABSENT_S)


def narrowest(spans: list[Span]) -> Span:
    """The span of an answer that rests on several."""
    return Span(min(s.fresh_until for s in spans), min(s.behind_until for s in spans))


def max_age(now: float, fresh_until: float, *, flips_at: float | None = None) -> int:
    """The max-age to hand out: what is left, whole seconds, never past the moment a policy verdict flips."""
    end = fresh_until if flips_at is None else min(fresh_until, flips_at)
    return max(0, min(CAP_S, int(end - now)))


def retry_after(header: str | None, *, default_s: int = RETRY_S) -> int:
    """Upstream's Retry-After as whole seconds within [1, 120]; an HTTP date or rubbish counts as the default."""
    seconds = _seconds(header)
    return max(1, min(120, default_s if seconds is None else seconds))


def wants_revalidation(cache_control: str | None) -> bool:
    """Whether a client asked past caches (`uv --refresh` sends no-cache; pip's constant max-age=0 does not count)."""
    return cache_control is not None and "no-cache" in _directives(cache_control)


def _directives(header: str) -> dict[str, str | None]:
    """By lower-case name. A comma inside a quoted value splits it, which no directive that counts here minds."""
    parts = (part.partition("=") for part in header.split(","))
    return {name.strip().lower(): value.strip().strip('"') if equals else None for name, equals, value in parts}


def _seconds(text: str | None) -> int | None:
    text = (text or "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) < 10 else _LONGEST_S
