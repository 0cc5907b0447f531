"""A circuit breaker: after some failures in a row an upstream is left alone for a while.

Without it every request during an outage would wait for its own timeout before it is served stale. While open, one
probe is let through per pause; its success closes the breaker, its failure makes the next pause longer. Requests
that were under way when it opened fail too, and say nothing new, nor do they end the probe. What a breaker that is
open admits is the probe.
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
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the origin counts as down (a probe may still be due)."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_probing(self) -> bool:
        """Whether the probe is under way that will tell."""
        return self._probing

    def admits(self) -> bool:
        """Whether a request may go out now. An open breaker admits one probe per pause."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._pause_s
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The origin answered like a working server."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._probing = False

    def untold(self, *, was_probe: bool) -> None:
        """A request ended without a word about the origin; was it the probe, another may go out at once."""
        if was_probe and self._probing:
            self._probing = False
            self._open_until = self._clock()

    def failed(self, *, was_probe: bool, pause_s: float = 0.0) -> None:
        """The origin failed; `pause_s` (its own Retry-After) opens at once and for that long."""
        straggler = self.is_open and not was_probe
        self._failures = FAILURES_TO_OPEN if pause_s else self._failures + 1
        self._probing = self._probing and not was_probe
        if not self.is_open:
            return
        pause_s = max(pause_s, 0.0 if straggler else self._pause_s)
        self._open_until = max(self._open_until, self._clock() + pause_s)
        if not straggler:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
