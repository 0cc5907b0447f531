"""What scrubs found, in the catalog: how a serving proxy learns of a scrub, which is a process of its own."""

from __future__ import annotations

from dataclasses import dataclass

from .database import Database


@dataclass(frozen=True, slots=True)
class ScrubRow:
    """One scrub that ran to its end, seconds since the epoch; `number` grows from scrub to scrub."""

    number: int
    ended_at: float
    checked: int
    corrupt: int


class Scrubs(Database):
    """The table `scrubs`."""

    async def add_scrub(self, ended_at: float, *, checked: int, corrupt: int) -> None:
        """Note a scrub that has just ended."""
        await self._write(
            "INSERT INTO scrubs (ended_at, checked, corrupt) VALUES (?, ?, ?)", ended_at, checked, corrupt
        )

    async def scrubs(self, *, after: int) -> list[ScrubRow]:
        """The scrubs whose number is greater, in their order."""
        sql = "SELECT number, ended_at, checked, corrupt FROM scrubs WHERE number > ? ORDER BY number"
        return [ScrubRow(*row) for row in await self._rows(sql, after)]
