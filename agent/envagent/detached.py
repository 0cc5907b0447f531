"""Programs of ours that go on when the command that started them has ended, and that are nobody's child.

A command may become another program (`envagent run`), which must find no children that it never started. So a shell
starts them and ends at once. They have a session of their own and no terminal; what they have to say goes to a file.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STDERR = 2


def start(module: str, *words: str, files: Sequence[int] = ()) -> None:
    """Run a module with these words and these open files alone, and do not wait for it. OSError passes."""
    command = [sys.executable, "-P", "-m", module, *words]
    quiet = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    # A lock that the command is to keep as whatever it becomes (activation.py, edits.py) is none of theirs.
    others = [(os.POSIX_SPAWN_CLOSE, file) for file in _inheritable() if file not in files]
    kept = [(os.POSIX_SPAWN_DUP2, file, file) for file in files]  # POSIX.1-2024: it then stays open
    # Not by subprocess, which takes longer to import than this to do.
    shell = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", 'cd /; "$@" &', "sh", *command],
        os.environ,
        file_actions=[*quiet, *others, *kept],
        setsid=True,
    )
    with suppress(ChildProcessError):  # who started this process had it ignore SIGCHLD: it has ended all the same
        os.waitpid(shell, 0)


def _inheritable() -> Iterator[int]:
    """The open files that another program would get, but for the standard three."""
    for file in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  # no Paths are needed
        with suppress(OSError):  # that of the listing itself
            if file > _STDERR and os.get_inheritable(file):
                yield file
