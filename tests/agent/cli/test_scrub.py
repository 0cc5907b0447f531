"""`envagent scrub`: what it finds in the store, removes and names."""

from __future__ import annotations

from pathlib import Path

from fixtures.agent import Agent, lock_document, write_lock
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0")


async def test_a_store_that_is_not_there_is_well(agent: Agent) -> None:
    said = await agent.run("scrub")
    assert (said.code, said.err) == (0, "all is well\n")


async def test_an_edit_in_an_environment_is_found_in_the_store(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    made = await agent.run("materialize", lock, "--prefix", "env")
    [module] = Path(made.out.strip()).glob("lib/*/site-packages/alpha/__init__.py")
    module.chmod(0o644)
    module.write_text("edited")
    said = await agent.run("scrub", "--json")
    [poisoned] = said.json
    assert said.code == 1
    assert poisoned["files"] == [str(module.relative_to(made.out.strip()))]
    assert poisoned["prefixes"] == [made.out.strip()]
    assert (await agent.run("scrub")).code == 0
