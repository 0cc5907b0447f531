"""How worker processes begin: as copies of a process that is alone, as programs of any other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import fcntl, json, os, signal, sys, threading
from envagent.materialize.job import Digest
from envagent.materialize.workers import Workers

place, threads = sys.argv[1], int(sys.argv[2])
ended = threading.Event()
for _ in range(threads):
    threading.Thread(target=ended.wait).start()
lock = open(place + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with Workers(2, processes=True) as workers:
    lines = workers._lines
    digests = [line.ask(Digest(place + "/file")).result()[0].hex() for line in lines]
    pids = [line._child.pid for line in lines]
    files = [[os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")] for pid in pids]
    commands = [open(f"/proc/{pid}/cmdline").read().split(chr(0)) for pid in pids]
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    digests += [line.ask(Digest(place + "/file")).result()[0].hex() for line in lines]
codes = [line._child.wait() for line in lines]
ended.set()
print(json.dumps({"digests": digests, "files": files, "commands": commands, "codes": codes, "mine": sys.argv}))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"x")
    return tmp_path


def said(place: Path, *, threads: int) -> Any:
    """What the program says of its two workers."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, place, str(threads)], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_a_process_that_is_alone_begins_copies_of_itself(place: Path) -> None:
    found = said(place, threads=0)
    assert found["digests"] == ["2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"] * 4
    assert [command[3:] for command in found["commands"]] == [[str(place), "0", ""]] * 2
    assert found["codes"] == [0, 0]


def test_a_process_with_threads_begins_programs(place: Path) -> None:
    found = said(place, threads=1)
    assert found["digests"] == ["2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"] * 4
    assert [command[-2] for command in found["commands"]] == ["envagent.materialize.worker"] * 2
    assert found["codes"] == [0, 0]


@pytest.mark.parametrize("threads", [0, 1])
def test_a_worker_holds_no_lock_of_the_one_that_began_it(place: Path, threads: int) -> None:
    files = said(place, threads=threads)["files"]
    assert [[file for file in of if "lock" in file] for of in files] == [[], []]
    assert [sum(file.startswith("pipe:") for file in of) >= 2 for of in files] == [True, True]


ALONE = """
import os, signal, sys
from envagent.materialize.job import Digest
from envagent.materialize.workers import Workers

{before}
with Workers(2, processes=True) as workers:
    workers.submit(Digest(sys.argv[1])).result()
os.write(2, b"ended")
"""


@pytest.mark.parametrize("before", ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "os.close(0); os.close(1)"])
def test_copies_end_whatever_signals_and_files_were_handed_down(place: Path, before: str) -> None:
    """Programs that start others ignore SIGCHLD, some of them, or close stdin and stdout, and both are inherited."""
    program = ALONE.format(before=before)
    argv = [sys.executable, "-c", program, place / "file"]
    assert subprocess.run(argv, stderr=subprocess.PIPE, check=True, timeout=60).stderr == b"ended"


REFUSED = """
import errno, os
from envagent.materialize.workers import Workers

def fork():
    raise BlockingIOError(errno.EAGAIN, "no more processes")

os.fork = fork
before = os.listdir("/proc/self/fd")
try:
    Workers(1, processes=True)
except BlockingIOError:
    assert os.listdir("/proc/self/fd") == before
    os.write(2, b"refused")
"""


def test_a_copy_that_cannot_begin_leaves_no_pipe_open() -> None:
    argv = [sys.executable, "-c", REFUSED]
    assert subprocess.run(argv, stderr=subprocess.PIPE, check=True, timeout=60).stderr == b"refused"
