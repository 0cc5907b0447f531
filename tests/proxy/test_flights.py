"""Many callers of one key share one piece of work, which belongs to none of them."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from envproxy.engine.flights import Flights, Tasks, uninterrupted
from envproxy.engine.report import Reporter
from envproxy.errors import NoSuchThing


class Counts(Reporter):
    """Adds up what flights report."""

    def __init__(self) -> None:
        self.joined = 0
        self.in_the_air = 0

    def coalesced(self) -> None:
        self.joined += 1

    def flights_changed(self, change: int) -> None:
        self.in_the_air += change


class Work:
    """Work that ends when told to; `runs` counts how often it was begun."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.runs += 1
        await self.go.wait()
        return f"result {self.runs}"


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def flights(counts: Counts) -> Flights[str, str]:
    return Flights(Tasks(), counts, name="test")


async def begun(*tasks: asyncio.Task[Any]) -> None:
    """Let the tasks run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_callers_of_one_key_share_one_run_and_its_result(flights: Flights[str, str], counts: Counts) -> None:
    work = Work()
    callers = [asyncio.create_task(flights.join("key", work)) for _ in range(200)]
    await begun(*callers)
    assert (counts.in_the_air, counts.joined) == (1, 199)
    work.go.set()
    assert set(await asyncio.gather(*callers)) == {"result 1"}
    assert (counts.in_the_air, work.runs) == (0, 1)


async def test_other_keys_fly_on_their_own_and_a_landed_key_flies_anew(flights: Flights[str, str]) -> None:
    work = Work()
    work.go.set()
    assert await asyncio.gather(flights.join("a", work), flights.join("b", work)) == ["result 1", "result 2"]
    assert await flights.join("a", work) == "result 3"


async def test_a_flight_survives_its_first_caller(flights: Flights[str, str]) -> None:
    work = Work()
    first, second = (asyncio.create_task(flights.join("key", work)) for _ in range(2))
    await begun(first, second)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.go.set()
    assert await second == "result 1"


async def test_a_flight_lands_even_if_every_caller_left(flights: Flights[str, str], counts: Counts) -> None:
    work = Work()
    only = asyncio.create_task(flights.join("key", work))
    await begun(only)
    only.cancel()
    task = flights.start("key", work)
    work.go.set()
    assert await task == "result 1"
    assert counts.in_the_air == 0


async def test_all_callers_get_the_error_and_the_next_one_tries_again(flights: Flights[str, str]) -> None:
    go = asyncio.Event()

    async def missing() -> str:
        await go.wait()
        raise NoSuchThing("nothing here")

    callers = [asyncio.create_task(flights.join("key", missing)) for _ in range(3)]
    await begun(*callers)
    go.set()
    assert [str(error) for error in await asyncio.gather(*callers, return_exceptions=True)] == ["nothing here"] * 3
    work = Work()
    work.go.set()
    assert await flights.join("key", work) == "result 1"


async def test_closing_cancels_what_runs_and_waits_until_it_has_ended() -> None:
    tasks, ended = Tasks(), []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("tidied up")

    task = tasks.spawn(tidy(), name="tidy")
    await begun(task)
    await tasks.close()
    assert task.cancelled()
    assert ended == ["tidied up"]


async def test_closing_also_ends_what_the_ending_tasks_start() -> None:
    tasks, late = Tasks(), []

    async def last_word() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            late.append(tasks.spawn(asyncio.Event().wait(), name="late"))

    task = tasks.spawn(last_word(), name="last word")
    await begun(task)
    await tasks.close()
    assert late[0].cancelled()


async def test_closing_does_not_wait_for_tasks_that_have_ended_this_very_moment() -> None:
    tasks, working = Tasks(), asyncio.Event()

    async def work() -> None:
        working.set()

    tasks.spawn(work(), name="work")
    await working.wait()  # wakes up before what is called when the task is done
    await tasks.close()


async def test_a_bug_in_a_task_that_nobody_awaits_is_reported() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    async def buggy() -> None:
        raise ZeroDivisionError("a bug")

    async def refused() -> None:
        raise NoSuchThing("an answer, not a bug")

    tasks = Tasks()
    await asyncio.wait([tasks.spawn(buggy(), name="buggy"), tasks.spawn(refused(), name="refused")])
    assert [(report["message"], str(report["exception"])) for report in reports] == [("buggy failed", "a bug")]


async def test_uninterrupted_work_ends_before_the_cancellation_counts() -> None:
    work, done = Work(), []

    async def caller() -> None:
        try:
            await uninterrupted(work())
        finally:
            done.append(work.go.is_set())

    task = asyncio.create_task(caller())
    await begun(task)
    task.cancel()
    await begun(task)
    work.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_uninterrupted_work_ends_first_however_often_its_caller_is_cancelled() -> None:
    work = Work()
    task = asyncio.create_task(uninterrupted(work()))
    for _ in range(3):
        await begun(task)
        task.cancel()
    await begun(task)
    assert not task.done()
    work.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_uninterrupted_work_gives_its_result_or_its_error() -> None:
    async def missing() -> str:
        raise NoSuchThing("nothing here")

    assert await uninterrupted(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(NoSuchThing, match="nothing here"):
        await uninterrupted(missing())


async def test_a_failure_after_the_cancellation_is_not_reported_as_forgotten() -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        raise OSError("the disk is full")

    caller = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    caller.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    del caller
    gc.collect()
    assert reported == []
