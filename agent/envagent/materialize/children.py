"""Worker processes, begun the cheaper way that is safe: as a copy of this process, or as a program.

A copy has everything imported already, which saves a tenth of a second of CPU time each. It is safe where this
process has a single thread, so that no lock is held by one that the copy lacks; a daemon, or a process in which
py-rattler has begun its threads, starts the program. Either way a worker has the two pipes, stderr and nothing else
that is open here (a lock of the store would outlive its owner), and ends when its stdin does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn, cast

from envagent.materialize import worker

if TYPE_CHECKING:
    from collections.abc import Callable

_COMMAND = (sys.executable, "-P", "-m", "envagent.materialize.worker")
# Give glibc's malloc no reason to return each member's buffer to the kernel: every page of the next would be a fault.
_KEPT_BYTES, _UNTRIMMED_BYTES = 64 << 20, 128 << 20
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_UNTRIMMED_BYTES)}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_TASKS = Path("/proc/self/task")
_STDERR = 2


class Child(NamedTuple):
    """A worker: jobs go to its stdin, answers come from its stdout; `wait()` gives the exit code at its end."""

    pid: int
    stdin: BinaryIO
    stdout: BinaryIO
    wait: Callable[[], int]

    def close(self) -> None:
        """Let it end."""
        with suppress(BrokenPipeError):  # it may have ended by itself: a job was told so
            self.stdin.close()
        self.stdout.close()
        self.wait()


def begin() -> Child:
    """A worker that waits for jobs. OSError passes."""
    return _copied() if _is_alone() else _started()


def _is_alone() -> bool:
    """Whether this process has no thread but this one, those of libraries included."""
    try:
        return len(os.listdir(_TASKS)) == 1  # noqa: PTH208  # a count is all that is needed
    except OSError:
        return False


def _started() -> Child:
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_KEEP_MEMORY}
    )
    return Child(process.pid, cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout), process.wait)


def _copied() -> Child:
    its_stdin, stdin = os.pipe()
    stdout, its_stdout = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        for fd in (its_stdin, stdin, stdout, its_stdout):
            os.close(fd)
        raise
    if not pid:
        _work(its_stdin, its_stdout)
    os.close(its_stdin)
    os.close(its_stdout)
    return Child(pid, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"), _Copy(pid).wait)


class _Copy:
    """The process `pid`, for which any number of threads may wait."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None
        self._waiting = threading.Lock()

    def wait(self) -> int:
        with self._waiting:
            if self._code is None:
                self._code = self._ended()
            return self._code

    def _ended(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # who started this process had it ignore SIGCHLD, and the kernel forgets the code
            return 0


def _work(stdin: int, stdout: int) -> NoReturn:
    """What the copy does until its end; nothing that this process would do at its own end."""
    code = 1
    try:
        for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  # as above
            if fd not in {_STDERR, stdin, stdout}:
                with suppress(OSError):  # that of the listing itself
                    os.close(fd)
        _keep_memory()
        worker.answer(os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"))
        code = 0
    except BaseException:  # noqa: BLE001  # nothing above this may go on with the life of the process it is a copy of
        traceback.print_exc()
    finally:
        os._exit(code)


def _keep_memory() -> None:
    import ctypes  # noqa: PLC0415  # slow to import, and only the copy needs it

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc has it, musl does not
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _UNTRIMMED_BYTES)
