"""`envagent lock` as a person calls it, through the real proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

from fixtures.agent import Agent
from fixtures.conda_packages import make_conda
from fixtures.faults import Delay
from fixtures.patience import until
from fixtures.sources import sdist
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.channel import FakeChannel
    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex


@pytest.fixture
def agent(tmp_path: Path, proxy: LocalProxy) -> Agent:
    return Agent(tmp_path, {"ENVAGENT_PROXY": proxy.url, "UV_HTTP_RETRIES": "0"})


async def test_a_lock_is_written_and_what_changed_is_said(agent: Agent, index: FakeIndex, tmp_path: Path) -> None:
    index.add(make_wheel("alpha", "1.0", requires=["beta"]), make_wheel("beta", "1.0"))
    said = await agent.run("lock", "--pypi", "alpha", "--platform", "linux-64", "-o", tmp_path / "lock.json")
    assert (said.code, said.out) == (0, "")
    digest = hashlib.sha256((tmp_path / "lock.json").read_bytes()).hexdigest()
    assert said.err.splitlines() == [
        "resolving for linux-64",
        "linux-64: 2 packages from PyPI",
        "+ environment default",
        "default on linux-64:",
        f"  ~ interpreter none -> system {sys.version_info[0]}.{sys.version_info[1]}",
        "  + alpha 1.0 (wheel)",
        "  + beta 1.0 (wheel)",
        f"{tmp_path / 'lock.json'}: lock {digest}",
    ]


async def test_without_an_output_the_lock_is_on_stdout(agent: Agent, index: FakeIndex) -> None:
    index.add(make_wheel("alpha", "1.0"))
    said = await agent.run("lock", "--pypi", "alpha")
    [target] = json.loads(said.out)["environments"]["default"]["targets"]
    assert [package["name"] for package in target["packages"]] == ["alpha"]


async def test_files_and_flags_ask_together(
    agent: Agent, index: FakeIndex, channel: FakeChannel, tmp_path: Path
) -> None:
    index.add(*(make_wheel(name, "1.0") for name in ("alpha", "beta", "gamma")))
    channel.add(make_conda("python", "3.12.1", subdir="linux-64"), make_conda("ffmpeg"))
    (tmp_path / "requirements.txt").write_text("alpha\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1"\n[project.optional-dependencies]\nx = ["beta"]\n'
        '[dependency-groups]\ntest = ["gamma"]\n'
    )
    place = tmp_path / "lock.json"
    said = await agent.run(
        "lock", tmp_path / "requirements.txt", tmp_path / "pyproject.toml", "--extra", "x", "--group", "test",
        "--conda", "ffmpeg", "--channel", "demo", "--python", "3.12", "--platform", "linux-64", "-o", place,
    )  # fmt: skip
    assert said.code == 0, said.err
    environment = json.loads(place.read_text())["environments"]["default"]
    assert environment["request"] == {
        "python": "3.12",
        "pypi": ["alpha", "beta", "gamma"],
        "conda": ["ffmpeg"],
        "channels": ["demo"],
    }
    names = [package["name"] for package in environment["targets"][0]["packages"]]
    assert names == ["ffmpeg", "python", "alpha", "beta", "gamma"]


async def test_a_lock_is_kept_to_and_grows_by_what_is_asked_besides(
    agent: Agent, index: FakeIndex, tmp_path: Path
) -> None:
    index.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0"))
    place = tmp_path / "lock.json"
    await agent.run("lock", "--pypi", "alpha", "--platform", "win-64", "-o", place)
    index.add(make_wheel("alpha", "2.0"))
    (tmp_path / "fresh").mkdir()
    anew = Agent(tmp_path / "fresh", agent.environ | {"HOME": str(tmp_path / "fresh")})
    said = await anew.run("lock", place, "--pypi", "beta", "-o", place)
    assert said.code == 0, said.err
    environment = json.loads(place.read_text())["environments"]["default"]
    assert environment["request"]["pypi"] == ["alpha", "beta"]
    assert [(t["platform"], [(p["name"], p["version"]) for p in t["packages"]]) for t in environment["targets"]] == [
        ("win-64", [("alpha", "1.0"), ("beta", "1.0")])
    ]


async def test_other_environments_of_the_lock_stay_as_they_are(
    agent: Agent, index: FakeIndex, tmp_path: Path
) -> None:
    index.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0"))
    place = tmp_path / "lock.json"
    await agent.run("lock", "--pypi", "alpha", "-o", place)
    before = json.loads(place.read_text())["environments"]["default"]
    said = await agent.run("lock", "--env", "test", "--pypi", "beta", "-o", place)
    assert said.code == 0, said.err
    environments = json.loads(place.read_text())["environments"]
    assert sorted(environments) == ["default", "test"]
    assert environments["default"] == before


async def test_an_environment_that_was_locked_meanwhile_stays(agent: Agent, index: FakeIndex, tmp_path: Path) -> None:
    index.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0"))
    place = tmp_path / "lock.json"
    await agent.run("lock", "--pypi", "alpha", "-o", place)
    released = asyncio.Event()
    index.fail("/simple/beta/", Delay(released))
    slow = await agent.start("lock", "--env", "slow", "--pypi", "beta", "-o", place)
    await until(lambda: any(seen.path == "/simple/beta/" for seen in index.requests))
    meanwhile = await agent.run("lock", "--env", "quick", "--pypi", "alpha", "-o", place)
    released.set()
    _, said = await slow.communicate()
    assert (meanwhile.code, slow.returncode) == (0, 0), said
    assert sorted(json.loads(place.read_text())["environments"]) == ["default", "quick", "slow"]
    assert b"quick" not in said


async def test_programs_are_told_the_id_and_whether_anything_changed(
    agent: Agent, index: FakeIndex, tmp_path: Path
) -> None:
    index.add(make_wheel("alpha", "1.0"))
    place = tmp_path / "lock.json"
    first = await agent.run("lock", "--pypi", "alpha", "-o", place, "--json")
    again = await agent.run("lock", "--pypi", "alpha", "-o", place, "--json")
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    assert first.json == {"lock": digest, "changed": True, "warnings": []}
    assert again.json == {"lock": digest, "changed": False, "warnings": []}


async def test_a_request_that_nothing_meets_leaves_the_lock_as_it_was(
    agent: Agent, index: FakeIndex, tmp_path: Path
) -> None:
    index.add(make_wheel("alpha", "1.0"))
    place = tmp_path / "lock.json"
    await agent.run("lock", "--pypi", "alpha", "-o", place)
    before = place.read_bytes()
    said = await agent.run("lock", "--pypi", "alpha>=2", "-o", place)
    assert said.code == 2
    assert "error: the Python packages cannot be resolved" in said.err
    assert place.read_bytes() == before


async def test_what_is_wrong_with_the_command_line_is_said_before_anything_is_asked(
    agent: Agent, index: FakeIndex, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text("{}")
    cases = [
        (["lock"], 2, "nothing is asked for"),
        (["lock", "absent.txt"], 2, "there is no file absent.txt\nhint: name what says what to lock"),
        (["lock", "--pypi", "a>>1"], 2, "--pypi 'a>>1' is not a requirement"),
        (["lock", "--pypi", "a @ ./a"], 2, "--pypi 'a @ ./a' is on this machine alone"),
        (["lock", "--pypi", "a @ file:///a"], 2, "--pypi 'a @ file:///a' is on this machine alone"),
        (["lock", "--pypi", "a", "--exclude-newer", "yesterday"], 2, "'yesterday' is not a date"),
        (["lock", "--pypi", "a", "--platform", "amiga"], 2, "'amiga' is not a platform"),
        (["lock", "--pypi", "a", "--upgrade", "b"], 2, "there is no 'b' in the lock to upgrade"),
        (["lock", "--pypi", "a", "--json"], 2, "--json tells of a lock that is in a file"),
        (["lock", "--pypi", "a", "-o", str(tmp_path / "broken.json")], 2, "broken.json names a file that is no lock"),
    ]
    said = [(agent.say(*words), code, text) for words, code, text in cases]
    assert [one.code for one, _, _ in said] == [code for _, code, _ in said]
    assert all(text in one.err for one, _, text in said)
    assert index.requests == []


async def test_what_was_locked_runs_also_what_was_built(agent: Agent, index: FakeIndex, tmp_path: Path) -> None:
    index.add(make_wheel("alpha", "1.0", requires=["built"]), sdist("built", "2.0"))
    place = tmp_path / "lock.json"
    locked = await agent.run("lock", "--pypi", "alpha", "-o", place)
    assert locked.code == 0, locked.err
    question = (
        "import alpha, built; from importlib.metadata import version; print(alpha.__version__, version('built'))"
    )
    said = await agent.run("run", "--lock", place, "--", "python", "-c", question)
    assert (said.code, said.out) == (0, "1.0 2.0\n"), said.err


async def test_an_environment_file_becomes_a_lock_of_both_worlds(
    agent: Agent, index: FakeIndex, channel: FakeChannel, tmp_path: Path
) -> None:
    channel.add(*(make_conda("python", version, subdir="linux-64") for version in ("3.11.4", "3.12.1")))
    index.add(make_wheel("alpha", "1.0"))
    (tmp_path / "environment.yml").write_text(
        "channels: [demo]\nplatforms: [linux-64]\ndependencies: [python=3.11, {pip: [alpha]}]\n"
    )
    said = await agent.run("lock", tmp_path / "environment.yml", "-o", tmp_path / "lock.json")
    assert said.code == 0, said.err
    [target] = json.loads((tmp_path / "lock.json").read_text())["environments"]["default"]["targets"]
    assert target["interpreter"] == {"kind": "conda", "name": "python"}
    assert [(package["kind"], package["name"], package["version"]) for package in target["packages"]] == [
        ("conda", "python", "3.11.4"),
        ("wheel", "alpha", "1.0"),
    ]
