"""`envagent gc`: what goes, what stays, and what still works afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from envagent.peers.holding import Holding
from envagent.store.references import References
from envproxy.swarm.layout import Layout
from fixtures.agent import Agent, lock_document, write_lock
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0", payload_size=50_000)
BETA = make_wheel("beta", "1.0", payload_size=50_000)


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    return write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")


def forget(agent: Agent, prefix: str) -> None:
    """Let it look as if nobody had asked for the environment since 1970."""
    os.utime(References(agent.data / "store").place(Path(prefix)), (0, 0))


async def test_nothing_is_there_to_remove_at_first(agent: Agent) -> None:
    said = await agent.run("gc", "--json")
    assert (said.code, said.json) == (
        0,
        {"environments": [], "trees": 0, "artifacts": 0, "size": 0, "dry_run": False},
    )
    assert not agent.data.exists()


async def test_an_environment_keeps_its_trees_and_needs_no_download(agent: Agent, lock: Path) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    said = await agent.run("gc", "--json")
    assert (said.json["environments"], said.json["trees"], said.json["artifacts"]) == ([], 0, 1)
    assert (await agent.run("verify", "env")).code == 0
    assert (await agent.run("materialize", lock, "--prefix", "two")).code == 0


async def test_a_dry_run_says_what_a_run_then_does(agent: Agent, lock: Path) -> None:
    made = await agent.run("materialize", lock)
    forget(agent, made.out.strip())
    dry = await agent.run("gc", "--json", "--dry-run")
    assert Path(made.out.strip()).exists()
    wet = await agent.run("gc", "--json")
    assert {**dry.json, "dry_run": False} == wet.json
    assert wet.json["environments"] == [made.out.strip()]
    assert wet.json["trees"] >= 1
    assert not Path(made.out.strip()).exists()
    assert list((agent.data / "answers").iterdir()) == []


async def test_an_environment_that_was_named_is_never_removed(agent: Agent, lock: Path) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    forget(agent, f"{agent.home}/env")
    assert (await agent.run("gc", "--json")).json["environments"] == []
    assert (agent.home / "env").exists()


async def test_asking_for_an_environment_keeps_it(agent: Agent, lock: Path) -> None:
    made = await agent.run("materialize", lock)
    forget(agent, made.out.strip())
    await agent.run("materialize", lock)
    assert (await agent.run("gc", "--json")).json["environments"] == []


async def test_an_environment_in_which_a_command_runs_stays(agent: Agent, lock: Path) -> None:
    made = await agent.run("materialize", lock)
    running = await agent.start(
        "run", "--lock", lock, "--", "python", "-c", "import sys; print('here', flush=True); sys.stdin.read()",
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout
    assert running.stdin
    assert await running.stdout.readline() == b"here\n"
    forget(agent, made.out.strip())
    assert (await agent.run("gc", "--json")).json["environments"] == []
    running.stdin.close()
    await running.communicate()
    assert (await agent.run("gc", "--json")).json["environments"] == [made.out.strip()]


async def test_a_budget_keeps_what_was_used_last(agent: Agent, upstream: FakeIndex, tmp_path: Path) -> None:
    for dist in (ALPHA, BETA):
        lock = write_lock(lock_document(upstream, dist), tmp_path / f"{dist.project}.json")
        made = await agent.run("materialize", lock)
        forget(agent, made.out.strip())
    old = agent.data / "artifacts" / "files" / ALPHA.sha256[:2] / ALPHA.sha256
    os.utime(old, (0, 0))
    everything = (await agent.run("gc", "--dry-run", "--json")).json["size"]
    said = await agent.run("gc", "--budget", str(everything - 1), "--json")
    assert (said.json["trees"], said.json["artifacts"]) == (0, 1)
    assert not old.exists()


async def test_pieces_that_no_node_is_at_are_downloads_like_others(agent: Agent, lock: Path) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    partial = agent.data / "swarm" / "partial"
    layout = Layout(100_000, 50_000)
    left, moving = (Holding(partial, name * 32, layout, "boot") for name in ("ab", "cd"))
    half = bytes(50_000)
    incoming = left.incoming(0)
    incoming.append([half])
    assert left.keep(incoming, hashlib.sha256(half).hexdigest())
    left.close()
    said = await agent.run("gc", "--json")
    assert said.json["artifacts"] == 2
    assert said.json["size"] >= len(ALPHA.data) + len(half)
    assert [path.name for path in partial.iterdir()] == ["cd" * 32]
    moving.discard()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "much"), "error: --budget 'much' must be a size in bytes\nhint: such as "),
        (("--unused", "long"), "error: --unused 'long' must be a duration\nhint: such as "),
    ],
    ids=["budget", "unused"],
)
def test_a_word_that_is_no_amount_is_refused(agent: Agent, words: tuple[str, ...], message: str) -> None:
    said = agent.say("gc", *words)
    assert said.code == 2
    assert said.err.startswith(message)


def test_people_are_told_in_a_sentence(agent: Agent) -> None:
    assert agent.say("gc").err == "removed 0 environments, 0 trees, 0 downloads: 0 bytes\n"
    assert agent.say("gc", "--dry-run").err.startswith("would remove 0 environments")
