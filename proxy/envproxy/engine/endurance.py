"""When a download goes on, and when it gives up: decisions without I/O.

A body that upstream cuts is worth another request as long as the parts provably belong together and upstream still
gets anywhere; a download that nobody waits for is worth its bytes only if most of them are here.
"""

from __future__ import annotations

from envproxy.errors import Cause

PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # before the next request, by how many in a row brought no new byte
_NEAR_BYTES = 64_000_000

_MAY_PASS: frozenset[Cause] = frozenset({"connect", "timeout", "5xx", "breaker_open"})
_MAY_PASS_AT_ONCE: frozenset[Cause] = frozenset({"connect", "5xx"})


def may_begin_again(cause: Cause, *, tries: int) -> bool:
    """Whether to ask once more before any client was told anything; `tries` were in vain."""
    return tries == 1 and cause in _MAY_PASS_AT_ONCE


def may_resume(cause: Cause, *, idle: int, seen: int, fits: bool) -> bool:
    """Whether to ask for the rest after `seen` bytes; the last `idle` requests brought none.

    `fits` says that a digest or a validator will tell whether the rest belongs to what is here.
    """
    return idle < len(PAUSES_S) and cause in _MAY_PASS and (fits or seen == 0)


def worth_finishing(*, readers: int, seen: int, total: int | None, kept: bool) -> bool:
    """Whether a download should go on: if somebody waits, or if what is `kept` of it is most of the way."""
    if readers:
        return True
    return kept and (total is None or total - seen <= max(4 * seen, _NEAR_BYTES))
