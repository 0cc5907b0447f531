"""The readers of one download: how far each is, and how those that wait are woken.

Nothing here moves bytes. A reader that was dropped is no longer waited for; it finds out when it asks for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Reader:
    """Somebody who has read up to `position` and wants to `stop` (None: the end)."""

    position: int
    stop: int | None

    def wants_more_before(self, position: int) -> bool:
        """Whether some byte before `position` is still to be read."""
        return self.position < (position if self.stop is None else min(position, self.stop))


class Readers:
    """See the module. `some_left` says whether anybody who was here has gone."""

    def __init__(self) -> None:
        self.some_left = False
        self._present: set[Reader] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._present)

    def add(self, start: int, stop: int | None) -> Reader:
        """Somebody comes, to read from `start` on."""
        reader = Reader(start, stop)
        self._present.add(reader)
        return reader

    def remove(self, reader: Reader) -> None:
        """Somebody leaves, having read everything or not."""
        self._present.discard(reader)
        self.some_left = True

    def behind(self, position: int) -> list[Reader]:
        """Who still wants a byte before `position`."""
        return [reader for reader in self._present if reader.wants_more_before(position)]

    def drop(self, readers: Iterable[Reader]) -> None:
        """Wait for them no longer."""
        self._present.difference_update(readers)

    def wake(self) -> None:
        """There is news: everybody who waits looks again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def news(self) -> None:
        """Wait for the next `wake`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
