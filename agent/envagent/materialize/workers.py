"""The pool that inflates and hashes: threads that work themselves, or threads that each have a worker process.

Threads are enough for small jobs (codecs and system calls let go of the GIL, and nothing has to start); processes
scale for large ones. Jobs are taken in the order of submission, so who submits decides what comes first.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, cast

import msgspec

from envagent.errors import EnvagentError
from envagent.materialize.children import begin
from envagent.materialize.job import Answer, Job
from envagent.materialize.work import perform
from envagent.materialize.worker import ENVIRON, PROGRAM, answer_as_copy, receive, send

if TYPE_CHECKING:
    from types import TracebackType

_JOBS_PER_LINE = 3  # on their way to a process: the parent is slow to notice an answer while it reads wheels


class Workers:
    """`count` jobs at a time; a context manager. Leaving it by an error drops what has not begun."""

    def __init__(self, count: int, *, processes: bool) -> None:
        self._lines = [_Line() for _ in range(count)] if processes else []
        self._turns = itertools.count()
        self._own = threading.local()
        threads = count * _JOBS_PER_LINE if processes else count
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="unpack", initializer=self._choose_line)

    def submit(self, job: Job) -> Future[list[bytes]]:
        """The answer to the job; the future raises what it would have raised here."""
        return self._threads.submit(self._perform, job)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=error is not None)
        for line in self._lines:
            line.close()

    def _choose_line(self) -> None:
        if self._lines:
            self._own.line = self._lines[next(self._turns) % len(self._lines)]

    def _perform(self, job: Job) -> list[bytes]:
        answer = cast("_Line", self._own.line).ask(job) if self._lines else perform(job)
        return answer.result()


class _Line:
    """To one worker process; several threads may ask at once, answers come in the order asked."""

    def __init__(self) -> None:
        self._child = begin(answer_as_copy, PROGRAM, ENVIRON)
        self._decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._asked: deque[Future[Answer]] = deque()

    def ask(self, job: Job) -> Answer:
        """Hand over a job and wait for its answer."""
        mine: Future[Answer] = Future()
        try:
            with self._sending:
                self._asked.append(mine)
                send(self._child.stdin, job)
            while not mine.done():
                self._receive(mine)
        except (EOFError, BrokenPipeError):
            raise EnvagentError(
                f"a worker process ended while it unpacked (status {self._child.wait()})",
                hint="the machine may be short of memory",
            ) from None
        return mine.result()

    def _receive(self, mine: Future[Answer]) -> None:
        """Take the next answer, whose ever it is, unless another thread has taken that of `mine` meanwhile."""
        with self._receiving:
            if not mine.done():
                answer = self._decoder.decode(receive(self._child.stdout))
                self._asked.popleft().set_result(answer)

    def close(self) -> None:
        """Let the process end."""
        self._child.close()
