"""What a daemon does from time to time: when it is due, and that it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from envagent.config import Config
from envagent.daemon.protocol import Due
from envagent.daemon.upkeep import Chore, Upkeep, chores, perform
from fixtures.agent import Agent, lock_document, write_lock
from fixtures.clock import FakeClock
from fixtures.patience import until
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

DAY = 86_400
ALPHA = make_wheel("alpha", "1.0")
SCRUB, GC = Chore(("scrub",), 7 * DAY), Chore(("gc",), DAY)


class Days:
    """A daemon's days: sleep lets them pass at once, until the last one is over."""

    def __init__(self, notes: Path, days: int, *, fails: bool = False) -> None:
        self.clock = FakeClock()
        self.began = self.clock()
        self.end = self.began + days * DAY
        self.done: list[tuple[float, str]] = []
        self.told: list[str] = []
        self.fails = fails
        self.upkeep = Upkeep(notes, clock=self.clock, sleep=self.sleep, perform=self.perform, tell=self.told.append)

    async def sleep(self, seconds: float) -> None:
        if self.clock() + seconds > self.end:
            self.clock.now = self.end
            raise asyncio.CancelledError
        self.clock.advance(seconds)

    async def perform(self, words: Sequence[str]) -> None:
        self.done.append(((self.clock() - self.began) / DAY, words[0]))
        if self.fails:
            raise BlockingIOError("no more processes")

    async def pass_with(self, *every: Chore) -> list[tuple[float, str]]:
        with pytest.raises(asyncio.CancelledError):
            await self.upkeep.keep(every)
        return self.done


async def test_each_is_done_when_its_interval_is_over(tmp_path: Path) -> None:
    assert await Days(tmp_path, 3).pass_with(SCRUB, GC) == [(1, "gc"), (2, "gc"), (3, "gc")]
    assert [name for _, name in await Days(tmp_path / "new", 7).pass_with(SCRUB, GC)].count("scrub") == 1


async def test_a_daemon_that_starts_anew_goes_on_with_the_schedule(tmp_path: Path) -> None:
    first = Days(tmp_path, 5)
    assert await first.pass_with(SCRUB) == []
    second = Days(tmp_path, 10)
    second.clock.now = first.end
    assert await second.pass_with(SCRUB) == [(7, "scrub")]


async def test_the_schedule_tells_when_each_ran_and_will_run(tmp_path: Path) -> None:
    days = Days(tmp_path, 2)
    assert days.upkeep.schedule() == []
    await days.pass_with(SCRUB, GC)
    day = [days.began + number * DAY for number in range(8)]
    assert days.upkeep.schedule() == [Due("scrub", None, day[7]), Due("gc", day[2], day[3])]
    later = Days(tmp_path, 0)
    later.clock.now = later.end = days.end
    await later.pass_with(SCRUB, GC)
    assert later.upkeep.schedule() == days.upkeep.schedule(), "a new daemon knows the same"


async def test_a_clock_that_was_set_back_puts_nothing_off_for_longer_than_an_interval(tmp_path: Path) -> None:
    (tmp_path / "gc").write_text(str(FakeClock()() + 500 * DAY))
    assert await Days(tmp_path, 1).pass_with(GC) == [(1, "gc")]


async def test_what_fails_is_told_and_done_the_next_time(tmp_path: Path) -> None:
    days = Days(tmp_path, 2, fails=True)
    assert await days.pass_with(GC) == [(1, "gc"), (2, "gc")]
    assert days.told == ["gc could not be run: no more processes"] * 2


async def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file")
    days = Days(tmp_path / "notes", 1)
    assert await days.pass_with(GC) == [(1, "gc")]
    assert len(days.told) == 2


def test_the_configuration_says_what_is_done(tmp_path: Path) -> None:
    assert chores(Config(tmp_path)) == (Chore(("scrub", "--data", str(tmp_path)), 7 * DAY),)
    assert chores(Config(tmp_path, scrub_interval=0, gc_interval=DAY, gc_budget=500)) == (
        Chore(("gc", "--budget", "500", "--data", str(tmp_path)), DAY),
    )


async def test_what_is_done_is_what_the_command_does(agent: Agent, upstream: FakeIndex, tmp_path: Path) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert (await agent.run("materialize", lock, "--prefix", "env", "--link-mode", "copy")).code == 0
    assert list((agent.data / "artifacts").rglob(ALPHA.sha256))
    for chore in chores(Config(agent.data, gc_interval=DAY)):
        await perform(chore.words)
    assert not list((agent.data / "artifacts").rglob(ALPHA.sha256))


async def test_a_chore_ends_with_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    chore = asyncio.create_task(perform(["serve", "--data", str(tmp_path)]))
    await until((tmp_path / "envagent.sock").exists)
    chore.cancel()
    with pytest.raises(asyncio.CancelledError):
        await chore
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await asyncio.open_unix_connection(tmp_path / "envagent.sock")
