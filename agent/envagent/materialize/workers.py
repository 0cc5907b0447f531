"""The pool that inflates and hashes: threads that work themselves, or threads that each have a worker process.

Threads are enough for small jobs (codecs and system calls let go of the GIL, and nothing has to start); processes
scale for large ones. Jobs are taken in the order of submission, so who submits decides what comes first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import msgspec

from envagent.errors import EnvagentError
from envagent.materialize.job import Answer, Failed, Job, perform
from envagent.materialize.worker import receive, send

if TYPE_CHECKING:
    from types import TracebackType

_COMMAND = (sys.executable, "-P", "-m", "envagent.materialize.worker")
# Give glibc's malloc no reason to return each member's buffer to the kernel: every page of the next would be a fault.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


class Workers:
    """`count` jobs at a time; a context manager. Leaving it by an error drops what has not begun."""

    def __init__(self, count: int, *, processes: bool) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="unpack")
        self._processes = processes
        self._own = threading.local()
        self._children: list[_Child] = []

    def submit(self, job: Job) -> Future[list[bytes]]:
        """The digests that the job answers; the future raises Damaged or OSError as it would have done here."""
        return self._threads.submit(self._perform, job)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=error is not None)
        for child in self._children:
            child.close()

    def _perform(self, job: Job) -> list[bytes]:
        answer = self._child().ask(job) if self._processes else perform(job)
        if isinstance(answer, Failed):
            raise answer.error()
        return answer.digests

    def _child(self) -> _Child:
        child = cast("_Child | None", getattr(self._own, "child", None))
        if child is None:
            child = self._own.child = _Child()
            self._children.append(child)
        return child


class _Child:
    """One worker process and the pipes to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_KEEP_MEMORY}
        )
        self._answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)

    def ask(self, job: Job) -> Answer:
        """Hand over a job and wait for its answer."""
        try:
            send(cast("BinaryIO", self._process.stdin), job)
            return self._answers.decode(receive(cast("BinaryIO", self._process.stdout)))
        except (EOFError, BrokenPipeError):
            raise EnvagentError(
                f"a worker process ended while it unpacked (status {self._process.wait()})",
                hint="the machine may be short of memory",
            ) from None

    def close(self) -> None:
        """Let it end."""
        with suppress(BrokenPipeError), self._process:  # it may have ended by itself: a job was told so
            pass
