"""Trees built while other archives still arrive: `add` takes each as it comes, and leaving the block waits for all.

A thread drives the builds (builds.py), so that whoever fetches is never kept waiting. Invariants: those of builds; a
tree is published as soon as it is whole; an error is raised once, on leaving. When the block itself fails, what has
not begun is dropped, and what was published by then stays in the store for the next time. It fetches nothing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

from envagent.materialize.builds import Builds, workers_for

if TYPE_CHECKING:
    from types import TracebackType

    from envagent.materialize.plan import Plan, Source
    from envagent.materialize.progress import Report
    from envagent.materialize.workers import Workers
    from envagent.store.node import NodeStore


class _Signal(Enum):
    READY = auto()
    END = auto()


class _Dropped(Exception):
    """The block failed: nobody waits for the rest."""


class Intake:
    """Builds trees of `plan` in the store; a context manager. `total` packages of `size` bytes will come.

    Without `prove` what RECORD promises of files is believed, and `scrub` has it yet to prove. Leaving it raises
    ArtifactRefused; OSError passes.
    """

    def __init__(
        self, plan: Plan, store: NodeStore, report: Report, *, total: int, size: int, prove: bool = True
    ) -> None:
        self._plan = plan
        self._store = store
        self._report = report
        self._total = total
        self._size = size
        self._prove = prove
        self._events: SimpleQueue[Source | _Signal] = SimpleQueue()
        self._is_dropped = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._working: Future[None] | None = None

    def add(self, source: Source) -> None:
        """Its archive is here. Returns at once, and may be called from any thread."""
        self._events.put(source)

    def __enter__(self) -> Self:
        workers = workers_for(self._plan, self._size)  # before there is a thread: then they are cheap
        self._working = self._thread.submit(self._work, workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_dropped = error is not None
        self._events.put(_Signal.END)
        self._thread.shutdown()
        if self._working and error is None:
            self._working.result()

    def _work(self, begun: Workers) -> None:
        with (
            begun as workers,
            self._store.in_use() as work,
            Builds(
                self._plan, self._store, work, workers, self._report, self._total, prove=self._prove, wake=self._wake
            ) as builds,
        ):
            while (event := self._events.get()) is not _Signal.END and not self._is_dropped:
                if event is _Signal.READY:
                    builds.publish_ready()
                else:
                    builds.begin(event)
            if self._is_dropped:
                raise _Dropped
            builds.finish()

    def _wake(self) -> None:
        self._events.put(_Signal.READY)
