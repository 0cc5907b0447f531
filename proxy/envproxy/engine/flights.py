"""Single flight: many callers of one key share one piece of work, which belongs to none of them.

The work runs in a task of its own, so a caller that is cancelled takes nothing from the others, and a flight survives
its first client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from envproxy.errors import EnvproxyError

from .report import Reporter

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def uninterrupted(work: Coroutine[Any, Any, V]) -> V:
    """The result of `work`, which runs to its end even if the caller is cancelled: that counts once it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await ended(task)
        raise


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait for the end of `work`, however often the caller is cancelled meanwhile; what it came to nobody hears."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # asyncio would report it as forgotten


class Tasks:
    """Owns background tasks, so that none is lost and all end at shutdown.

    A failure that is no `EnvproxyError` is a bug: it goes to the loop's exception handler, whoever awaits the task.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, V], *, name: str) -> asyncio.Task[V]:
        """Start `work`; whoever holds the task may read its result."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel what runs and wait until it ended."""
        while running := list(self._running):
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # Of tasks that are all done gather waits for nothing (since Python 3.12), nor for the calls of `_ended`.
            await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, EnvproxyError):
            context = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)


class Flights(Generic[K, V]):
    """At most one running task per key."""

    def __init__(self, tasks: Tasks, reporter: Reporter, *, name: str) -> None:
        self._tasks = tasks
        self._reporter = reporter
        self._name = name
        self._flying: dict[K, asyncio.Task[V]] = {}

    def __repr__(self) -> str:
        return f"<Flights {self._name}: {len(self._flying)} in the air>"

    def start(self, key: K, work: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """The flight of `key`, started now unless one is in the air."""
        if (flying := self._flying.get(key)) is not None:
            return flying
        task = self._tasks.spawn(self._fly(work), name=f"{self._name}:{key}")
        self._flying[key] = task
        self._reporter.flights_changed(+1)
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def join(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of the flight of `key`; raises what the work raised. Cancelling a caller leaves the flight."""
        if key in self._flying:
            self._reporter.coalesced()
        return await asyncio.shield(self.start(key, work))

    async def _fly(self, work: Callable[[], Awaitable[V]]) -> V:
        return await work()

    def _landed(self, key: K, done: asyncio.Task[V]) -> None:
        if self._flying.get(key) is done:
            del self._flying[key]
        self._reporter.flights_changed(-1)
