"""kill -9 during `envagent materialize`, at each of its stages: the next run just works and leaves nothing over.

The moment is not left to chance: the command is killed as it says that it is at a stage, or while it waits for an
upstream that has stopped in the middle of a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fixtures.agent import Agent, lock_document, write_lock
from fixtures.faults import HangAfter
from fixtures.patience import until
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

KILLED_AS_IT_SAYS = """
import os, signal, sys
from envagent.cli import main

class Fatal:
    def write(self, text):
        if text.startswith(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)

sys.stderr = Fatal()
main(sys.argv[sys.argv.index("envagent") + 1 :])
"""
DISTS = [make_wheel(name, "1.0", payload_size=200_000) for name in ("alpha", "beta", "gamma")]


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    return write_lock(lock_document(upstream, *DISTS), tmp_path / "lock.json")


async def assert_next_run_works(agent: Agent, lock: Path) -> None:
    said = await agent.run("materialize", lock, "--prefix", "envs/env")
    assert said.code == 0, said.err
    assert (await agent.run("verify", "envs/env")).code == 0
    assert [path.name for path in (agent.home / "envs").iterdir()] == ["env"]
    assert list((agent.data / "store" / "work").iterdir()) == []
    assert list((agent.data / "artifacts" / "arriving").iterdir()) == []


@pytest.mark.parametrize("stage", ["fetching", "unpacked", "compiled"])
async def test_after_a_kill_the_next_run_just_works(agent: Agent, lock: Path, stage: str) -> None:
    before = [sys.executable, "-c", KILLED_AS_IT_SAYS, stage]
    said = await agent.run("materialize", lock, "--prefix", "envs/env", before=before)
    assert said.code == -9
    await assert_next_run_works(agent, lock)


async def test_after_a_kill_in_the_middle_of_a_download_the_next_run_just_works(
    agent: Agent, lock: Path, upstream: FakeIndex
) -> None:
    upstream.fail(f"*/{DISTS[0].filename}", HangAfter(100_000), times=1)
    process = await agent.start("materialize", lock, "--prefix", "envs/env")
    await until(lambda: len(upstream.requests) == len(DISTS))
    process.kill()
    await process.communicate()
    assert process.returncode == -9
    await assert_next_run_works(agent, lock)


async def test_what_has_arrived_is_unpacked_while_the_rest_is_still_on_its_way(
    agent: Agent, lock: Path, upstream: FakeIndex
) -> None:
    upstream.fail(f"*/{DISTS[0].filename}", HangAfter(100_000), times=1)
    process = await agent.start("materialize", lock, "--prefix", "envs/env")
    await until(lambda: len(list(agent.data.glob("store/trees/*/*"))) == len(DISTS) - 1)
    process.kill()
    await process.communicate()
    assert process.returncode == -9
    await assert_next_run_works(agent, lock)
