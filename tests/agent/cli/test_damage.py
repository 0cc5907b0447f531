"""A disk that damaged the store: the next command mends it, without a word from anybody."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from envagent.store.node import NodeStore, Tree
from fixtures.agent import Agent, lock_document, write_lock
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0")
BETA = make_wheel("beta", "1.0")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(ALPHA, BETA)
        yield index


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    return write_lock(lock_document(upstream, ALPHA, BETA), tmp_path / "lock.json")


def lose(tree: Tree) -> None:
    tree.manifest_path.unlink()


def tear(tree: Tree) -> None:
    tree.manifest_path.chmod(0o644)
    os.truncate(tree.manifest_path, 30)


def empty(tree: Tree) -> None:
    for path in tree.manifest.paths:
        (tree.files / path).unlink()


@pytest.mark.parametrize("damage", [lose, tear, empty])
async def test_trees_that_lost_their_manifest_or_files_are_fetched_and_built_anew(
    agent: Agent, lock: Path, damage: Callable[[Tree], None]
) -> None:
    await agent.run("materialize", lock, "--prefix", "one")
    await agent.run("gc")
    assert not any((agent.data / "artifacts" / "files").glob("*/*")), "nothing is left to build them of"
    trees = list(NodeStore(agent.data / "store").trees())
    assert len(trees) == 4, "two packages and their bytecode"
    for tree in trees:
        damage(tree)
    said = await agent.run("materialize", lock, "--prefix", "two")
    assert said.code == 0, said.err
    assert (await agent.run("verify", "two")).code == 0
    assert (await agent.run("scrub")).code == 0


async def test_an_environment_whose_manifest_is_gone_is_listed_as_damaged(agent: Agent, lock: Path) -> None:
    made = await agent.run("materialize", lock, "--prefix", "env")
    for manifest in Path(made.out.strip(), ".envmesh").glob("*-*"):
        manifest.unlink()
    assert (await agent.run("list")).rows[1][:3] == [made.out.strip(), "2", "damaged"]
    assert (await agent.run("list", "--json")).json[0]["size"] is None
