"""The pool that inflates and hashes: threads that work themselves, or threads that each have a worker process.

Threads are enough for small jobs (codecs and system calls let go of the GIL, and nothing has to start); processes
scale for large ones. Jobs are taken in the order of submission, so who submits decides what comes first.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import msgspec

from envagent.errors import EnvagentError
from envagent.materialize.job import Answer, Job
from envagent.materialize.work import perform
from envagent.materialize.worker import receive, send

if TYPE_CHECKING:
    from types import TracebackType

_COMMAND = (sys.executable, "-P", "-m", "envagent.materialize.worker")
# Give glibc's malloc no reason to return each member's buffer to the kernel: every page of the next would be a fault.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


_JOBS_PER_CHILD = 3  # on their way to a process: the parent is slow to notice an answer while it reads wheels


class Workers:
    """`count` jobs at a time; a context manager. Leaving it by an error drops what has not begun."""

    def __init__(self, count: int, *, processes: bool) -> None:
        self._children = [_Child() for _ in range(count)] if processes else []
        self._turns = itertools.count()
        self._own = threading.local()
        threads = count * _JOBS_PER_CHILD if processes else count
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="unpack", initializer=self._choose_child)

    def submit(self, job: Job) -> Future[list[bytes]]:
        """The answer to the job; the future raises what it would have raised here."""
        return self._threads.submit(self._perform, job)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=error is not None)
        for child in self._children:
            child.close()

    def _choose_child(self) -> None:
        if self._children:
            self._own.child = self._children[next(self._turns) % len(self._children)]

    def _perform(self, job: Job) -> list[bytes]:
        answer = cast("_Child", self._own.child).ask(job) if self._children else perform(job)
        return answer.result()


class _Child:
    """One worker process and the pipes to it; several threads may ask at once, answers come in the order asked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_KEEP_MEMORY}
        )
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
                send(cast("BinaryIO", self._process.stdin), job)
            while not mine.done():
                self._receive(mine)
        except (EOFError, BrokenPipeError):
            raise EnvagentError(
                f"a worker process ended while it unpacked (status {self._process.wait()})",
                hint="the machine may be short of memory",
            ) from None
        return mine.result()

    def _receive(self, mine: Future[Answer]) -> None:
        """Take the next answer, whose ever it is, unless another thread has taken that of `mine` meanwhile."""
        with self._receiving:
            if not mine.done():
                answer = self._decoder.decode(receive(cast("BinaryIO", self._process.stdout)))
                self._asked.popleft().set_result(answer)

    def close(self) -> None:
        """Let it end."""
        with suppress(BrokenPipeError), self._process:  # it may have ended by itself: a job was told so
            pass
