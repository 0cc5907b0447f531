"""`envagent materialize` as a command: what it prints, what it makes, and how the second time differs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from envagent.lock.canonical import lock_id
from envagent.lock.reading import read_lock
from envagent.machine import platform
from envagent.store.references import References
from fixtures.agent import PYTHON, Agent, lock_document, write_lock
from fixtures.patience import until
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0", payload_size=10_000)
BETA = make_wheel("beta", "2.0", requires=["alpha"])
SHOW = "import alpha, beta, sys; print(alpha.__version__, beta.__version__, sys.prefix)"


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    return write_lock(lock_document(upstream, ALPHA, BETA), tmp_path / "lock.json")


async def test_stdout_has_the_prefix_alone_and_its_python_runs(agent: Agent, lock: Path) -> None:
    said = await agent.run("materialize", lock, "--prefix", "env")
    assert said.code == 0, said.err
    prefix = agent.home / "env"
    assert said.out == f"{prefix}\n"
    shown = await agent.run("run", "--lock", lock, "--prefix", "env", "--", "python", "-c", SHOW)
    assert shown.out == f"1.0 2.0 {prefix}\n"


async def test_a_command_needs_no_dashes_before_it(agent: Agent, lock: Path) -> None:
    for _ in ("made", "found"):
        shown = await agent.run(
            "run", "--lock", lock, "python", "-c", "import alpha, sys; print(sys.argv)", "--env", "--"
        )
        assert shown.out == "['-c', '--env', '--']\n", shown.err


async def test_a_log_gets_a_line_a_stage(agent: Agent, lock: Path) -> None:
    said = await agent.run("materialize", lock)
    assert said.err.splitlines() == [
        f"fetching 2 files, {(len(ALPHA.data) + len(BETA.data)) / 1e3:.1f} kB",
        "unpacked 2",
        "compiled 2",
    ]


async def test_an_environment_without_a_place_is_named_by_its_lock(agent: Agent, lock: Path) -> None:
    identity = lock_id(read_lock(lock.read_bytes()))
    said = await agent.run("materialize", lock)
    [target] = json.loads(lock.read_text())["environments"]["default"]["targets"]
    assert said.out == f"{agent.data}/environments/{identity[:16]}-default-{target['platform']}\n"


async def test_programs_are_told_everything_on_one_line(agent: Agent, lock: Path) -> None:
    said = await agent.run("materialize", lock, "--prefix", "env", "--json")
    assert len(said.out.splitlines()) == 1
    seconds = said.json.pop("seconds")
    assert {"total", "lock", "interpreter", "fetch", "make"} == seconds.keys()
    assert {key: value for key, value in said.json.items() if key != "seconds"} == {
        "prefix": f"{agent.home}/env",
        "lock": lock_id(read_lock(lock.read_bytes())),
        "environment": "default",
        "target": json.loads(lock.read_text())["environments"]["default"]["targets"][0]["platform"],
        "new": True,
        "clobbers": [],
        "link_scripts": [],
    }


async def test_the_second_time_asks_nobody_and_says_that_nothing_is_new(
    agent: Agent, lock: Path, upstream: FakeIndex
) -> None:
    first = await agent.run("materialize", lock, "--json")
    asked = len(upstream.requests)
    again = await agent.run("materialize", lock, "--json")
    assert (first.json["new"], again.json["new"]) == (True, False)
    assert again.json["prefix"] == first.json["prefix"]
    assert again.err == ""
    assert len(upstream.requests) == asked


async def test_the_second_time_is_a_lookup_that_imports_no_lock(agent: Agent, lock: Path) -> None:
    first = await agent.run("materialize", lock)
    agent.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    again = await agent.run("materialize", lock)
    assert again.out == first.out
    assert "envagent.recall" in again.err
    for heavy in ("argparse", "dataclasses", "pathlib", "msgspec", "envagent.lock", "envagent.app"):
        assert f" {heavy}\n" not in again.err


async def test_another_environment_of_trees_that_are_there_imports_nothing_that_makes_trees(
    agent: Agent, lock: Path
) -> None:
    agent.environ["PATH"] = str(Path(sys.executable).parent)  # others may be scripts: asked each time
    await agent.run("materialize", lock, "--prefix", "one", "--no-bytecode")
    agent.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    other = await agent.run("materialize", lock, "--prefix", "other", "--no-bytecode")
    assert other.out == f"{agent.home}/other\n"
    assert "envagent.app" in other.err
    for heavy in (
        "argparse", "asyncio", "envagent.fetch.fetch", "envagent.table", "logging", "packaging", "subprocess",
        "tempfile", "tomllib", "venv", "zipfile",
    ):  # fmt: skip
        assert not re.search(rf"\| +{heavy}$", other.err, re.MULTILINE), heavy


async def test_a_note_that_cannot_be_written_fails_no_work(agent: Agent, lock: Path) -> None:
    agent.data.mkdir(parents=True)
    (agent.data / "answers").write_text("in the way")
    said = await agent.run("materialize", lock, "--prefix", "env")
    assert (said.code, said.out) == (0, f"{agent.home}/env\n"), said.err


async def test_a_prefix_that_came_from_elsewhere_is_found_and_its_trees_are_kept_from_then_on(
    agent: Agent, lock: Path
) -> None:
    assert (await agent.run("materialize", lock, "--prefix", "env")).code == 0
    [known] = References(agent.data / "store").prefixes()
    said = await agent.run("materialize", lock, "--prefix", "env", "--data", "other", "--json")
    assert said.code == 0, said.err
    assert said.json["new"] is False
    assert list(References(agent.home / "other" / "store").prefixes()) == [known]


async def test_a_prefix_that_was_removed_is_made_again_from_the_store(
    agent: Agent, lock: Path, upstream: FakeIndex
) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    (agent.home / "env").rename(agent.home / "gone")
    asked = len(upstream.requests)
    said = await agent.run("materialize", lock, "--prefix", "env", "--json")
    assert said.json["new"] is True
    assert "fetch" not in said.json["seconds"]
    assert len(upstream.requests) == asked


async def test_files_come_through_the_proxy_and_then_work_without_it(
    agent: Agent, lock: Path, upstream: FakeIndex, tmp_path: Path
) -> None:
    home = tmp_path / "proxy"
    home.mkdir()
    async with running_proxy(home, upstream=upstream) as proxy:
        said = await agent.run("materialize", lock, "--proxy", proxy.url, "--no-proxy-fallback", "--prefix", "one")
        assert said.code == 0, said.err
    other = await agent.run("materialize", lock, "--proxy", proxy.url, "--no-proxy-fallback", "--prefix", "two")
    assert other.code == 0, other.err


async def test_a_proxy_that_is_down_is_stepped_around_unless_that_is_forbidden(
    agent: Agent, lock: Path, unused_tcp_port: int
) -> None:
    proxy = f"http://127.0.0.1:{unused_tcp_port}"
    forbidden = await agent.run("materialize", lock, "--proxy", proxy, "--no-proxy-fallback")
    assert (forbidden.code, forbidden.out) == (1, "")
    assert forbidden.err.splitlines()[0].startswith("error: ")
    allowed = await agent.run("materialize", lock, "--proxy", proxy)
    assert allowed.code == 0, allowed.err


async def test_a_command_gets_the_variables_of_an_activated_environment(agent: Agent, lock: Path) -> None:
    await agent.run("materialize", lock, "--prefix", "env")
    agent.environ |= {"VIRTUAL_ENV": "/other", "CONDA_PREFIX": "/other"}
    said = await agent.run("run", "--lock", lock, "--prefix", "env", "--", "env")
    variables = dict(line.partition("=")[::2] for line in said.out.splitlines())
    assert variables["VIRTUAL_ENV"] == f"{agent.home}/env"
    assert variables["PATH"] == f"{agent.home}/env/bin{os.pathsep}{os.environ['PATH']}"
    assert "CONDA_PREFIX" not in variables


@pytest.mark.parametrize("is_made", [False, True], ids=["first", "again"])
async def test_the_exit_code_is_the_command_s(agent: Agent, lock: Path, is_made: bool) -> None:
    if is_made:
        await agent.run("materialize", lock)
    said = await agent.run(
        "run", "--lock", lock, "--", "python", "-c", "import sys; print(sys.argv); sys.exit(7)", "--"
    )
    assert (said.code, said.out) == (7, "['-c', '--']\n")
    missing = await agent.run("run", "--lock", lock, "--", "no-such-command")
    assert (missing.code, missing.err) == (
        127,
        "error: no-such-command cannot be run: No such file or directory\n",
    )


async def test_a_shell_starts_inside_the_environment(agent: Agent, lock: Path) -> None:
    shell = agent.home / "shell"
    shell.write_text('#!/bin/sh\necho "$VIRTUAL_ENV"\n')
    shell.chmod(0o755)
    agent.environ["SHELL"] = str(shell)
    said = await agent.run("shell", "--lock", lock, "--prefix", "env")
    assert said.out == f"{agent.home}/env\n"


async def test_a_command_may_have_its_environment_mounted_for_itself(agent: Agent, lock: Path) -> None:
    inside = ("run", "--lock", lock, "--prefix", "env", "--link-mode", "overlay", "--", "python", "-c", SHOW)
    said = await agent.run(*inside)
    if "no overlay can be mounted" in said.err or "may not have a user namespace" in said.err:
        pytest.skip(f"this machine does not let a command mount: {said.err.splitlines()[0]}")
    assert said.out == f"1.0 2.0 {agent.home}/env\n", said.err
    assert not list((agent.home / "env").rglob("alpha"))
    assert (await agent.run(*inside)).out == said.out


async def test_an_environment_that_was_early_is_compiled_and_proven_behind(agent: Agent, lock: Path) -> None:
    assert (await agent.run("materialize", lock, "--prefix", "env", "--early")).code == 0
    log = agent.data / "store" / "behind.log"
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    done = json.loads(log.read_text())
    assert (done["compiled"], done["poisoned"], done["problem"]) == (2, [], "")
    assert list((agent.home / "env").rglob("alpha/__pycache__/*.pyc"))
    assert (await agent.run("verify", "env")).code == 0


async def test_an_environment_of_links_is_no_answer_to_who_asks_for_a_mounted_one(agent: Agent, lock: Path) -> None:
    links = await agent.run("materialize", lock)
    words = ("run", "--lock", lock, "--link-mode", "overlay", "--", "python", "-c", SHOW)
    mounted = await agent.run(*words)
    if "no overlay can be mounted" in mounted.err or "may not have a user namespace" in mounted.err:
        pytest.skip(f"this machine does not let a command mount: {mounted.err.splitlines()[0]}")
    place = links.out.strip()
    assert mounted.out == f"1.0 2.0 {place}-overlay\n", mounted.err
    assert (await agent.run("run", "--lock", lock, "--", "python", "-c", SHOW)).out == f"1.0 2.0 {place}\n"
    assert (await agent.run(*words)).out == mounted.out


async def test_requirements_are_completed_by_the_proxy_and_read_for_this_machine(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    upstream.add(ALPHA, BETA)
    (tmp_path / "requirements.txt").write_text(f"alpha==1.0 --hash=sha256:{ALPHA.sha256}\nbeta==2.0\n")
    home = tmp_path / "proxy"
    home.mkdir()
    async with running_proxy(home, upstream=upstream) as proxy:
        agent.environ["ENVAGENT_PROXY"] = proxy.url
        made = await agent.run("materialize", "requirements.txt", "--prefix", "env")
        machine = ("--platform", platform(os.uname()), "--python", PYTHON)
        imported = await agent.run("import", "requirements.txt", *machine, "--no-proxy-fallback", "-o", "lock.json")
    assert (made.code, imported.code) == (0, 0), made.err + imported.err
    [target] = json.loads((tmp_path / "lock.json").read_text())["environments"]["default"]["targets"]
    assert {package["sha256"] for package in target["packages"]} == {ALPHA.sha256, BETA.sha256}
    assert {package["url"] for package in target["packages"]} == {
        upstream.file_url(ALPHA.filename),
        upstream.file_url(BETA.filename),
    }


async def test_a_pylock_is_read_for_this_machine(agent: Agent, lock: Path) -> None:
    assert (await agent.run("export", lock, "--format", "pylock", "-o", "pylock.toml")).code == 0
    (agent.home / "pylock.toml").write_text((agent.home / "pylock.toml").read_text().partition("[tool.envagent")[0])
    said = await agent.run("materialize", "pylock.toml", "--prefix", "env")
    assert said.code == 0, said.err


async def test_list_shows_what_was_made_and_verify_finds_what_was_edited(agent: Agent, lock: Path) -> None:
    assert (await agent.run("list", "--json")).json == []
    await agent.run("materialize", lock, "--prefix", "env", "--link-mode", "copy")
    [row] = (await agent.run("list", "--json")).json
    assert (row["prefix"], row["packages"]) == (f"{agent.home}/env", 2)
    assert (await agent.run("list")).rows[0] == ["prefix", "packages", "size", "last used"]
    assert (await agent.run("verify", "env")).code == 0
    module = agent.home / "env" / "lib" / f"python{PYTHON.rpartition('.')[0]}" / "site-packages/alpha/__init__.py"
    module.chmod(0o644)
    module.write_text("edited = True\n")
    said = await agent.run("verify", "env")
    assert said.code == 1
    assert said.out.startswith("edited: ")
    assert ALPHA.filename in said.out
