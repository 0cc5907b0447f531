"""Many processes on one store: one build, and a kill -9 at any moment that the next run does not notice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from envagent.errors import EnvagentError
from envagent.materialize.job import Digest
from envagent.materialize.plan import Plan, WheelFile
from envagent.materialize.prefix import materialize
from envagent.materialize.progress import Progress
from envagent.materialize.verify import check_files, verify
from envagent.materialize.workers import Workers
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, python
from fixtures.raw_wheels import RawWheel

_RUN = """
import json, sys
from pathlib import Path
from envagent.materialize import builds
from envagent.materialize.interpreter import Interpreter
from envagent.materialize.plan import Plan, WheelFile
from envagent.materialize.prefix import materialize
from envagent.store.node import NodeStore

said = json.load(sys.stdin)
builds._PROCESSES_FROM_BYTES = said["processes_from"]
wheels = tuple(WheelFile(Path(path), sha256, name) for path, sha256, name in said["wheels"])
python = Interpreter(**{**said["python"], "executable": Path(said["python"]["executable"])})
prefix = materialize(Plan(wheels, python), NodeStore(Path(said["store"])), Path(said["prefix"]))
print(prefix.is_new)
"""


def _start(plan: Plan, store: Path, prefix: Path, *, processes_from: int = 1 << 40) -> subprocess.Popen[str]:
    said = {
        "wheels": [(str(wheel.path), wheel.sha256, wheel.filename) for wheel in plan.wheels],
        "python": {name: str(getattr(plan.interpreter, name)) for name in plan.interpreter.__dataclass_fields__},
        "store": str(store),
        "prefix": str(prefix),
        "processes_from": processes_from,
    }
    process = subprocess.Popen([sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(said))
    process.stdin.close()
    process.stdin = None
    return process


def _wheels(count: int) -> list[RawWheel]:
    made = []
    for number in range(count):
        raw = RawWheel(name=f"pkg{number}")
        for module in range(40):
            raw.add(f"pkg{number}/m{module}.py", f"x = {module}\n".encode() * 50)
        made.append(raw.add(f"pkg{number}/data.bin", random.Random(number).randbytes(300_000)))
    return made


def _check_store(store: NodeStore) -> None:
    for tree in store.trees():
        assert check_files(tree.files, [(entry, tree.key) for entry in tree.manifest.entries()]) == []


@pytest.mark.parametrize("processes_from", [0, 1 << 40], ids=["worker processes", "threads"])
def test_whenever_a_run_is_killed_the_store_is_right_and_the_next_run_works(tmp_path, processes_from):
    plan = plan_of(tmp_path / "w", *_wheels(4))
    delays = random.Random(4).sample(range(40, 1200, 20), 12)
    for number, delay in enumerate(delays):
        prefix = tmp_path / f"env{number}"
        store = tmp_path / f"store{number % 3}"
        process = _start(plan, store, prefix, processes_from=processes_from)
        try:
            process.wait(delay / 1000)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        if prefix.exists():
            assert verify(prefix) == []
        _check_store(NodeStore(store))
        if number % 3 == 2:
            made = materialize(plan, NodeStore(store), prefix)
            assert verify(made.path) == []
            assert list((store / "work").iterdir()) == []


def test_what_a_killed_run_left_beside_its_prefix_goes_with_the_next_run(tmp_path):
    plan, store, place = plan_of(tmp_path / "w", *_wheels(1)), NodeStore(tmp_path / "store"), tmp_path / "env"
    materialize(plan, store, place)
    draft = place.rename(tmp_path / f".envmesh-{hashlib.sha256(b'env').hexdigest()[:12]}-0123abcd")
    assert materialize(plan, store, place).is_new
    assert not draft.exists()


def test_processes_that_want_the_same_environment_make_it_once(tmp_path):
    plan = plan_of(tmp_path / "w", *_wheels(3))
    processes = [_start(plan, tmp_path / "store", tmp_path / "env") for _ in range(4)]
    outputs = sorted(process.communicate()[0].strip() for process in processes)
    assert outputs == ["False", "False", "False", "True"]
    assert verify(tmp_path / "env") == []


def test_processes_that_want_other_environments_share_the_trees(tmp_path):
    plan = plan_of(tmp_path / "w", *_wheels(3))
    processes = [_start(plan, tmp_path / "store", tmp_path / f"env{number}") for number in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["True"] * 3
    module = f"lib/{python().library}/site-packages/pkg0/m0.py"
    assert len({(tmp_path / f"env{number}" / module).stat().st_ino for number in range(3)}) == 1


def test_processes_that_overlap_in_opposite_orders_do_not_wait_for_each_other(tmp_path):
    wheels = plan_of(tmp_path / "w", *_wheels(6)).wheels
    plans = [Plan(tuple(order), python()) for order in (wheels, wheels[::-1])]
    processes = [_start(plan, tmp_path / "store", tmp_path / f"env{n}") for n, plan in enumerate(plans)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["True"] * 2


def test_worker_processes_make_the_same_trees_as_threads(tmp_path):
    plan = plan_of(tmp_path / "w", *_wheels(2))
    digests = []
    for processes_from in (0, 1 << 40):
        store = tmp_path / f"store{processes_from}"
        _start(plan, store, tmp_path / f"env{processes_from}", processes_from=processes_from).communicate()
        digests.append({tree.key: tree.manifest.digest for tree in NodeStore(store).trees()})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 4


def test_a_worker_process_that_is_killed_is_said_in_words(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with Workers(1, processes=True) as workers:
        workers.submit(Digest(str(tmp_path / "file"))).result()
        [line] = workers._lines
        os.kill(line._child.pid, signal.SIGKILL)
        line._child.wait()
        with pytest.raises(EnvagentError, match="a worker process ended"):
            workers.submit(Digest(str(tmp_path / "file"))).result()


def test_progress_is_told_for_every_wheel(tmp_path):
    told: list[Progress] = []
    plan = plan_of(tmp_path / "w", *_wheels(2))
    materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env", report=told.append)
    unpacked = [event for event in told if event.stage == "unpack"]
    assert {event.name for event in unpacked} == {wheel.filename for wheel in plan.wheels}
    assert [(event.done, event.total) for event in unpacked] == [(1, 2), (2, 2)]


def test_a_wheel_given_under_two_paths_is_unpacked_once(tmp_path):
    plan = plan_of(tmp_path / "w", *_wheels(1))
    store = NodeStore(tmp_path / "store")
    materialize(plan, store, tmp_path / "one")
    wheel = plan.wheels[0]
    elsewhere = tmp_path / "copy.whl"
    elsewhere.write_bytes(wheel.path.read_bytes())
    materialize(Plan((WheelFile(elsewhere, wheel.sha256, wheel.filename),), python()), store, tmp_path / "two")
    assert len(list(store.trees())) == 2
