"""Locks through the command line: import, export, diff, tree and sbom, and what is said when they cannot be."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from envagent.machine import platform
from fixtures.agent import Agent
from fixtures.locks import NUMPY_SHA, PYTHON_SHA, example, package_of


def written(document: dict[str, Any], place: Path) -> Path:
    place.write_text(json.dumps(document))
    return place


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return written(example(), tmp_path / "lock.json")


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    document = example()
    numpy = package_of(document, 1)
    for key in ("version", "filename", "url"):
        numpy[key] = numpy[key].replace("2.1.0", "2.2.0")
    numpy["sha256"] = "e" * 64
    return written(document, tmp_path / "newer.json")


def test_a_lock_goes_to_pixi_and_back_and_keeps_its_files(agent: Agent, lock: Path, tmp_path: Path) -> None:
    document = example()
    document["environments"]["default"]["targets"][0]["packages"].pop()
    written(document, lock)
    assert agent.say("export", lock, "--format", "pixi", "-o", tmp_path / "pixi.lock").code == 0
    said = agent.say("import", tmp_path / "pixi.lock", "-o", tmp_path / "back.json")
    assert said.code == 0
    packages = json.loads((tmp_path / "back.json").read_text())["environments"]["default"]["targets"][0]["packages"]
    assert [package["sha256"] for package in packages] == [PYTHON_SHA]


def test_import_says_the_id_of_what_it_wrote(agent: Agent, lock: Path, tmp_path: Path) -> None:
    place = tmp_path / "canonical.json"
    said = agent.say("import", lock, "-o", place)
    assert said.out == ""
    assert said.err == f"{place}: lock {hashlib.sha256(place.read_bytes()).hexdigest()}\n"


def test_import_without_an_output_prints_the_lock_and_nothing_else(agent: Agent, lock: Path) -> None:
    said = agent.say("import", lock)
    assert said.json["envmesh-lock"] == 1
    assert said.err == ""


def test_export_names_the_package_that_a_format_cannot_hold(agent: Agent, lock: Path, tmp_path: Path) -> None:
    said = agent.say("export", lock, "--format", "pylock", "-o", tmp_path / "pylock.toml")
    assert said.code == 2
    assert said.err == (
        "error: pylock.toml has no place for python-3.11.9-h9_0_cpython.conda\n"
        "hint: it holds files of indexes; --partial leaves out other kinds of packages\n"
    )
    assert not (tmp_path / "pylock.toml").exists()


def test_export_writes_a_part_when_it_is_asked_for_one(agent: Agent, lock: Path) -> None:
    said = agent.say("export", lock, "--format", "requirements", "--partial")
    assert said.code == 0
    assert f"numpy==2.1.0 \\\n    --hash=sha256:{NUMPY_SHA}" in said.out


PYLOCK = f"""
lock-version = "1.0"
created-by = "someone"
[[packages]]
name = "alpha"
version = "1.0"
[[packages.wheels]]
url = "https://files.example.org/alpha-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
size = 3
hashes = {{sha256 = "{NUMPY_SHA}"}}
[[packages.wheels]]
url = "https://files.example.org/alpha-1.0-py3-none-any.whl"
size = 4
hashes = {{sha256 = "{PYTHON_SHA}"}}
"""


def test_a_format_without_machines_is_read_for_this_one(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text(PYLOCK)
    said = agent.say("import", tmp_path / "pylock.toml", "--python", "3.11")
    [target] = said.json["environments"]["default"]["targets"]
    assert (target["platform"], target["interpreter"]["version"]) == (platform(os.uname()), "3.11")
    assert said.err == f"reading it for {platform(os.uname())} and Python 3.11\n"
    assert agent.say("tree", tmp_path / "pylock.toml").out == "alpha 1.0 (wheel)\n"
    assert "alpha @ https" in agent.say("export", tmp_path / "pylock.toml", "--format", "requirements").out


def test_a_format_without_machines_is_read_for_those_that_are_named(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text(PYLOCK)
    named = ("--platform", "linux-64", "--platform", "linux-64+glibc=2.17", "--python", "3.12")
    said = agent.say("import", tmp_path / "pylock.toml", *named)
    targets = said.json["environments"]["default"]["targets"]
    found = [(one["virtual-packages"]["__glibc"], one["packages"][0]["size"]) for one in targets]
    assert sorted(found) == [("2.17", 4), ("2.28", 3)]
    assert said.err == ""


def test_diff_shows_the_version_that_changed(agent: Agent, lock: Path, newer: Path) -> None:
    said = agent.say("diff", lock, newer)
    assert (said.code, said.out) == (0, "default on linux-64:\n  ~ numpy 2.1.0 -> 2.2.0\n")


def test_diff_gives_both_packages_to_programs(agent: Agent, lock: Path, newer: Path) -> None:
    [target] = agent.say("diff", lock, newer, "--json").json["targets"]
    assert [[package["version"] for package in pair] for pair in target["changed"]] == [["2.1.0", "2.2.0"]]
    assert (target["added"], target["removed"], target["interpreters"]) == ([], [], None)


def test_diff_of_equal_locks_prints_nothing_on_stdout(agent: Agent, lock: Path) -> None:
    said = agent.say("diff", lock, lock)
    assert (said.code, said.out, said.err) == (0, "", "the locks are equal\n")


@pytest.mark.parametrize("words", [("tree", "PIPE"), ("diff", "PIPE", "PIPE"), ("import", "PIPE")])
def test_a_lock_may_come_through_a_pipe(agent: Agent, lock: Path, words: tuple[str, ...]) -> None:
    """As `envagent diff <(git show main:lock.json) lock.json` has it: what was read is not there again."""
    ends = [os.pipe() for word in words if word == "PIPE"]
    try:
        for _, write in ends:
            os.write(write, lock.read_bytes())
            os.close(write)
        pipes = (f"/dev/fd/{read}" for read, _ in ends)
        assert agent.say(*(next(pipes) if word == "PIPE" else word for word in words)).code == 0
    finally:
        for read, _ in ends:
            os.close(read)


def test_tree_prints_a_line_a_package(agent: Agent, lock: Path) -> None:
    assert agent.say("tree", lock).out == "python 3.11.9 (conda)\nnumpy 2.1.0 (wheel)\n"


def test_tree_names_the_environments_there_are(agent: Agent, lock: Path) -> None:
    said = agent.say("tree", lock, "--env", "gpu")
    assert (said.code, said.err) == (2, "error: the lock has no environment 'gpu'\nhint: it has: default\n")


def test_sbom_is_the_same_for_the_same_lock(agent: Agent, lock: Path, tmp_path: Path) -> None:
    first = agent.say("sbom", lock)
    agent.say("sbom", lock, "-o", tmp_path / "sbom.json")
    assert (tmp_path / "sbom.json").read_text() == first.out
    assert {component["name"] for component in first.json["components"]} == {"python", "numpy"}


def test_a_tampered_lock_is_refused_with_all_its_problems(agent: Agent, tmp_path: Path) -> None:
    document = example()
    package_of(document, 0)["sha256"] = "short"
    package_of(document, 1)["url"] = "https://user:secret@files.example.org/numpy-2.1.0.whl"
    said = agent.say("tree", written(document, tmp_path / "lock.json"))
    assert said.code == 3
    assert said.out == ""
    assert "lock.json is refused, 2 problems:" in said.err
    assert "packages[0].sha256: is not a sha256" in said.err
    assert "packages[1].url: carries credentials" in said.err


def test_a_file_that_is_not_there_is_said(agent: Agent) -> None:
    said = agent.say("tree", "nowhere.json")
    assert (said.code, said.err) == (
        2,
        "error: there is no file nowhere.json\nhint: name a lock, such as lock.json\n",
    )
