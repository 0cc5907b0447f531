"""What a daemon does for its data directory from time to time: `scrub` and `gc`, as the very commands.

Each runs in a process of its own at a low priority, one at a time, so that an order never waits for it and no
memory stays behind; what it says goes to the daemon's stderr. When each last ran is noted in the data directory, or
since when it is waited for: a daemon that starts anew goes on with the schedule, and one that starts for the first
time waits a whole interval.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.daemon.protocol import Due

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from envagent.config import Config

_WAITING = "-waiting"
"""What is added to the name of a note that says since when, and not when it ran."""
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


@dataclass(frozen=True, slots=True)
class _Times:
    """`since` is what the next time is counted from, `ran` when it last ran, None for never."""

    since: float
    ran: float | None = None


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
        self._times: dict[Chore, _Times] = {}

    async def keep(self, every: Sequence[Chore]) -> None:
        """Do each when it is due, until this is cancelled."""
        self._times = {chore: self._noted(chore) for chore in every}
        while self._times:
            chore = min(self._times, key=self._wait_s)
            await self._sleep(self._wait_s(chore))
            try:
                await self._perform(chore.words)
            except OSError as error:
                self._tell(f"{chore.words[0]} could not be run: {error}")
            now = self._clock()
            self._note(chore.words[0], now)
            self._times[chore] = _Times(now, ran=now)

    def schedule(self) -> list[Due]:
        """When each of them ran and will run."""
        now = self._clock()
        return [Due(chore.words[0], times.ran, now + self._wait_s(chore)) for chore, times in self._times.items()]

    def _wait_s(self, chore: Chore) -> float:
        return chore.wait_s(self._times[chore].since, self._clock())

    def _noted(self, chore: Chore) -> _Times:
        """What the notes say of it; it is waited for from now on, where they say nothing."""
        name = chore.words[0]
        if (ran := self._read(name)) is not None:
            return _Times(ran, ran=ran)
        if (since := self._read(name + _WAITING)) is None:
            since = self._clock()
            self._note(name + _WAITING, since)
        return _Times(since)

    def _read(self, name: str) -> float | None:
        try:
            return float((self._notes / name).read_text())
        except (OSError, ValueError):
            return None

    def _note(self, name: str, moment: float) -> None:
        try:
            self._notes.mkdir(parents=True, exist_ok=True)
            (self._notes / name).write_text(str(moment))
        except OSError as error:
            self._tell(f"the time of {name} could not be noted: {error}")
