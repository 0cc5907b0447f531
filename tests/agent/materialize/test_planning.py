"""From a target of a lock to a plan: what is installed, and what is said of where it came from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envagent.errors import ArtifactRefused, PrefixRefused
from envagent.lock.model import Interpreter as Wanted
from envagent.lock.model import PythonPackage, Target
from envagent.materialize.interpreter import Interpreter
from envagent.materialize.plan import WheelFile
from envagent.materialize.planning import direct_url, plan_of

SHA = "a" * 64
COMMIT = "b" * 40
PATHS = {SHA: Path("/files/idna.whl")}
PYTHON = Interpreter(Path("/usr/bin/python3.11"), "3.11.7", "cpython", "cpython-311", "a70d0d0a", "python3.11")
IDNA = PythonPackage(
    kind="wheel",
    name="idna",
    version="3.7",
    filename="idna-3.7-py3-none-any.whl",
    index="main",
    url="https://files.example.org/idna-3.7-py3-none-any.whl",
    size=10,
    sha256=SHA,
)


def target(*packages: PythonPackage, version: str = "3.11") -> Target:
    return Target(platform="linux-64", interpreter=Wanted("system", version=version), packages=packages)


def test_a_wheel_of_an_index_is_planned_by_its_digest_and_says_no_url():
    plan = plan_of(target(IDNA), PATHS, PYTHON)
    assert plan.wheels == (WheelFile(PATHS[SHA], SHA, "idna-3.7-py3-none-any.whl"),)
    assert plan.interpreter == PYTHON


def test_what_was_asked_for_by_name_is_requested():
    plan = plan_of(target(replace(IDNA, requested_by=("idna>=3",))), PATHS, PYTHON)
    assert plan.wheels[0].requested


def test_a_wheel_of_no_index_says_its_url_and_digest():
    assert json.loads(direct_url(replace(IDNA, index=""))) == {
        "url": IDNA.url,
        "archive_info": {"hashes": {"sha256": SHA}},
    }


def test_a_wheel_that_was_built_of_a_commit_says_which():
    built = replace(IDNA, url="", built_from=f"git+https://code.example.org/idna@{COMMIT}#subdirectory=core")
    assert json.loads(direct_url(built)) == {
        "url": "https://code.example.org/idna",
        "vcs_info": {"vcs": "git", "commit_id": COMMIT},
        "subdirectory": "core",
    }


def test_a_wheel_that_was_built_of_an_archive_outside_indexes_says_that_archive():
    source = "https://files.example.org/idna-3.7.tar.gz"
    built = replace(IDNA, index="", url="", built_from=f"{source}#sha256={'c' * 64}")
    assert json.loads(direct_url(built)) == {"url": source, "archive_info": {"hashes": {"sha256": "c" * 64}}}


def test_a_source_archive_is_refused():
    sdist = replace(IDNA, kind="sdist", filename="idna-3.7.tar.gz")
    with pytest.raises(ArtifactRefused, match=r"idna-3\.7\.tar\.gz is refused: it is a source archive"):
        plan_of(target(sdist), PATHS, PYTHON)


@pytest.mark.parametrize("version", ["3", "3.11", "3.11.7"])
def test_an_interpreter_of_the_version_that_the_lock_names_will_do(version):
    assert plan_of(target(IDNA, version=version), PATHS, PYTHON).interpreter == PYTHON


@pytest.mark.parametrize("version", ["3.1", "3.12", "3.11.8"])
def test_an_interpreter_of_another_version_is_refused(version):
    with pytest.raises(PrefixRefused, match=rf"made for Python {version}, and /usr/bin/python3\.11 is 3\.11\.7"):
        plan_of(target(IDNA, version=version), PATHS, PYTHON)


def test_python_packages_need_an_interpreter():
    with pytest.raises(PrefixRefused, match="no interpreter was given"):
        plan_of(target(IDNA), PATHS, None)
