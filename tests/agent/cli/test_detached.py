"""Programs of ours that go on behind a command: begun whatever was handed down to it, and nobody's child."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

from envagent import detached

PROGRAM = """
import os, signal
from envagent import detached

signal.signal(signal.SIGCHLD, signal.{how})
detached.start("this")
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no children")
"""


@pytest.mark.parametrize("how", ["SIG_DFL", "SIG_IGN"])
def test_it_begins_and_is_no_child_also_where_sigchld_is_ignored(how: str) -> None:
    argv = [sys.executable, "-c", PROGRAM.format(how=how)]
    assert subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout == b"no children\n"


def test_a_detached_program_gets_the_files_it_was_given_and_no_others() -> None:
    """A command lets what it becomes inherit locks; a program that goes on after it would hold them."""
    (lock, locked), (ends, lives) = os.pipe(), os.pipe()
    os.set_inheritable(locked, True)

    detached.start("timeit", "-n", "1", "-r", "1", f"import os; os.read({ends}, 1)", files=[ends])
    os.close(ends)
    os.close(locked)

    assert select.select([lock], [], [], 10)[0], "another process has it open"
    assert os.read(lock, 1) == b""
    os.write(lives, b"x")  # which raises if nobody reads it
    os.close(lives)
    os.close(lock)
