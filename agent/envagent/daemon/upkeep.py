"""What a daemon does for its data directory from time to time: `scrub` and `gc`, as the very commands.

Each runs in a process of its own at a low priority, one at a time, so that an order never waits for it and no
memory stays behind; what it says goes to the daemon's stderr. When each last ran is noted in the data directory: a
daemon that starts anew goes on with the schedule, and one that starts for the first time waits a whole interval.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from envagent.config import Config

_NICE = 10


@dataclass(frozen=True, slots=True)
class Chore:
    """A command of envagent and its words, every so many seconds."""

    words: tuple[str, ...]
    interval_s: int

    def wait_s(self, last: float, now: float) -> float:
        """Until it is due; a clock that was set back does not put it off for longer than an interval."""
        return min(max(last + self.interval_s - now, 0.0), float(self.interval_s))


def chores(config: Config) -> tuple[Chore, ...]:
    """Those that the configuration asks for."""
    data = ("--data", str(config.data))
    every = (
        Chore(("scrub", *data), config.scrub_interval),
        Chore(("gc", "--budget", str(config.gc_budget), *data), config.gc_interval),
    )
    return tuple(chore for chore in every if chore.interval_s)


async def perform(words: Sequence[str]) -> None:
    """Run a command of envagent to its end, or until this is cancelled. OSError passes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "envagent", *words, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


class Upkeep:
    """The chores of one data directory. `clock` is in seconds since the epoch; `notes` is a folder of ours.

    `tell` hears what failed: the next time comes in any case.
    """

    def __init__(
        self,
        notes: Path,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        perform: Callable[[Sequence[str]], Awaitable[None]],
        tell: Callable[[str], object],
    ) -> None:
        self._notes = notes
        self._clock = clock
        self._sleep = sleep
        self._perform = perform
        self._tell = tell

    async def keep(self, every: Sequence[Chore]) -> None:
        """Do each when it is due, until this is cancelled."""
        last = {chore: self._noted(chore) for chore in every}
        while last:
            waits = {chore: chore.wait_s(then, self._clock()) for chore, then in last.items()}
            chore = min(waits, key=waits.__getitem__)
            await self._sleep(waits[chore])
            try:
                await self._perform(chore.words)
            except OSError as error:
                self._tell(f"{chore.words[0]} could not be run: {error}")
            last[chore] = self._note(chore)

    def _noted(self, chore: Chore) -> float:
        """When it last ran; as if that were now, where nobody knows."""
        try:
            return float((self._notes / chore.words[0]).read_text())
        except (OSError, ValueError):
            return self._note(chore)

    def _note(self, chore: Chore) -> float:
        now = self._clock()
        try:
            self._notes.mkdir(parents=True, exist_ok=True)
            (self._notes / chore.words[0]).write_text(str(now))
        except OSError as error:
            self._tell(f"that {chore.words[0]} ran could not be noted: {error}")
        return now
