"""Processes that do part of the work, begun the cheaper way that is safe: as a copy of this one, or as a program.

A copy has everything imported already, which saves up to a tenth of a second of CPU time each. It is safe where this
process has a single thread, so that no lock is held by one that the copy lacks; a daemon, or a process in which
py-rattler has begun its threads, starts the program. Either way a child has the two pipes, stderr and nothing else
that is open here (a lock of the store would outlive its owner), and ends when its stdin does.
"""

from __future__ import annotations

import os
import signal
from _thread import allocate_lock  # all that is wanted of threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Serve = Callable[[BinaryIO, BinaryIO], None]
    """What a child does from its stdin to its stdout, until the first ends."""

_TASKS = Path("/proc/self/task")
_STDERR = 2


class Child(NamedTuple):
    """Jobs go to its stdin, answers come from its stdout; `wait()` gives the exit code at its end."""

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


def begin(serve: Serve, program: Sequence[str], environ: Mapping[str, str] | None = None) -> Child:
    """A child that serves: a copy, or the `program` that does the same, with `environ` besides. OSError passes."""
    return _copied(serve) if _is_alone() else _started(program, environ or {})


def _is_alone() -> bool:
    """Whether this process has no thread but this one, those of libraries included."""
    try:
        return len(os.listdir(_TASKS)) == 1  # noqa: PTH208  # a count is all that is needed
    except OSError:
        return False


def _started(program: Sequence[str], environ: Mapping[str, str]) -> Child:
    import subprocess  # noqa: PLC0415  # a copy does without

    process = subprocess.Popen(  # noqa: S603  # our own interpreter and program
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environ}
    )
    return Child(process.pid, cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout), process.wait)


def _copied(serve: Serve) -> Child:
    its_stdin, stdin = os.pipe()
    stdout, its_stdout = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        for fd in (its_stdin, stdin, stdout, its_stdout):
            os.close(fd)
        raise
    if not pid:
        _serve(serve, its_stdin, its_stdout)
    os.close(its_stdin)
    os.close(its_stdout)
    return Child(pid, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"), _Copy(pid).wait)


class _Copy:
    """The process `pid`, for which any number of threads may wait."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None
        self._waiting = allocate_lock()

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


def _serve(serve: Serve, stdin: int, stdout: int) -> NoReturn:
    """What the copy does until its end; nothing that this process would do at its own end."""
    code = 1
    try:
        for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  # as above
            if fd not in {_STDERR, stdin, stdout}:
                with suppress(OSError):  # that of the listing itself
                    os.close(fd)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for whoever asked, who then closes the pipe
        serve(os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"))
        code = 0
    except BaseException:  # noqa: BLE001  # nothing above this may go on with the life of the process it is a copy of
        import traceback  # noqa: PLC0415  # never needed, as far as is known

        traceback.print_exc()
    finally:
        os._exit(code)
