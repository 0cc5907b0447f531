"""A token bucket: so many tokens a second on average, at most `burst` at once.

Pure: the time comes in, and what comes out is how long to wait. Tokens are bytes of uploads, or requests to a proxy
whose directory is lost.
"""

from __future__ import annotations


class Bucket:
    """Full at first. `rate` is in tokens per second; 0 means that there is no bound."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = 0.0

    def take(self, count: float, now: float) -> float:
        """Take tokens, on credit if need be; the seconds to wait before using them.

        Credit makes waiters queue: whoever comes later waits longer, and nobody is passed over.
        """
        if not self._rate:
            return 0.0
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now
        self._level -= count
        return max(0.0, -self._level / self._rate)
