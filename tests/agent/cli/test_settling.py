"""What a command built becomes durable behind its back, and then outlives a crash of the machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from envagent.fetch.artifacts import Artifacts
from envagent.store.journal import Journal
from envagent.store.node import NodeStore
from fixtures.agent import Agent, lock_document, write_lock
from fixtures.patience import until
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0", payload_size=10_000)


async def test_what_a_command_made_outlives_a_crash_of_the_machine(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert (await agent.run("materialize", lock, "--prefix", "env")).code == 0
    made = {tree.key for tree in NodeStore(agent.data / "store").trees()}
    journal = Journal(agent.data / "artifacts" / "journal")
    await until(lambda: ALPHA.sha256 in journal.names())  # it is noted last
    after_crash = NodeStore(agent.data / "store", boot_id="another boot")
    assert {tree.key for tree in after_crash.trees()} == made
    assert any(name.startswith("prefix-") for name in after_crash.journal.names())
    downloads = Artifacts(agent.data / "artifacts", boot_id="another boot")
    assert [one.key for one in downloads.held()] == [ALPHA.sha256]


async def test_an_environment_on_another_disk_is_not_taken_for_synced(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system to put an environment on")
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    with TemporaryDirectory(dir=memory) as elsewhere:
        assert (await agent.run("materialize", lock, "--prefix", Path(elsewhere) / "env")).code == 0
        journal = Journal(agent.data / "artifacts" / "journal")
        await until(lambda: ALPHA.sha256 in journal.names())  # it is noted last
    names = Journal(agent.data / "store" / "journal").names()
    assert names
    assert not any(name.startswith("prefix-") for name in names)
