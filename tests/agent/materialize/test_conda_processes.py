"""Conda packages and many processes: one build of each tree, one question to the Python, kill -9 at every step."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from envagent.materialize.prefix import materialize
from envagent.materialize.verify import verify
from envagent.store.node import NodeStore
from fixtures.conda_packages import make_conda, with_command, with_prefixes
from fixtures.conda_plans import conda_plan, this_python

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.plan import Plan

_RUN = """
import os, pickle, signal, sys
from envagent.materialize.prefix import materialize
from envagent.store.node import NodeStore

plan, store, prefix, steps = pickle.load(sys.stdin.buffer)

def report(progress):
    global steps
    steps -= 1
    if not steps:
        os.kill(os.getpid(), signal.SIGKILL)

print(materialize(plan, NodeStore(store), prefix, report=report).is_new)
"""
_NEVER = 1 << 30


def _start(plan: Plan, store: Path, prefix: Path, *, killed_at: int = _NEVER) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((plan, store, prefix, killed_at)))
    process.stdin.close()
    process.stdin = None
    return process


def test_processes_that_want_the_same_packages_build_them_once(tmp_path):
    plan = conda_plan(tmp_path / "files", this_python(), with_command(), with_prefixes())
    places = [tmp_path / "same", tmp_path / "same", tmp_path / "other"]
    processes = [_start(plan, tmp_path / "store", place) for place in places]
    said = [process.communicate()[0].strip().decode() for process in processes]
    assert (sorted(said[:2]), said[2]) == (["False", "True"], "True")
    assert verify(tmp_path / "same") == verify(tmp_path / "other") == []
    module = next((tmp_path / "same").glob("lib/python3*/site-packages/greeter.py"))
    assert module.samefile(tmp_path / "other" / module.relative_to(tmp_path / "same"))


def test_whenever_a_run_is_killed_the_next_one_works(tmp_path):
    plan = conda_plan(tmp_path / "files", *(make_conda(f"p{number}") for number in range(3)), with_prefixes())
    store, place = tmp_path / "store", tmp_path / "env"
    for step in (1, 2, 3, 4):  # each run gets one package further
        process = _start(plan, store, place, killed_at=1)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not place.exists()
        assert len(list(NodeStore(store).trees())) == step
    assert materialize(plan, NodeStore(store), place).is_new
    assert verify(place) == []
    assert list((store / "work").iterdir()) == []
