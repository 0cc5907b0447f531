"""The image: what its Dockerfile installs and starts.

There is no engine here that could build it, so the script of its one step ran in a clean environment (.chart/image),
and the rest is read.
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fixtures.chart import ROOT, TOOLS, Helm, containers, one, pods

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
IMAGE = TOOLS / "image"
LOCKS = [ROOT / "deploy" / "image" / name for name in ("requirements.txt", "build.txt")]


def locked(text: str) -> dict[str, list[str]]:
    """The versions of each project in a lock."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def installed() -> dict[str, str]:
    metadata = IMAGE.glob("lib/python*/site-packages/*.dist-info/METADATA")
    heads = [file.read_text("utf-8").partition("\n\n")[0] for file in metadata]
    return {
        canonicalize_name(re.search("^Name: (.+)$", head, re.MULTILINE)[1]): re.search(
            "^Version: (.+)$", head, re.MULTILINE
        )[1]
        for head in heads
    }


def test_the_lock_has_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    versions = locked(LOCKS[0].read_text("utf-8"))

    for text in project["project"]["dependencies"]:
        requirement = Requirement(text)
        chosen = versions.get(canonicalize_name(requirement.name), [])
        assert [version for version in chosen if version in requirement.specifier], f"{text}: run `make lock-image`"
    backend = Requirement(project["build-system"]["requires"][0])
    assert locked(LOCKS[1].read_text("utf-8"))[backend.name][0] in backend.specifier


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_everything_in_a_lock_has_its_digests_and_no_address(lock: Path):
    text = lock.read_text("utf-8")
    entries = [entry for entry in re.split(r"\n(?=[^\s#])", text) if "==" in entry]

    assert len(entries) == sum(len(versions) for versions in locked(text).values())
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert "://" not in text
    assert "--index" not in text


def test_the_image_holds_what_the_lock_says_and_no_installer():
    versions = locked(LOCKS[0].read_text("utf-8"))

    found = installed()
    assert found.pop("envmesh") == subprocess_output("envproxy", "--version").split()[1]
    assert {name: version for name, version in found.items() if version not in versions.get(name, [])} == {}
    assert not {"pip", "setuptools", "hatchling"} & found.keys()


def subprocess_output(*words: str) -> str:
    done = subprocess.run(
        [IMAGE / "bin" / words[0], *words[1:]],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
        env={"PATH": os.defpath, "HOME": "/nowhere"},
    )
    return done.stdout


def test_both_commands_run_out_of_the_image():
    assert re.fullmatch(r"envproxy \d+\.\d+\.\d+\n", subprocess_output("envproxy", "--version"))
    assert re.fullmatch(r"envagent \d+\.\d+\.\d+\n", subprocess_output("envagent", "--version"))


def test_a_configuration_is_read_by_the_image_as_it_is_here(helm4: Helm):
    file = helm4.room / "envproxy.toml"
    file.write_text(one(helm4.objects("default"), "ConfigMap", "proxy")["data"]["envproxy.toml"], "utf-8")

    assert "serves main (pypi), conda-forge on 0.0.0.0:8417" in subprocess_output("envproxy", "check", str(file))


def test_the_image_is_made_in_two_stages_and_runs_as_the_user_of_the_chart(helm4: Helm):
    assert DOCKERFILE.count("\nFROM ${PYTHON}") == 2
    assert re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups() == ("10001", "10001")
    for _, pod in pods(helm4.objects("default")):
        security = pod["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (10001, 10001)


def test_the_image_has_the_directory_and_the_commands_that_the_chart_uses(helm4: Helm):
    wanted = {item["command"][0] for _, pod in pods(helm4.objects("default")) for item in containers(pod)}

    assert wanted == {"envproxy", "envagent", "chown"}
    assert {"envproxy", "envagent"} <= {program.name for program in (IMAGE / "bin").iterdir()}
    assert "install --directory --owner 10001 --group 10001 /var/lib/envmesh" in DOCKERFILE
    assert "EXPOSE 8417 8418" in DOCKERFILE


def test_what_the_build_copies_is_not_kept_from_it():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    ]

    assert ignored[0] == "*"
    assert [path for path in copied if f"!{path}" not in ignored] == []
    assert [path for path in copied if not (ROOT / path).exists()] == []
