"""How much may be asked for without a lease: so much a second on average, and some of it at once.

One for all agents: when the directory has forgotten everything, those who come back together must not each fetch
everything from the proxy. Nothing is given on credit; who is turned away is told when to come back.
"""

from __future__ import annotations


class Allowance:
    """Full at first: `burst` units, growing by `rate` units a second. Time comes in, in seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def take(self, count: float, now: float) -> float:
        """Take some, more than `burst` counting as `burst`; 0, or the seconds until it is worth trying again."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = max(now, self._at)
        count = min(count, self._burst)
        if self._left < count:
            return (count - self._left) / self._rate
        self._left -= count
        return 0.0
