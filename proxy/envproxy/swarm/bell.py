"""Wakes those who wait for news of an artifact: in this process, and not too often.

The first ring in a while is heard at once; those that follow within `interval_s` are heard together at its end, or
hundreds of waiters would look at each of hundreds of pieces. Nobody misses a ring: who listens hears all that come
from then on. Rings say nothing but that it is worth looking again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Listener:
    """Somebody who waits for news of one artifact."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Whether there was news within so many seconds; news from before the call counts, once."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class _Place:
    """Who listens for one artifact; `is_quiet` until somebody rang, for `interval_s`."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.is_quiet = True
        self.has_rung = False


class Bell:
    """See the module."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._places: dict[str, _Place] = {}

    @contextmanager
    def listening(self, sha256: str) -> Iterator[Listener]:
        """Listen for news of an artifact."""
        place = self._places.setdefault(sha256, _Place())
        listener = Listener()
        place.listeners.add(listener)
        try:
            yield listener
        finally:
            place.listeners.discard(listener)
            if not place.listeners and self._places.get(sha256) is place:
                del self._places[sha256]

    def ring(self, sha256: str) -> None:
        """There is news of an artifact."""
        place = self._places.get(sha256)
        if place is None:
            return
        if not place.is_quiet:
            place.has_rung = True
            return
        place.is_quiet = False
        asyncio.get_running_loop().call_later(self._interval_s, self._be_quiet, sha256, place)
        for listener in place.listeners:
            listener.wake()

    def _be_quiet(self, sha256: str, place: _Place) -> None:
        place.is_quiet = True
        if place.has_rung and self._places.get(sha256) is place:
            place.has_rung = False
            self.ring(sha256)
