"""Writable overlays: edits are kept beside the environment, come back, and are nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envagent.store.flock import acquire
from envagent.store.references import References
from fixtures.agent import Agent, Said, lock_document, write_lock
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0", files={"alpha/data/table.txt": b"a b\n", "alpha/data/more/list.txt": b"c\n"})
MODE = ("--link-mode", "writable-overlay")
SHOWN = "import alpha, os; print(open(os.path.dirname(alpha.__file__) + '/data/table.txt').read())"
EDIT = """
import pathlib, shutil, alpha
data = pathlib.Path(alpha.__file__).with_name("data")
(data / "table.txt").unlink()
(data / "table.txt").write_text("edited")
shutil.rmtree(data / "more")
(data / "more").mkdir()
"""
TRY = """
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held")
"""


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    probe = "from envagent.materialize import overlay; overlay.enter_namespace()"
    if subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets no command have a user namespace, where it could mount")
    return write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")


async def inside(agent: Agent, lock: Path, *command: str | Path) -> Said:
    """What a command in the writable environment says."""
    said = await agent.run("run", "--lock", lock, *MODE, "--", *command)
    if "no overlay can be mounted" in said.err:
        pytest.skip(f"this machine does not let a command mount: {said.err.splitlines()[0]}")
    assert said.code == 0, said.err
    return said


def kept(agent: Agent) -> list[Path]:
    """The directories of edits below the data directory."""
    return list((agent.data / "environments").glob(".envmesh-edits-*"))


def forget(agent: Agent) -> None:
    """Let it look as if nobody had asked for any environment since 1970."""
    references = References(agent.data / "store")
    for reference in references.prefixes():
        os.utime(references.place(Path(reference.path)), (0, 0))


async def test_edits_are_there_again_when_it_is_mounted_again_and_reach_nothing_else(
    agent: Agent, lock: Path
) -> None:
    await inside(agent, lock, "python", "-c", EDIT)
    assert (await inside(agent, lock, "python", "-c", SHOWN)).out == "edited\n"
    others = await agent.run("run", "--lock", lock, "--", "python", "-c", SHOWN)
    assert others.out == "a b\n\n"
    [edits] = kept(agent)
    assert [path.read_text() for path in edits.glob("upper/**/table.txt")] == ["edited"]
    assert (await agent.run("scrub")).code == 0


async def test_verify_lists_edits_apart_from_damage(agent: Agent, lock: Path) -> None:
    await inside(agent, lock, "python", "-c", EDIT)
    said = await inside(agent, lock, "sh", "-c", f'{sys.executable} -m envagent verify "$VIRTUAL_ENV"')
    source = "(alpha-1.0-py3-none-any.whl)"
    assert [(line.split(": ")[0], line.rpartition("/")[2]) for line in said.out.splitlines()] == [
        ("own edit, missing", f"list.txt {source}"),
        ("own edit, edited", f"table.txt {source}"),
    ]
    assert said.err.endswith(" is as it was made, but for 2 edits of its own\n")


async def test_gc_removes_the_edits_with_the_environment(agent: Agent, lock: Path) -> None:
    await inside(agent, lock, "python", "-c", EDIT)
    forget(agent)
    assert len((await agent.run("gc", "--json")).json["environments"]) == 1
    assert list((agent.data / "environments").iterdir()) == []
    assert list((agent.data / "store" / "trash").iterdir()) == []


async def test_what_another_command_has_mounted_is_neither_mounted_again_nor_removed(
    agent: Agent, lock: Path
) -> None:
    await inside(agent, lock, "python", "-c", EDIT)
    [edits] = kept(agent)
    other = acquire(edits)
    assert other
    said = await agent.run("run", "--lock", lock, *MODE, "--", "python", "-c", SHOWN)
    forget(agent)
    collected = await agent.run("gc", "--json")
    other.release()
    assert said.code == 2
    assert said.err.splitlines() == [
        f"error: the edits in {edits} are in use by another command",
        "hint: a writable overlay is mounted by one command at a time: wait for it",
    ]
    assert collected.json["environments"] == []
    assert (await inside(agent, lock, "python", "-c", SHOWN)).out == "edited\n"


async def test_a_command_holds_its_edits_as_long_as_it_runs(agent: Agent, lock: Path) -> None:
    await inside(agent, lock, "python", "-c", EDIT)
    [edits] = kept(agent)
    assert (await inside(agent, lock, "python", "-c", TRY, edits)).out == "held\n"
    free = acquire(edits, wait=False)
    assert free
    free.release()


async def test_an_environment_of_links_is_not_passed_off_as_a_writable_one(agent: Agent, lock: Path) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    said = await agent.run("materialize", lock, "--prefix", "env", *MODE)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {agent.home}/env holds this environment, and not as a writable overlay\n")
