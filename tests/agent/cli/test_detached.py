"""Programs of ours that go on behind a command: begun whatever was handed down to it, and nobody's child."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
