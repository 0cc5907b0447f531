"""docs/operations.md, followed to the letter by the real clients.

Nothing in the snippets is replaced. The clients find the proxy under the name that the document gives it, because
they are told to reach every `http://` address through the proxy's own port, which takes such requests as its own;
and they reach nothing else, because `https://` leads them to a port where nobody listens.
"""

from __future__ import annotations

import asyncio
import configparser
import os
import shutil
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import ClientSession
from uv import find_uv_bin

from envproxy.config import load
from fixtures.agent import Agent
from fixtures.channel import FakeChannel
from fixtures.clients import CLIENTS
from fixtures.conda_packages import make_conda
from fixtures.document import table_rows
from fixtures.proxy import running_proxy
from fixtures.snippets import chapter, read
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fixtures.proxy import Proxy

POINTED = read("operations.md", "Point clients at it")
INSTALLERS = ("pip", "uv", "poetry", "pdm", "pipenv", "Variables, for images and CI")
WITHOUT_PYPI = {"conda and mamba": "conda", "pixi": "pixi"}
ALERTS = Path(__file__).parents[2] / "grafana" / "alerts"
HERE = Path(sys.executable).parent
PROGRAMS = {
    **{name: CLIENTS / name / "bin" / name for name in ("pip", "poetry", "pdm", "pipenv")},
    "uv": Path(find_uv_bin()),
    "envagent": HERE / "envagent",
}
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens
PATIENCE = {
    f"{upstream}.{kind}-timeout": "60s"  # beyond any load
    for upstream in ("pypi.upstreams.pypi", "conda.channels.conda-forge")
    for kind in ("connect", "read")
}
BOTH = {"flask": "3.1", "click": "8.2"}
PROJECT = """
[project]
name = "scratch"
version = "0"
requires-python = ">=3.11"
dependencies = []
[tool.poetry]
package-mode = false
[tool.pdm]
distribution = false
"""


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(make_wheel("flask", "3.1", requires=["click"]), make_wheel("click", "8.2"))
        yield index


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel(name="conda-forge") as channel:
        channel.add(make_conda("flask"))
        yield channel


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex, channel: FakeChannel) -> AsyncIterator[Proxy]:
    async with running_proxy(tmp_path, upstream=upstream, settings={**PATIENCE, **channel.settings}) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as a reader may have one, and the programs of the document on the PATH of `environ`."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, program in PROGRAMS.items():
        assert program.exists(), f"{name} is not installed: run `make .clients/stamp`"
        (programs / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        (programs / name).chmod(0o755)
    return project


@pytest.fixture
async def activated(project: Path) -> Path:
    """The project with an empty environment that is activated."""
    command = [find_uv_bin(), "venv", "--quiet", "--no-config", "--python", sys.executable, ".venv"]
    process = await asyncio.create_subprocess_exec(*command, cwd=project)
    assert await process.wait() == 0
    return project


@pytest.mark.clients
@pytest.mark.parametrize("heading", INSTALLERS)
async def test_an_installer_that_is_pointed_at_the_proxy_so_installs_from_it(
    heading: str, activated: Path, proxy: Proxy
) -> None:
    output = await POINTED[heading].follow(activated, activated / "home", environ(activated, proxy))
    assert installed(activated) == BOTH, output


@pytest.mark.clients
async def test_a_token_in_netrc_is_enough(tmp_path: Path, activated: Path, upstream: FakeIndex) -> None:
    toml = '[auth]\nread = "token"\n[auth.tokens.ci]\nsecret = "env:CI_TOKEN"\n'
    variables = {"CI_TOKEN": "THE-TOKEN"}
    async with running_proxy(tmp_path, upstream=upstream, toml=toml, settings=PATIENCE, environ=variables) as proxy:
        output = await POINTED["Tokens"].follow(activated, activated / "home", environ(activated, proxy))
    assert installed(activated) == BOTH, output


async def test_the_agent_makes_an_environment_with_what_the_proxy_has(project: Path, proxy: Proxy) -> None:
    output = await POINTED["envagent"].follow(project, project / "home", environ(project, proxy))
    assert installed(project) == BOTH, output


async def test_py_rattler_makes_an_environment_of_the_mirrored_channel(
    project: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not in a process of its own: one that ends right after py-rattler's last answer may crash as it ends, while a
    # thread of py-rattler still has a word for the interpreter. The environment is whole then, the exit code is not.
    for name, value in {**environ(project, proxy), "HOME": str(project)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    program = compile(POINTED["py-rattler"].content("environment.py"), "environment.py", "exec")
    await asyncio.to_thread(exec, program, {})
    records = [file.name for file in (project / ".venv" / "conda-meta").iterdir() if file.suffix == ".json"]
    assert [name.rpartition("-")[0].rpartition("-")[0] for name in records] == ["flask"]


@pytest.mark.clients
@pytest.mark.parametrize("heading", WITHOUT_PYPI)
async def test_a_conda_client_that_is_installed_makes_an_environment(
    heading: str, project: Path, proxy: Proxy
) -> None:
    client = WITHOUT_PYPI[heading]
    program = shutil.which(client)
    if program is None:
        pytest.skip(f"{client} is not installed, and PyPI does not have it")
    link = project.parent / "bin" / client
    link.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    link.chmod(0o755)
    await POINTED[heading].follow(project, project / "home", environ(project, proxy))


async def test_the_channel_of_conda_and_the_mirror_of_pixi_are_where_the_document_says(proxy: Proxy) -> None:
    condarc = yaml.safe_load(POINTED["conda and mamba"].content("~/.condarc"))
    mirrors = tomllib.loads(POINTED["pixi"].content("~/.config/pixi/config.toml"))["mirrors"]
    addresses = [f"{condarc['channel_alias']}/{name}" for name in condarc["channels"]]
    addresses += [address for several in mirrors.values() for address in several]
    async with ClientSession() as session:
        for address in addresses:
            async with session.get(f"{address}/noarch/repodata.json", proxy=proxy.url) as answer:
                assert "flask" in await answer.text()
    assert len(addresses) == 2


def test_every_client_of_the_document_is_tried() -> None:
    assert {*INSTALLERS, *WITHOUT_PYPI, "py-rattler", "envagent", "Tokens"} == POINTED.keys()


def test_the_configurations_are_accepted_alone_and_together(tmp_path: Path) -> None:
    texts = [block.text for block in chapter("operations.md", "Configure").blocks if block.language == "toml"]
    secrets = {"CORP_PASSWORD": "one", "RELEASE_TOKEN": "two"}
    file = tmp_path / "envproxy.toml"
    for text in (*texts, "\n".join(texts)):
        file.write_text(text)
        load(file, environ=secrets)
    assert len(texts) == 2


def test_the_proxy_s_service_runs_what_the_document_configures_and_waits_longer_than_a_drain() -> None:
    service = unit("Install", "/etc/systemd/system/envproxy.service")
    config = chapter("operations.md", "Configure").content(service["ExecStart"].split()[-1])
    assert tomllib.loads(config)["server"]["data"] == f"/var/lib/{service['StateDirectory']}"
    assert int(service["TimeoutStopSec"]) > load(None, environ={}).server.drain_s


def test_the_node_s_service_runs_what_the_document_configures(tmp_path: Path) -> None:
    service = unit("Nodes", "/etc/systemd/system/envagent.service")
    config = chapter("operations.md", "Nodes").content(service["ExecStart"].split()[-1])
    file = tmp_path / "envagent.toml"
    file.write_text(config)
    said = Agent(tmp_path, {"SWARM_SECRET": "secret"}).say("check", file)
    assert said.code == 0, said.err
    assert f"keeps /var/cache/{service['CacheDirectory']}," in said.out


def test_whoever_is_woken_by_an_alert_reads_where_to_look_first() -> None:
    rules = [
        rule
        for file in ALERTS.glob("*.yaml")
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]
    paging = {f"`{rule['alert']}`" for rule in rules if rule.get("labels", {}).get("severity") == "page"}
    assert paging == set(table_rows("operations.md", "Trouble, by alert"))


def unit(heading: str, path: str) -> configparser.SectionProxy:
    """What a systemd unit of the document runs."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(chapter("operations.md", heading).content(path))
    return parsed["Service"]


def environ(project: Path, proxy: Proxy) -> Mapping[str, str]:
    """A shell with the project's environment activated, on a machine that reaches the proxy and nothing else."""
    venv = project / ".venv"
    return {
        "PATH": f"{project.parent / 'bin'}:{venv / 'bin'}:{os.defpath}",
        "VIRTUAL_ENV": str(venv),
        "PIP_PYTHON": str(venv),  # the pip of .clients installs into that environment
        "http_proxy": proxy.url,
        "https_proxy": NOWHERE,
        "LANG": "C.UTF-8",
        "TMPDIR": str(project.parent),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PDM_CHECK_UPDATE": "0",
        "PIPENV_NOSPIN": "1",
        "POETRY_KEYRING_ENABLED": "false",
        "UV_PYTHON_DOWNLOADS": "never",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def installed(project: Path) -> dict[str, str]:
    """What the environment has, and versions."""
    [site_packages] = (project / ".venv" / "lib").glob("python*/site-packages")
    return {dist.name: dist.version for dist in distributions(path=[str(site_packages)])}
