"""What is done after the prefix is there: proofs and bytecode, by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from envagent.errors import ArtifactRefused
from envagent.materialize import behind
from envagent.materialize.behind import Errand
from envagent.materialize.prefix import materialize
from envagent.materialize.verify import Finding, verify
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, python, site_packages
from fixtures.patience import until
from fixtures.raw_wheels import RawWheel

_MODULE = f"{site_packages()}/demo_pkg/__init__.py"
_COMPILED = f"{site_packages()}/demo_pkg/__pycache__/__init__.{python().cache_tag}.pyc"


@pytest.fixture
def errands(monkeypatch):
    """What was left for later; nothing is started."""
    left = []
    monkeypatch.setattr(behind, "start", left.append)
    return left


def _demo():
    return RawWheel().add("demo_pkg/__init__.py", b"VALUE = 1\n")


def _lying():
    row = "demo_pkg/__init__.py,sha256=" + "A" * 43 + ",10\n"
    info = RawWheel().info
    sound = _demo()
    rows = sound._record(sound.members()[:-1]).decode().splitlines(keepends=True)
    kept = "".join(line for line in rows if line.startswith(info))
    return RawWheel(record=(row + kept).encode()).add("demo_pkg/__init__.py", b"VALUE = 1\n")


def test_bytecode_comes_to_the_prefix_and_the_store_later(tmp_path, errands):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    prefix = materialize(plan, store, tmp_path / "one", bytecode="later")
    assert not (prefix.path / _COMPILED).exists()
    done = behind.perform(errands[0])
    assert (done.compiled, done.problem) == (1, "")
    assert done.cpu_s > 0
    two = materialize(plan, store, tmp_path / "two", bytecode="later")
    assert (prefix.path / _COMPILED).samefile(two.path / _COMPILED)
    assert verify(prefix.path) == []
    assert len(errands) == 1


def test_what_the_interpreter_cached_meanwhile_stays(tmp_path, errands):
    prefix = materialize(
        plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / "env", bytecode="later"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([prefix.python, "-c", "import demo_pkg"], check=True, env=environ)
    cached = (prefix.path / _COMPILED).read_bytes()
    assert behind.perform(errands[0]).problem == ""
    assert (prefix.path / _COMPILED).read_bytes() == cached


def test_bytecode_of_a_replaced_module_is_not_added(tmp_path, errands):
    later = RawWheel("other").add("demo_pkg/__init__.py", b"VALUE = 2 +\n")
    plan = plan_of(tmp_path / "w", _demo(), later)
    prefix = materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env", bytecode="later")
    assert behind.perform(errands[0]).compiled == 2
    assert not (prefix.path / _COMPILED).exists()


def test_a_record_that_lies_is_refused_at_once_or_found_later(tmp_path, errands):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _lying())
    with pytest.raises(ArtifactRefused, match=r"RECORD lies about demo_pkg/__init__\.py"):
        materialize(plan, store, tmp_path / "env", bytecode="none")
    prefix = materialize(plan, store, tmp_path / "env", bytecode="none", proof="later")
    done = behind.perform(errands[0])
    key = plan.key(plan.wheels[0])
    assert done.poisoned == [f"{key}: {_MODULE} not as it was; also in {prefix.path}"]
    assert store.find(key) is None
    assert verify(prefix.path) == [Finding(_MODULE, "edited", plan.wheels[0].filename)]


def test_a_sound_wheel_is_proven_and_durable_later(tmp_path, errands):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    prefix = materialize(plan, store, tmp_path / "env", bytecode="none", proof="later")
    assert verify(prefix.path) == []
    assert behind.perform(errands[0]).poisoned == []
    assert plan.key(plan.wheels[0]) in store.journal.names()


def test_with_everything_in_the_store_nothing_is_left_to_do(tmp_path, errands):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    materialize(plan, store, tmp_path / "one")
    materialize(plan, store, tmp_path / "two", bytecode="later")
    assert errands == []


async def test_a_process_of_its_own_does_it_and_notes_it(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    prefix = materialize(plan, store, tmp_path / "env", bytecode="none")
    behind.start(Errand(store.root, prefix.path, plan, compile=plan.wheels))
    log = store.root / "behind.log"
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    [line] = log.read_text().splitlines()
    said = json.loads(line)
    assert (said["prefix"], said["compiled"], said["problem"]) == (str(prefix.path), 1, "")
    assert (prefix.path / _COMPILED).exists()


def test_a_failure_is_noted(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    prefix = materialize(plan, store, tmp_path / "env", bytecode="none")
    (prefix.path / "bin/python").unlink()
    done = behind.perform(Errand(store.root, prefix.path, plan, compile=plan.wheels))
    assert done.compiled == 0
    assert "bin/python" in done.problem
