"""A circuit breaker: after some failures in a row an upstream is left alone for a while.

Without it every request during an outage would wait for its own timeout before it is served stale. While open, one
probe is let through per period; its success closes the breaker.
"""

from __future__ import annotations

from collections.abc import Callable

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0


class Breaker:
    """Counts failures in a row towards one origin. Not thread-safe: one event loop owns it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._pause_s = FIRST_PAUSE_S

    @property
    def is_open(self) -> bool:
        """Whether the origin counts as down (a probe may still be due)."""
        return self._failures >= FAILURES_TO_OPEN

    def admits(self) -> bool:
        """Whether a request may go out now. An open breaker admits one probe per pause."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._pause_s
        return True

    def succeeded(self) -> None:
        """The origin answered like a working server."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S

    def failed(self, *, pause_s: float = 0.0) -> None:
        """The origin failed; `pause_s` (its own Retry-After) opens at once and for that long."""
        self._failures = FAILURES_TO_OPEN if pause_s else self._failures + 1
        if self.is_open:
            self._open_until = self._clock() + max(pause_s, self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
